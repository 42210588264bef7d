// An apply that goes on is told of by the stream of changes. Without the stream it is asked.
import { onScopeDispose, watch } from 'vue'
import type { Link } from '@/api/live'

const LOOK = 1000

/** Looks every second while something runs of which no stream tells, and once when the stream is there again. */
export function useLook(runs: () => boolean, link: () => Link, look: () => void): void {
  let timer: ReturnType<typeof setInterval> | undefined
  const blind = (): boolean => runs() && link() !== 'live'
  watch(
    blind,
    (is, was) => {
      clearInterval(timer)
      timer = is ? setInterval(look, LOOK) : undefined
      // What went on until now was told to nobody.
      if (was && !is && runs()) look()
    },
    { immediate: true },
  )
  onScopeDispose(() => clearInterval(timer))
}
