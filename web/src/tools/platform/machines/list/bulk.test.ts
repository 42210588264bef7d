import { expect, it } from 'vitest'
import { Problem } from '@/api/problem'
import { AT_ONCE, forEachOf, type Progress } from './bulk'

const names = Array.from({ length: 23 }, (_, index) => `web-${index}`)

it('acts on a few at a time, on all of them, and keeps why some failed', async () => {
  let running = 0
  let most = 0
  const told: Progress[] = []
  const end = await forEachOf(
    names,
    async (name) => {
      running += 1
      most = Math.max(most, running)
      await Promise.resolve()
      running -= 1
      if (name === 'web-3') throw new Problem(409, 'machine_busy', 'it is being changed')
      if (name === 'web-4') throw new Error('odd')
    },
    (progress) => told.push(progress),
  )
  expect(most).toBe(AT_ONCE)
  expect(told.map((one) => one.done)).toEqual(names.map((_, index) => index + 1))
  expect(end.failures.map((one) => [one.name, one.problem.code]).sort()).toEqual([
    ['web-3', 'machine_busy'],
    ['web-4', 'unexpected'],
  ])
})

it('begins no more once it is stopped', async () => {
  const stop = new AbortController()
  const begun: string[] = []
  const end = await forEachOf(names, async (name) => {
    begun.push(name)
    if (begun.length === 7) stop.abort()
    await Promise.resolve()
  }, () => undefined, stop.signal)
  expect(begun.length).toBeLessThan(names.length)
  expect(end.done).toBe(begun.length)
})
