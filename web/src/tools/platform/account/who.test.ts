import { expect, test } from 'vitest'
import { has, heldOf, type Who } from './who'

test('says where a role is held', () => {
  const held = heldOf([
    { role: 'owner', scope: 'org-01' },
    { role: 'viewer', scope: 'team-02' },
    { role: 'developer', scope: 'project/shop' },
  ])
  expect(held.map(({ of, where }) => [of, where])).toEqual([['organisation', ''], ['team', 'team-02'], ['project', 'shop']])
})

test('does not guess factors that are not told', () => {
  const who = { factors: ['totp'] } as Who
  expect([has(who, 'totp'), has(who, 'passkey'), has({} as Who, 'totp')]).toEqual([true, false, undefined])
})
