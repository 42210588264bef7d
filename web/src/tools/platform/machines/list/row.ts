// A machine as its row in the list shows it: flat, so that the table sorts by each field.
import type { Schemas } from '@/api/client'

export type Machine = Schemas['Machine']

/** `off`: it does not run, so that nothing can be said of its health. */
export type HealthWord = 'healthy' | 'unhealthy' | 'off'

export interface MachineRow {
  id: string
  name: string
  state: string
  health: HealthWord
  cluster: string
  image: string
  network: string
  address: string
  cpus: number
  memory: number
  disk: number
  restarts: number
  updated: string
  cordoned: boolean
  reason: string
  metadata: Record<string, string>
}

export function healthOf(machine: Pick<Machine, 'state' | 'healthy'>): HealthWord {
  if (machine.healthy) return 'healthy'
  return machine.state === 'started' ? 'unhealthy' : 'off'
}

export function rowOf(machine: Machine): MachineRow {
  return {
    id: machine.id,
    name: machine.name,
    state: machine.state,
    health: healthOf(machine),
    cluster: machine.group ?? '',
    image: machine.spec.image,
    network: machine.spec.network,
    address: machine.address ?? '',
    cpus: machine.spec.cpus,
    memory: machine.spec.memory,
    disk: machine.spec.disk,
    restarts: machine.restarts,
    updated: machine.updated_at,
    cordoned: machine.cordoned,
    reason: machine.reason ?? '',
    metadata: machine.metadata,
  }
}
