// The filter of the list as it stands in the address of the page, and as the API takes it.
import type { LocationQuery } from 'vue-router'

export const TEXTS = ['actor', 'object', 'project', 'kind'] as const

export interface Filter {
  actor: string
  object: string
  project: string
  kind: string
  /** As the browser's input writes local time: `2026-11-28T20:15`. */
  from: string
  until: string
  order: 'newest' | 'oldest'
}

const text = (value: LocationQuery[string] | undefined): string => (typeof value === 'string' ? value : '')

export function filterOf(query: LocationQuery): Filter {
  const of = (key: string): string => text(query[key])
  return {
    actor: of('actor'),
    object: of('object'),
    project: of('project'),
    kind: of('kind'),
    from: of('from'),
    until: of('until'),
    order: of('order') === 'oldest' ? 'oldest' : 'newest',
  }
}

/** What differs from no filter. */
export function queryOf(filter: Filter): Record<string, string> {
  const entries = Object.entries(filter).filter(([key, value]) => value !== '' && !(key === 'order' && value === 'newest'))
  return Object.fromEntries(entries)
}

function instant(local: string): string | undefined {
  const at = new Date(local)
  return local === '' || Number.isNaN(at.getTime()) ? undefined : at.toISOString()
}

export function askOf(filter: Filter): Record<string, string> {
  const ask: Record<string, string> = { order: filter.order }
  for (const key of TEXTS) if (filter[key].trim() !== '') ask[key] = filter[key].trim()
  const from = instant(filter.from)
  const until = instant(filter.until)
  if (from) ask['from'] = from
  if (until) ask['until'] = until
  return ask
}
