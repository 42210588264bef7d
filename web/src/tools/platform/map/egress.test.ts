import { expect, it } from 'vitest'
import { egressOf, linesOf, ruleOf } from './egress'

it('reads and writes destinations as lines', () => {
  expect(egressOf('allow', ' a:1\n\nb:2, c:3 ')).toEqual({ allow: ['a:1', 'b:2', 'c:3'] })
  expect(egressOf('logged', 'a:1')).toBe('logged')
  expect(linesOf({ allow: ['a:1', 'b:2'] })).toBe('a:1\nb:2')
  expect([ruleOf('none'), ruleOf({ allow: [] })]).toEqual(['none', 'allow'])
})
