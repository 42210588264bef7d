import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { effectScope, nextTick, ref } from 'vue'
import type { Link } from '@/api/live'
import { useLook } from './look'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

function looking(first: Link) {
  const [runs, link, look, scope] = [ref(true), ref<Link>(first), vi.fn(), effectScope()]
  scope.run(() => useLook(() => runs.value, () => link.value, look))
  const after = async (change: () => void, ms: number): Promise<number> => {
    change()
    await nextTick()
    vi.advanceTimersByTime(ms)
    return look.mock.calls.length
  }
  return { runs, link, after, scope }
}
const nothing = (): void => {}

test('with the stream it is asked seldom', async () => {
  const { runs, after } = looking('live')
  expect(await after(nothing, 59_000)).toBe(5)
  expect(await after(() => (runs.value = false), 60_000)).toBe(5)
})

test('without the stream it is asked until the end', async () => {
  const { runs, link, after } = looking('live')
  expect(await after(() => (link.value = 'lost'), 3500)).toBe(3)
  expect(await after(() => (runs.value = false), 60_000)).toBe(3)
})

test('once more when the stream takes over, and then seldom', async () => {
  const { link, after } = looking('connecting')
  expect(await after(nothing, 2500)).toBe(2)
  expect(await after(() => (link.value = 'live'), 9000)).toBe(3)
  expect(await after(nothing, 10_500)).toBe(4)
  expect(await after(() => (link.value = 'lost'), 1500)).toBe(5)
})

test('nobody looks after the screen is gone', async () => {
  const { after, scope } = looking('lost')
  expect(await after(() => scope.stop(), 60_000)).toBe(0)
})
