import { describe, expect, it } from 'vitest'
import { filtered, filterOf, NO_FILTER, queryOf, valuesOf } from './filter'
import type { MachineRow } from './row'

const row = (name: string, more: Partial<MachineRow> = {}): MachineRow => ({
  id: `m-${name}`, name, state: 'started', health: 'healthy', cluster: '', image: 'web', network: 'front', address: '10.1.0.9',
  cpus: 1, memory: 1, disk: 1, restarts: 0, updated: '', cordoned: false, reason: '', metadata: {}, ...more,
})
const rows = [
  row('web-1', { cluster: 'web', metadata: { tier: 'front', 'a=b': 'x' } }),
  row('web-2', { cluster: 'web', state: 'failed', health: 'off', reason: 'the disk is full' }),
  row('db', { image: 'postgres', health: 'unhealthy', cordoned: true, address: '10.2.0.4', metadata: { tier: 'back' } }),
]
const names = (filter: Partial<typeof NO_FILTER>): string[] => filtered(rows, { ...NO_FILTER, ...filter }).map((one) => one.name)

describe('the filter of machines', () => {
  it('shows what each field says, and what all of them say together', () => {
    expect(names({})).toEqual(['web-1', 'web-2', 'db'])
    expect(names({ text: ' WEB' })).toEqual(['web-1', 'web-2'])
    expect(names({ text: '10.2' })).toEqual(['db'])
    expect(names({ text: 'disk' })).toEqual(['web-2'])
    expect(names({ state: 'cordoned' })).toEqual(['db'])
    expect(names({ cluster: 'web', state: 'failed' })).toEqual(['web-2'])
    expect(names({ health: 'unhealthy' })).toEqual(['db'])
    expect(names({ image: 'postgres', cluster: 'web' })).toEqual([])
  })

  it('reads metadata as KEY=VALUE or KEY, all of which must hold', () => {
    expect(names({ metadata: 'tier=front' })).toEqual(['web-1'])
    expect(names({ metadata: 'tier' })).toEqual(['web-1', 'db'])
    expect(names({ metadata: 'tier=back tier=front' })).toEqual([])
    expect(names({ metadata: '  ' })).toEqual(['web-1', 'web-2', 'db'])
  })

  it('lives in the address, beside what else stands there', () => {
    const query = { tab: 'machines', text: 'old', state: ['a', 'b'], cluster: 'web' }
    expect(filterOf(query)).toEqual({ ...NO_FILTER, text: 'old', cluster: 'web' })
    expect(queryOf({ ...NO_FILTER, health: 'off' }, query)).toEqual({ tab: 'machines', health: 'off' })
  })

  it('offers the values there are', () => {
    expect(valuesOf(rows, 'cluster')).toEqual(['web'])
    expect(valuesOf(rows, 'image')).toEqual(['postgres', 'web'])
  })
})
