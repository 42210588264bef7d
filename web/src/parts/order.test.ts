import { expect, it } from 'vitest'
import { sorted, windowOf } from './order'

it('sorts text as people count it, and numbers as numbers', () => {
  const rows = [{ name: 'web-10', cpus: 2 }, { name: 'web-9', cpus: 16 }, { name: 'db', cpus: 4 }]
  const names = (list: typeof rows): string[] => list.map((one) => one.name)
  expect(names(sorted(rows, { key: 'name', label: '' }, 1))).toEqual(['db', 'web-9', 'web-10'])
  expect(names(sorted(rows, { key: 'cpus', label: '' }, -1))).toEqual(['web-9', 'db', 'web-10'])
  expect(names(sorted(rows, { key: 'x', label: '', sortBy: (row) => -row.cpus }, 1))).toEqual(['web-9', 'db', 'web-10'])
  expect(sorted(rows, undefined, 1)).toBe(rows)
})

it('draws what is seen and some around it', () => {
  expect(windowOf(0, 600, 36, 10_000)).toEqual({ first: 0, end: 42 })
  for (const top of [0, 35, 36, 3600, 359_000, 400_000]) {
    const { first, end } = windowOf(top, 600, 36, 10_000)
    const at = Math.min(Math.floor(top / 36), 10_000 - 17)
    expect(first).toBeLessThanOrEqual(at)
    expect(end).toBeGreaterThanOrEqual(Math.min(10_000, at + 18))
    expect(end - first).toBeLessThanOrEqual(42)
  }
  expect(windowOf(0, 600, 36, 3)).toEqual({ first: 0, end: 3 })
})
