// An apply that goes on is told of by the stream of changes. Without the stream it is asked.
import { onScopeDispose, watch } from 'vue'
import type { Link } from '@/api/live'

const LOOK = 1000
/** With it, too, but seldom: of several processes of a platform each tells of what it does itself. */
const LOOK_SELDOM = 10_000

/** Looks every second while something runs of which no stream tells, and once when the stream is there again. */
export function useLook(runs: () => boolean, link: () => Link, look: () => void): void {
  let timer: ReturnType<typeof setInterval> | undefined
  const every = (): number => (!runs() ? 0 : link() === 'live' ? LOOK_SELDOM : LOOK)
  watch(
    every,
    (is, was) => {
      clearInterval(timer)
      timer = is > 0 ? setInterval(look, is) : undefined
      // What went on until now was told to nobody.
      if (was === LOOK && is === LOOK_SELDOM) look()
    },
    { immediate: true },
  )
  onScopeDispose(() => clearInterval(timer))
}
