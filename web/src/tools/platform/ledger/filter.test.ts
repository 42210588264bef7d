import { expect, it } from 'vitest'
import { askOf, filterOf, queryOf } from './filter'

it('goes from the address of the page to the API and back, and leaves out what is empty', () => {
  const filter = filterOf({ actor: 'ada', from: '2026-11-28T20:15', kind: ' machine.* ', order: 'oldest', entry: '2026/3' })
  expect(queryOf(filter)).toEqual({ actor: 'ada', from: '2026-11-28T20:15', kind: ' machine.* ', order: 'oldest' })
  expect(askOf(filter)).toEqual({ actor: 'ada', kind: 'machine.*', order: 'oldest', from: new Date('2026-11-28T20:15').toISOString() })
})

it('passes over what is no time', () => {
  expect(askOf(filterOf({ until: 'yesterday' }))).toEqual({ order: 'newest' })
  expect(queryOf(filterOf({}))).toEqual({})
})
