// What a person writes into the form of a machine, and what the API takes.
import type { Schemas } from '@/api/client'

type Machine = Schemas['Machine']

export const MIB = 1024 * 1024
export const GIB = 1024 * MIB

export interface MachineForm {
  name: string
  group: string
  image: string
  network: string
  address: string
  cpus: number
  /** MiB. */
  memory: number
  /** GiB. */
  disk: number
  start: 'warm' | 'cold'
  /** As text; sent in base 64. */
  userData: string
  metadata: [string, string][]
  health: 'none' | 'tcp' | 'http'
  healthPort: number
  healthPath: string
  healthEvery: number
  healthTimeout: number
  healthyAfter: number
  launch: boolean
  register: boolean
}

export function emptyForm(): MachineForm {
  return {
    name: '', group: '', image: '', network: '', address: '', cpus: 1, memory: 1024, disk: 10, start: 'warm', userData: '', metadata: [],
    health: 'none', healthPort: 80, healthPath: '/', healthEvery: 5000, healthTimeout: 2000, healthyAfter: 1, launch: true, register: true,
  }
}

export function formOf(machine: Machine): MachineForm {
  const { spec, health } = machine
  return {
    ...emptyForm(),
    name: machine.name,
    group: machine.group ?? '',
    image: spec.image,
    network: spec.network,
    address: spec.address ?? '',
    cpus: spec.cpus,
    memory: spec.memory / MIB,
    disk: spec.disk / GIB,
    start: spec.start === 'cold' ? 'cold' : 'warm',
    userData: spec.user_data ? fromBase64(spec.user_data) : '',
    metadata: Object.entries(machine.metadata),
    ...(health
      ? {
          health: typeof health.http === 'string' ? ('http' as const) : ('tcp' as const),
          healthPort: health.port,
          healthPath: health.http ?? '/',
          healthEvery: health.interval_ms,
          healthTimeout: health.timeout_ms,
          healthyAfter: health.healthy_after,
        }
      : {}),
  }
}

function specOf(form: MachineForm): Schemas['MachineSpec'] {
  return {
    image: form.image.trim(),
    network: form.network.trim(),
    cpus: form.cpus,
    memory: Math.round(form.memory * MIB),
    disk: Math.round(form.disk * GIB),
    start: form.start,
    ...(form.address.trim() ? { address: form.address.trim() } : {}),
    ...(form.userData ? { user_data: toBase64(form.userData) } : {}),
  }
}

function healthOf(form: MachineForm): Schemas['Health'] | null {
  if (form.health === 'none') return null
  const how = form.health === 'http' ? { http: form.healthPath } : { tcp: true }
  return { ...how, port: form.healthPort, interval_ms: form.healthEvery, timeout_ms: form.healthTimeout, healthy_after: form.healthyAfter }
}

export function metadataOf(pairs: [string, string][]): Record<string, string> {
  return Object.fromEntries(pairs.map(([key, value]) => [key.trim(), value]).filter(([key]) => key !== ''))
}

/** Keys that stand there twice: the later would silently win. */
export function doubled(pairs: [string, string][]): string[] {
  const keys = pairs.map(([key]) => key.trim()).filter((key) => key !== '')
  return [...new Set(keys.filter((key, index) => keys.indexOf(key) !== index))]
}

export function createOf(form: MachineForm): Schemas['MachineCreate'] {
  const health = healthOf(form)
  return {
    name: form.name.trim(),
    spec: specOf(form),
    metadata: metadataOf(form.metadata),
    ...(form.group.trim() ? { group: form.group.trim() } : {}),
    ...(health ? { health } : {}),
    ...(form.launch ? {} : { skip_launch: true }),
    ...(form.register ? {} : { skip_registration: true }),
  }
}

export function putOf(form: MachineForm): Schemas['MachinePut'] {
  return { spec: specOf(form), metadata: metadataOf(form.metadata), group: form.group.trim() || null, health: healthOf(form) }
}

/** UTF-8 in base 64, as cloud-init reads it. */
export function toBase64(text: string): string {
  let bytes = ''
  for (const byte of new TextEncoder().encode(text)) bytes += String.fromCharCode(byte)
  return btoa(bytes)
}

export function fromBase64(encoded: string): string {
  try {
    return new TextDecoder().decode(Uint8Array.from(atob(encoded), (one) => one.charCodeAt(0)))
  } catch {
    return ''
  }
}
