import { flushPromises } from '@vue/test-utils'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { effectScope, ref } from 'vue'
import { readHealth, type ProjectHealth } from './health'
import { useOverview } from './overview'

vi.mock('./health', () => ({ readHealth: vi.fn() }))
const read = vi.mocked(readHealth)
const health = (name: string) => ({ name }) as ProjectHealth

beforeEach(() => vi.useFakeTimers())
afterEach(() => {
  vi.useRealTimers()
  read.mockReset()
})

test('reads each project once, forgets those that are gone, and tries again what failed', async () => {
  read.mockImplementation((name) => (name === 'bad' ? Promise.reject(new Error('no')) : Promise.resolve(health(name))))
  const names = ref(['a', 'bad'])
  const scope = effectScope()
  const overview = scope.run(() => useOverview(names))
  await flushPromises()
  expect([...(overview?.of.value.keys() ?? [])]).toEqual(['a'])
  expect([...(overview?.failed.value ?? [])]).toEqual(['bad'])

  names.value = ['b', 'bad']
  await flushPromises()
  expect([...(overview?.of.value.keys() ?? [])]).toEqual(['b'])
  expect(read).toHaveBeenCalledTimes(3)

  read.mockImplementation((name) => Promise.resolve(health(name)))
  await vi.advanceTimersByTimeAsync(20_000)
  expect([...(overview?.of.value.keys() ?? [])]).toEqual(['b', 'bad'])
  expect(overview?.failed.value.size).toBe(0)
  expect(overview?.reading.value).toBe(0)

  scope.stop()
  const before = read.mock.calls.length
  names.value = ['c']
  await vi.advanceTimersByTimeAsync(60_000)
  expect(read).toHaveBeenCalledTimes(before)
})
