// Sorting of ten thousand rows, and which of them are drawn.
import type { TableColumn } from './table'

const collator = new Intl.Collator(undefined, { numeric: true })

/** What a row is sorted by: numbers as such, text as people count it (`web-9` before `web-10`). */
export function sorted<Row extends object>(rows: Row[], column: TableColumn<Row> | undefined, order: 1 | -1): Row[] {
  if (!column) return rows
  const by = column.sortBy ?? column.key
  const of = (row: Row): unknown => (typeof by === 'function' ? by(row) : (row as Record<string, unknown>)[by])
  // Each key is asked for once, not at each comparison.
  const keyed = rows.map((row) => ({ row, key: of(row) }))
  keyed.sort((one, other) => {
    const { key: a } = one
    const { key: b } = other
    return order * (typeof a === 'number' && typeof b === 'number' ? a - b : collator.compare(String(a ?? ''), String(b ?? '')))
  })
  return keyed.map((one) => one.row)
}

export interface Window {
  first: number
  end: number
}

/** Rows above and below what is seen: so far a frame may be late, and so far the tabulator key finds the next link. */
const AROUND = 10
/** The window moves by so many rows, so that not every pixel draws anew. */
const STEP = 5

export function windowOf(top: number, height: number, row: number, rows: number): Window {
  const seen = Math.ceil(height / row)
  const at = Math.min(Math.floor(Math.max(0, top) / row), Math.max(0, rows - seen))
  const first = Math.max(0, Math.floor((at - AROUND) / STEP) * STEP)
  return { first, end: Math.min(rows, first + seen + 2 * AROUND + STEP) }
}
