// Counts down what a 429 asks to wait, so that nobody has to guess when the next attempt is looked at.
import { onScopeDispose, readonly, ref, watch, type Ref } from 'vue'
import type { Problem } from '@/api/problem'
import { secondsIn } from './secrets'

export function useWait(problem: Ref<Problem | undefined>): Readonly<Ref<number>> {
  const left = ref(0)
  let timer: ReturnType<typeof setInterval> | undefined

  function stop(): void {
    clearInterval(timer)
    timer = undefined
  }
  watch(problem, (found) => {
    stop()
    left.value = 0
    if (found?.status !== 429) return
    const end = Date.now() + (secondsIn(found.message) ?? 5) * 1000
    const count = (): void => {
      left.value = Math.max(0, Math.ceil((end - Date.now()) / 1000))
      if (left.value === 0) stop()
    }
    timer = setInterval(count, 500)
    count()
  })
  onScopeDispose(stop)
  return readonly(left)
}
