import { describe, expect, it } from 'vitest'
import type { Change } from '@/api/live'
import { lastStart, spansOf, stateOf } from './timeline'

let seq = 0
const told = (kind: string, second: number): Change => ({
  kind, at: new Date(second * 1000).toISOString(), seq: (seq += 1), service: 'machines', message: '', project: 'p', object: 'machine/a', actor: '',
})
const now = new Date(1_000_000)

describe('the life of a machine', () => {
  it('is told by the events of its states', () => {
    expect(['machine.started', 'machine.died', 'machine.healthy', 'alert.machine_changed'].map(stateOf)).toEqual(['started', 'failed', undefined, undefined])
  })

  it('has spans, in order, whatever the order of the events', () => {
    const spans = spansOf([told('machine.started', 12), told('machine.healthy', 13), told('machine.creating', 10), told('machine.creating', 11), told('machine.stopped', 500)], now)
    expect(spans.map((one) => [one.state, one.ms])).toEqual([['creating', 2000], ['started', 488_000], ['stopped', 500_000]])
    expect(spans.map((one) => one.to === undefined)).toEqual([false, false, true])
    expect(spansOf([], now)).toEqual([])
  })

  it('knows how long the last start took', () => {
    const first = [told('machine.creating', 10), told('machine.starting', 12), told('machine.started', 13)]
    expect(lastStart(first)).toBe(3000)
    expect(lastStart([...first, told('machine.stopped', 20), told('machine.starting', 30), told('machine.started', 30.8), told('machine.stopping', 40)])).toBe(800)
    // The beginning is older than what is kept.
    expect(lastStart([told('machine.started', 13)])).toBeUndefined()
    expect(lastStart([told('machine.stopped', 1), told('machine.started', 13)])).toBeUndefined()
  })
})
