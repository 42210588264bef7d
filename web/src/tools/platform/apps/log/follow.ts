// Text that comes as it is written: read piece by piece, given up with the component that shows it.
import { onScopeDispose, ref, shallowRef, triggerRef, watch, type Ref, type ShallowRef } from 'vue'
import { raw } from '@/api/client'
import { Problem } from '@/api/problem'
import { LineBuffer } from './lines'

export type Reading = 'reading' | 'ended' | 'failed'

export interface FollowedText {
  buffer: ShallowRef<LineBuffer>
  reading: Ref<Reading>
  problem: ShallowRef<Problem | undefined>
  again: () => void
}

/** Reads `path` from its beginning, and anew when it changes. */
export function useFollowedText(path: () => string): FollowedText {
  const buffer = shallowRef(new LineBuffer())
  const reading = ref<Reading>('reading')
  const problem = shallowRef<Problem>()
  let running: AbortController | undefined
  let drawing: number | undefined

  // A build may say thousands of lines a second: they are drawn as often as the screen is.
  function draw(): void {
    drawing ??= requestAnimationFrame(() => {
      drawing = undefined
      triggerRef(buffer)
    })
  }

  async function read(): Promise<void> {
    running?.abort()
    const mine = new AbortController()
    running = mine
    const into = new LineBuffer()
    buffer.value = into
    reading.value = 'reading'
    problem.value = undefined
    try {
      const body = (await raw(path(), { signal: mine.signal })).body?.getReader()
      const decoder = new TextDecoder()
      for (;;) {
        const part = await body?.read()
        if (running !== mine) return
        if (!part || part.done) break
        into.push(decoder.decode(part.value, { stream: true }))
        draw()
      }
      into.push(decoder.decode())
      reading.value = 'ended'
    } catch (thrown) {
      if (running !== mine || mine.signal.aborted) return
      // A connection that broke in the middle throws what the browser likes.
      problem.value = thrown instanceof Problem ? thrown : Problem.offline()
      reading.value = 'failed'
    }
    into.finish()
    draw()
  }

  watch(path, () => void read())
  onScopeDispose(() => {
    running?.abort()
    running = undefined
    if (drawing !== undefined) cancelAnimationFrame(drawing)
  })
  void read()
  return { buffer, reading, problem, again: () => void read() }
}
