// The life of a machine, read from what was told of it.
import type { Change } from '@/api/live'

const STATES = ['creating', 'starting', 'started', 'stopping', 'stopped', 'updating', 'destroying', 'destroyed', 'failed']
const ON_THE_WAY = ['creating', 'starting', 'updating']

/** The state that an event tells of; none for those that tell of something else. */
export function stateOf(kind: string): string | undefined {
  if (kind === 'machine.died') return 'failed'
  const word = kind.startsWith('machine.') ? kind.slice('machine.'.length) : ''
  return STATES.includes(word) ? word : undefined
}

export interface Span {
  state: string
  from: string
  /** None for the one that lasts. */
  to: string | undefined
  ms: number
}

const byTime = (one: Change, other: Change): number => Date.parse(one.at) - Date.parse(other.at) || one.seq - other.seq

/** Times spent in states, oldest first; the last of them lasts. */
export function spansOf(changes: Change[], now: Date): Span[] {
  const spans: Span[] = []
  for (const change of [...changes].sort(byTime)) {
    const state = stateOf(change.kind)
    if (state === undefined) continue
    const last = spans.at(-1)
    // Told twice, as when a start is asked for that goes on already.
    if (last?.state === state) continue
    if (last) {
      last.to = change.at
      last.ms = Date.parse(last.to) - Date.parse(last.from)
    }
    spans.push({ state, from: change.at, to: undefined, ms: Math.max(0, now.getTime() - Date.parse(change.at)) })
  }
  return spans
}

/** How long the last start took, in ms, from when it was asked for; none where that is not told. */
export function lastStart(changes: Change[]): number | undefined {
  const spans = spansOf(changes, new Date())
  for (let at = spans.length - 1; at > 0; at -= 1) {
    const span = spans[at]
    if (span?.state !== 'started') continue
    let first = at
    while (first > 0 && ON_THE_WAY.includes(spans[first - 1]?.state ?? '')) first -= 1
    const began = spans[first]
    return began && first < at ? Date.parse(span.from) - Date.parse(began.from) : undefined
  }
  return undefined
}

/** What the list of a machine's events can be narrowed to. */
export function isOfStates(change: Change): boolean {
  return stateOf(change.kind) !== undefined
}
