import { expect, it } from 'vitest'
import { ratesBetween, reading } from './rates'

const of = (requests: number[], at: number) => reading([{ name: 'shop', endpoints: requests.map((one, index) => ({ id: String(index), requests: one })) }], at)

it('is requests a second between two readings', () => {
  expect(ratesBetween(of([10, 20], 0), of([20, 40], 5000)).get('shop')).toBe(6)
  expect(ratesBetween(undefined, of([1], 0)).size).toBe(0)
  expect(ratesBetween(of([1], 7), of([9], 7)).size).toBe(0)
})

it('takes no counter that began anew for traffic', () => {
  expect(ratesBetween(of([1000, 10], 0), of([5, 30, 700], 10_000)).get('shop')).toBe(2)
})
