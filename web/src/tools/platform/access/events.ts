// Events of access, the newest of them.
import { api, good, type Schemas } from '@/api/client'

export type AccessEvent = Schemas['List_Event']['items'][number]

const PAGE = 1000
/** A screen is no archive, the ledger is. */
const MOST = 2 * PAGE

interface Reading {
  order: 'newest'
  before?: number
  limit: number
}

async function newest(read: (query: Reading) => Promise<AccessEvent[]>): Promise<AccessEvent[]> {
  const events: AccessEvent[] = []
  while (events.length < MOST) {
    const last = events.at(-1)
    const part = await read({ order: 'newest', limit: PAGE, ...(last ? { before: last.seq } : {}) })
    events.push(...part)
    if (part.length < PAGE) break
  }
  return events
}

export const readAlerts = (): Promise<AccessEvent[]> => newest(async (query) => (await good(api.GET('/api/v1/access/alerts', { params: { query } }))).items)
export const readEvents = (): Promise<AccessEvent[]> => newest(async (query) => (await good(api.GET('/api/v1/access/events', { params: { query } }))).items)

export interface Certificate {
  serial: string
  /** Where it opens a door. */
  place: string
  person: string
  projects: string[]
  source: string
  issued: string
  until: string
  by: string
  /** Whether somebody ended it before its time. */
  revoked: boolean
}

const text = (value: unknown): string => (typeof value === 'string' ? value : typeof value === 'number' ? String(value) : '')

/** The certificate an event tells of. */
export function certificateOf(event: AccessEvent): Certificate | undefined {
  if (event.kind !== 'access.certificate_issued') return undefined
  const data = (event.data ?? {}) as Record<string, unknown>
  const projects = Array.isArray(data['projects']) ? data['projects'].map(text) : []
  return {
    serial: text(data['serial']) || event.object.replace('certificate/', ''),
    place: text(data['place']),
    person: text(data['person']) || event.actor.id,
    projects,
    source: text(data['source_address']),
    issued: event.at,
    until: text(data['valid_before']),
    by: event.actor.name,
    revoked: false,
  }
}

/** All that were issued, and which of them a later event ended: by itself, with all of its person, or with everything. */
export function certificatesOf(events: readonly AccessEvent[]): Certificate[] {
  const revocations = events.filter((event) => event.kind === 'access.revoked')
  return events.flatMap((event) => {
    const found = certificateOf(event)
    if (!found) return []
    const objects = [`certificate/${found.serial}`, `person/${found.person}`, 'certificate/*']
    return [{ ...found, revoked: revocations.some((one) => one.seq > event.seq && objects.includes(one.object)) }]
  })
}
