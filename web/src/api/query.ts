// What a screen reads: read at once, again when something it concerns has changed, and honest about its age.
import { onScopeDispose, readonly, ref, shallowRef, watch, type Ref, type ShallowRef, type WatchSource } from 'vue'
import { liveLink, onChange, onProgress, type Change } from './live'
import { Problem } from './problem'

/** Changes come in bursts; one reading answers all of them. */
const CALM = 250

export interface Query<T> {
  /** What was read last; stays while it is read anew, and when that fails. */
  data: ShallowRef<T | undefined>
  /** Why the last reading failed. */
  problem: Readonly<Ref<Problem | undefined>>
  /** Nothing was read yet. */
  loading: Readonly<Ref<boolean>>
  /** What is shown may be old: the last reading failed, or the stream of changes is interrupted. */
  stale: Readonly<Ref<boolean>>
  /** When `data` was read. */
  at: Readonly<Ref<Date | undefined>>
  refresh: () => Promise<void>
}

export interface QueryOptions {
  /** Read anew, and forget what was read, when one of these changes. */
  of?: WatchSource<unknown> | WatchSource<unknown>[]
  /** Which changes concern it; none unless given. */
  on?: (change: Change) => boolean
  /** Which progress concerns it; none unless given. */
  onProgress?: (progress: Change) => boolean
  /** Read anew so often, for what no change tells of. */
  everyMs?: number
}

export function useQuery<T>(load: (signal: AbortSignal) => Promise<T>, options: QueryOptions = {}): Query<T> {
  const data = shallowRef<T>()
  const problem = shallowRef<Problem>()
  const loading = ref(true)
  const stale = ref(false)
  const at = ref<Date>()
  let running: AbortController | undefined
  let calm: ReturnType<typeof setTimeout> | undefined

  async function refresh(): Promise<void> {
    clearTimeout(calm)
    calm = undefined
    running?.abort()
    const mine = new AbortController()
    running = mine
    try {
      const read = await load(mine.signal)
      if (running !== mine) return
      data.value = read
      problem.value = undefined
      at.value = new Date()
      stale.value = liveLink.value === 'lost'
    } catch (thrown) {
      if (running !== mine || mine.signal.aborted) return
      problem.value = Problem.from(thrown)
      stale.value = data.value !== undefined
    }
    loading.value = false
  }

  // The first of a burst starts the clock, so that a steady stream of changes is still answered.
  const soon = (): void => {
    calm ??= setTimeout(() => void refresh(), CALM)
  }
  const stopChanges = onChange((change) => {
    if (!change || options.on?.(change)) soon()
  })
  const stopProgress = onProgress((progress) => {
    if (options.onProgress?.(progress)) soon()
  })
  const stopLink = watch(liveLink, (link) => {
    if (link === 'lost' && data.value !== undefined) stale.value = true
  })
  const every = options.everyMs
    ? setInterval(() => {
        if (!document.hidden) void refresh()
      }, options.everyMs)
    : undefined
  if (options.of) {
    watch(options.of, () => {
      data.value = undefined
      problem.value = undefined
      loading.value = true
      void refresh()
    })
  }
  onScopeDispose(() => {
    stopChanges()
    stopProgress()
    stopLink()
    clearTimeout(calm)
    clearInterval(every)
    running?.abort()
    running = undefined
  })
  void refresh()
  return { data, problem: readonly(problem) as Query<T>['problem'], loading: readonly(loading), stale: readonly(stale), at: readonly(at) as Query<T>['at'], refresh }
}

/** An action of a person: one at a time, its failure kept to be shown. */
export interface Action<A extends unknown[]> {
  run: (...args: A) => Promise<boolean>
  busy: Readonly<Ref<boolean>>
  problem: Ref<Problem | undefined>
}

export function useAction<A extends unknown[]>(act: (...args: A) => Promise<unknown>): Action<A> {
  const busy = ref(false)
  const problem = shallowRef<Problem>()
  async function run(...args: A): Promise<boolean> {
    if (busy.value) return false
    busy.value = true
    problem.value = undefined
    try {
      await act(...args)
      return true
    } catch (thrown) {
      problem.value = Problem.from(thrown)
      return false
    } finally {
      busy.value = false
    }
  }
  return { run, busy: readonly(busy), problem }
}
