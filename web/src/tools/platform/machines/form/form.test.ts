import { describe, expect, it } from 'vitest'
import type { Schemas } from '@/api/client'
import { createOf, doubled, emptyForm, formOf, fromBase64, GIB, MIB, putOf, toBase64 } from './form'

describe('the form of a machine', () => {
  it('sends what was filled in, and leaves out what was not', () => {
    const form = { ...emptyForm(), name: ' web-1 ', image: 'web', network: 'front', memory: 512, disk: 4 }
    expect(createOf(form)).toEqual({
      name: 'web-1', metadata: {}, spec: { image: 'web', network: 'front', cpus: 1, memory: 512 * MIB, disk: 4 * GIB, start: 'warm' },
    })
    const full = createOf({
      ...form, group: 'web', address: '10.0.0.7', userData: '#cloud-config\nü', metadata: [['tier', 'front'], ['', 'lost']], launch: false, register: false,
      health: 'http', healthPort: 8080, healthPath: '/up',
    })
    expect(full).toMatchObject({ group: 'web', metadata: { tier: 'front' }, skip_launch: true, skip_registration: true })
    expect(full.health).toMatchObject({ http: '/up', port: 8080 })
    expect(fromBase64(full.spec.user_data ?? '')).toBe('#cloud-config\nü')
  })

  it('puts back what it read, so that changing one thing changes one thing', () => {
    const machine = {
      name: 'web-1', group: 'web', metadata: { a: 'b' },
      spec: { image: 'web', network: 'front', cpus: 2, memory: 768 * MIB, disk: 3.5 * GIB, start: 'cold', address: '10.0.0.7', user_data: toBase64('x') },
      health: { tcp: true, port: 22, interval_ms: 1000, timeout_ms: 500, healthy_after: 3 },
    } as unknown as Schemas['Machine']
    expect(putOf(formOf(machine))).toEqual({ group: 'web', metadata: machine.metadata, spec: machine.spec, health: machine.health })
  })

  it('tells of keys that stand twice', () => {
    expect(doubled([['a', '1'], ['b', '2'], ['a ', '3'], ['', ''], ['', '']])).toEqual(['a'])
  })
})
