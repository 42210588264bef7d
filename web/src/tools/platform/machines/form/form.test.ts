import { describe, expect, it } from 'vitest'
import type { Schemas } from '@/api/client'
import { createOf, doubled, emptyForm, formOf, fromBase64, GIB, MIB, putOf, renewsDisk, toBase64 } from './form'

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
    expect(putOf(formOf(machine), machine)).toEqual({ group: 'web', metadata: machine.metadata, spec: machine.spec, health: machine.health })
  })

  it('knows what costs the machine its disk', () => {
    const machine = {
      name: 'web-1', state: 'started', metadata: {}, image_digest: 'sha256-a',
      spec: { image: 'web', network: 'front', cpus: 2, memory: 768 * MIB, disk: 5_000_000_001, address: null },
    } as unknown as Schemas['Machine']
    const form = formOf(machine)
    expect(renewsDisk(form, machine, 'sha256-a')).toBe(false)
    // As the field gives it back, rounded.
    expect(putOf({ ...form, disk: 4.657 }, machine).spec.disk).toBe(5_000_000_001)
    expect(renewsDisk({ ...form, group: 'web', metadata: [['a', 'b']], health: 'tcp' }, machine, 'sha256-a')).toBe(false)
    expect(renewsDisk({ ...form, cpus: 4 }, machine, 'sha256-a')).toBe(true)
    expect(renewsDisk({ ...form, start: 'cold' }, machine, 'sha256-a')).toBe(true)
    expect(renewsDisk(form, machine, 'sha256-b')).toBe(true)
    expect(renewsDisk(form, { ...machine, state: 'failed' }, 'sha256-a')).toBe(true)
  })

  it('does not lose user data that is no text', () => {
    const machine = { metadata: {}, spec: { image: 'a', network: 'b', cpus: 1, memory: MIB, disk: GIB, user_data: btoa('\x1f\x8b\xff') } } as unknown as Schemas['Machine']
    expect(putOf(formOf(machine), machine).spec.user_data).toBe(machine.spec.user_data)
  })

  it('tells of keys that stand twice', () => {
    expect(doubled([['a', '1'], ['b', '2'], ['a ', '3'], ['', ''], ['', '']])).toEqual(['a'])
  })
})
