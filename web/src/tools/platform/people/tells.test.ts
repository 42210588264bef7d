// A new action or rule of the policy has a German text before it is in the console.
import { expect, it } from 'vitest'
import actions from '../../../../../crates/policy/src/actions.rs?raw'
import policy from '../../../../../crates/policy/src/policy.cedar?raw'
import { ACTIONS, RULES } from './tells'

const found = (text: string, pattern: RegExp): string[] => [...text.matchAll(pattern)].map((one) => one[1] ?? '').sort()

it('every action of the policy has a German text, and nothing else has', () => {
  const names = found(actions, /^\s+(?:action|danger)\(\s*"([\w.]+)"/gm)
  expect(names.length).toBeGreaterThan(50)
  expect(Object.keys(ACTIONS).sort()).toEqual(names)
})

it('every rule of the policy has a German text, and nothing else has', () => {
  const names = found(policy, /^@id\("([\w-]+)"\)/gm)
  expect(names.length).toBeGreaterThan(8)
  expect(Object.keys(RULES).sort()).toEqual(names)
})
