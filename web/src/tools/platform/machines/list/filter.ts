// What of the list is shown. It lives in the address of the page, so that it can be sent to somebody and survives going back.
import type { MachineRow } from './row'

export interface MachineFilter {
  text: string
  state: string
  cluster: string
  image: string
  health: string
  /** `KEY=VALUE`, or `KEY` alone for any value; several are told apart by spaces, and all must hold. */
  metadata: string
}

export const NO_FILTER: MachineFilter = { text: '', state: '', cluster: '', image: '', health: '', metadata: '' }
export const FILTER_KEYS = ['text', 'state', 'cluster', 'image', 'health', 'metadata'] as const

type Query = Record<string, unknown>

export function filterOf(query: Query): MachineFilter {
  const filter = { ...NO_FILTER }
  for (const key of FILTER_KEYS) {
    const value = query[key]
    if (typeof value === 'string') filter[key] = value
  }
  return filter
}

/** The query of the page with this filter; what is not of the filter stays. */
export function queryOf(filter: MachineFilter, query: Query): Record<string, string> {
  const next: Record<string, string> = {}
  for (const [key, value] of Object.entries(query)) if (typeof value === 'string' && !(key in NO_FILTER)) next[key] = value
  for (const key of FILTER_KEYS) if (filter[key] !== '') next[key] = filter[key]
  return next
}

export function isFiltered(filter: MachineFilter): boolean {
  return FILTER_KEYS.some((key) => filter[key] !== '')
}

function metadataHolds(wanted: string[], metadata: Record<string, string>): boolean {
  return wanted.every((word) => {
    const cut = word.indexOf('=')
    if (cut < 0) return word in metadata
    return metadata[word.slice(0, cut)] === word.slice(cut + 1)
  })
}

export function filtered(rows: MachineRow[], filter: MachineFilter): MachineRow[] {
  if (!isFiltered(filter)) return rows
  const text = filter.text.trim().toLowerCase()
  const metadata = filter.metadata.split(/\s+/).filter(Boolean)
  return rows.filter(
    (row) =>
      (text === '' || row.name.toLowerCase().includes(text) || row.address.startsWith(text) || row.id.toLowerCase() === text || row.reason.toLowerCase().includes(text)) &&
      (filter.state === '' || (filter.state === 'cordoned' ? row.cordoned : row.state === filter.state)) &&
      (filter.cluster === '' || row.cluster === filter.cluster) &&
      (filter.image === '' || row.image === filter.image) &&
      (filter.health === '' || row.health === filter.health) &&
      metadataHolds(metadata, row.metadata),
  )
}

/** The values that a field has in these rows, in order. */
export function valuesOf(rows: MachineRow[], field: 'state' | 'cluster' | 'image'): string[] {
  const values = new Set<string>()
  for (const row of rows) values.add(row[field])
  values.delete('')
  return [...values].sort()
}
