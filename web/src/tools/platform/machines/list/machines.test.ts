import { expect, it } from 'vitest'
import { merged } from './machines'
import type { Machine } from './row'

const machine = (name: string, state = 'started'): Machine => ({ name, state }) as Machine

it('takes in what changed, what came and what went', () => {
  const list = [machine('a'), machine('b'), machine('c')]
  const read = new Map([['b', machine('b', 'stopped')], ['c', undefined], ['d', machine('d')], ['e', undefined]])
  expect(merged(list, read).map((one) => `${one.name} ${one.state}`)).toEqual(['a started', 'b stopped', 'd started'])
})
