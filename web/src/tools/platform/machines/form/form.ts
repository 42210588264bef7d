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
  /** User data that is no text, in base 64: kept as it is unless text takes its place. */
  userDataKept: string
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
    name: '', group: '', image: '', network: '', address: '', cpus: 1, memory: 1024, disk: 10, start: 'warm', userData: '', userDataKept: '', metadata: [],
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
    ...userDataOf(spec.user_data ?? ''),
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

function userDataOf(encoded: string): Pick<MachineForm, 'userData' | 'userDataKept'> {
  const text = fromBase64(encoded)
  return toBase64(text) === encoded ? { userData: text, userDataKept: '' } : { userData: '', userDataKept: encoded }
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
    ...(form.userData || form.userDataKept ? { user_data: form.userData ? toBase64(form.userData) : form.userDataKept } : {}),
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

/** Fields that were not touched go back as they came, to the byte: a spec that differs at all costs the machine its disk. */
export function putOf(form: MachineForm, machine: Machine): Schemas['MachinePut'] {
  const before = formOf(machine)
  const spec: Schemas['MachineSpec'] = { ...machine.spec }
  const after = specOf(form)
  if (form.image.trim() !== before.image) spec.image = after.image
  if (form.network.trim() !== before.network) spec.network = after.network
  if (form.cpus !== before.cpus) spec.cpus = after.cpus
  if (!same(form.memory, before.memory)) spec.memory = after.memory
  if (!same(form.disk, before.disk)) spec.disk = after.disk
  if (form.start !== before.start) spec.start = form.start
  if (form.address.trim() !== before.address) spec.address = after.address ?? null
  if (form.userData !== before.userData) spec.user_data = after.user_data ?? null
  return { spec, metadata: metadataOf(form.metadata), group: form.group.trim() || null, health: healthOf(form) }
}

/** The field shows three digits after the point. */
function same(one: number, other: number): boolean {
  return Math.abs(one - other) < 0.001
}

/** Whether the machine gets a new disk by this change, as the platform decides it. `digest` is what its image is now. */
export function renewsDisk(form: MachineForm, machine: Machine, digest: string | undefined): boolean {
  const put = putOf(form, machine)
  if (!equal(put.spec, machine.spec)) return true
  if (machine.image_digest && digest !== undefined && digest !== machine.image_digest) return true
  const around = (put.group ?? '') === (machine.group ?? '') && equal(put.metadata ?? {}, machine.metadata) && equal(put.health ?? null, machine.health ?? null)
  return around && machine.state === 'failed'
}

function equal(one: unknown, other: unknown): boolean {
  const sorted = (_key: string, value: unknown): unknown =>
    typeof value === 'object' && value !== null
      ? Object.fromEntries(Object.entries(value).filter(([, inner]) => inner !== null && inner !== false).sort(([a], [b]) => (a < b ? -1 : 1)))
      : value
  return JSON.stringify(one, sorted) === JSON.stringify(other, sorted)
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
