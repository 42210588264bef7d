// The dialog that proves the second factor again is one for the whole page; whoever asks waits for the same answer.
import { ref } from 'vue'
import { onStepUp } from '@/api/client'

export const stepUpOpen = ref(false)
let answer: ((proven: boolean) => void) | undefined
let waiting: Promise<boolean> | undefined

onStepUp(() => {
  waiting ??= new Promise<boolean>((resolve) => {
    answer = resolve
    stepUpOpen.value = true
  }).finally(() => {
    waiting = undefined
  })
  return waiting
})

export function stepUpDone(proven: boolean): void {
  stepUpOpen.value = false
  answer?.(proven)
  answer = undefined
}
