// One stream of what changes, for all screens. It carries no state: a change makes the queries that it concerns read anew, and
// after a gap in the stream all of them do.
import { readonly, ref, type Ref } from 'vue'
import type { Schemas } from './client'

export type Change = Schemas['PlatformChange']
export type Link = 'connecting' | 'live' | 'lost'

type Reader = (change: Change | undefined) => void
type ProgressReader = (progress: Change) => void

const FIRST_WAIT = 500
const LONGEST_WAIT = 15_000

const link = ref<Link>('connecting')
const readers = new Set<Reader>()
const progressReaders = new Set<ProgressReader>()
let source: EventSource | undefined
let timer: ReturnType<typeof setTimeout> | undefined
let wait = FIRST_WAIT

export const liveLink: Readonly<Ref<Link>> = readonly(link)

/** Called with each change; with none when the stream is whole again after a gap, so that everything may have changed. */
export function onChange(reader: Reader): () => void {
  readers.add(reader)
  return () => readers.delete(reader)
}

/** Called with what goes on between two changes, such as the steps of an apply; it is kept nowhere, and after a gap told to nobody. */
export function onProgress(reader: ProgressReader): () => void {
  progressReaders.add(reader)
  return () => progressReaders.delete(reader)
}

function tell(change: Change | undefined): void {
  for (const reader of [...readers]) reader(change)
}

export function connect(): void {
  if (source) return
  const stream = new EventSource('/api/v1/changes')
  source = stream
  stream.addEventListener('open', () => {
    const gap = link.value === 'lost'
    link.value = 'live'
    wait = FIRST_WAIT
    if (gap) tell(undefined)
  })
  stream.addEventListener('change', (event) => tell(JSON.parse((event as MessageEvent<string>).data) as Change))
  stream.addEventListener('progress', (event) => {
    const progress = JSON.parse((event as MessageEvent<string>).data) as Change
    for (const reader of [...progressReaders]) reader(progress)
  })
  // Cut off for reading too slowly: what came meanwhile is not known.
  stream.addEventListener('cut_off', again)
  stream.addEventListener('error', again)
}

function again(): void {
  source?.close()
  source = undefined
  link.value = 'lost'
  clearTimeout(timer)
  timer = setTimeout(connect, wait * (0.75 + Math.random() / 2))
  wait = Math.min(wait * 2, LONGEST_WAIT)
}

/** At sign-out. */
export function disconnect(): void {
  clearTimeout(timer)
  source?.close()
  source = undefined
  link.value = 'connecting'
}

if (typeof addEventListener === 'function') {
  addEventListener('online', () => {
    if (link.value !== 'lost') return
    clearTimeout(timer)
    wait = FIRST_WAIT
    connect()
  })
}
