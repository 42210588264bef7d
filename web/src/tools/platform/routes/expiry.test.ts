import { expect, it } from 'vitest'
import { expiryOf } from './expiry'

const now = new Date('2026-11-28T12:00:00Z')
const day = (days: number): string => new Date(now.getTime() + days * 86_400_000).toISOString()

it.each([
  [-10, 80, 'good'],
  [-77, 13, 'soon'],
  [-75, 15, 'good'],
  [-90, -1, 'over'],
  // Of thirty days ten are left when it is renewed as it should.
  [-19, 11, 'good'],
  [-22, 8, 'soon'],
])('begun %i days from now, ending %i days from now: %s', (begun, ends, expected) => {
  expect(expiryOf({ not_before: day(begun), not_after: day(ends) }, now)).toBe(expected)
})

it('says nothing of what is not there', () => {
  expect(expiryOf({ not_after: null }, now)).toBe('none')
})
