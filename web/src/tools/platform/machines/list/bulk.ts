// The same act on many machines: a few at a time, each outcome kept, none holding up the others.
import { Problem } from '@/api/problem'

/** More at once would only queue in the platform, and keep the browser's connections from the rest of the page. */
export const AT_ONCE = 5

export interface Failure {
  name: string
  problem: Problem
}

export interface Progress {
  total: number
  done: number
  failures: Failure[]
}

/** Tells of the progress after each one; stops beginning new ones once `stop` is aborted. */
export async function forEachOf(
  names: string[],
  act: (name: string) => Promise<unknown>,
  tell: (progress: Progress) => void,
  stop?: AbortSignal,
): Promise<Progress> {
  const progress: Progress = { total: names.length, done: 0, failures: [] }
  const waiting = [...names]
  async function worker(): Promise<void> {
    for (let name = waiting.shift(); name !== undefined && !stop?.aborted; name = waiting.shift()) {
      try {
        await act(name)
      } catch (thrown) {
        progress.failures.push({ name, problem: Problem.from(thrown) })
      }
      progress.done += 1
      tell({ ...progress, failures: [...progress.failures] })
    }
  }
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, names.length) }, worker))
  return progress
}
