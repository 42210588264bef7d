import { expect, it } from 'vitest'
import { destinationsOf, egressOf, kindOf } from './egress'

it('reads and writes the three kinds of egress', () => {
  expect(egressOf('none', 'x:1')).toBe('none')
  expect(egressOf('logged', '')).toBe('logged')
  const some = egressOf('allow', 'deb.example.org:443\n\n api.example.org:443, deb.example.org:443')
  expect(some).toEqual({ allow: ['deb.example.org:443', 'api.example.org:443'] })
  expect([kindOf(some), kindOf('none')]).toEqual(['allow', 'none'])
  expect([destinationsOf(some).length, destinationsOf('logged').length]).toEqual([2, 0])
})
