// One clock for all that shows how long ago something was.
import { onScopeDispose, ref, type Ref } from 'vue'

const now = ref(new Date())
let users = 0
let timer: ReturnType<typeof setInterval> | undefined

export function useNow(): Ref<Date> {
  users += 1
  timer ??= setInterval(() => {
    now.value = new Date()
  }, 5000)
  onScopeDispose(() => {
    users -= 1
    if (users > 0) return
    clearInterval(timer)
    timer = undefined
  })
  return now
}
