import { expect, it } from 'vitest'
import { certificateOf, certificatesOf, type AccessEvent } from './events'

const event: AccessEvent = {
  seq: 4,
  at: '2026-11-28T20:00:00Z',
  kind: 'access.certificate_issued',
  object: 'certificate/4711',
  project: '',
  message: '',
  actor: { id: 'u-1', name: 'Ada', kind: 'person' },
  data: { serial: '4711', place: 'bastion', person: 'u-1', projects: ['shop'], source_address: '192.0.2.7', valid_before: '2026-11-28T20:10:00Z' },
}

it('reads the certificate an event tells of, and passes over others', () => {
  expect(certificateOf(event)).toMatchObject({ serial: '4711', place: 'bastion', source: '192.0.2.7', projects: ['shop'] })
  expect(certificateOf({ ...event, data: null })).toMatchObject({ serial: '4711', person: 'u-1', projects: [] })
  expect(certificateOf({ ...event, kind: 'access.revoked' })).toBeUndefined()
})

it('knows which were revoked, and that what came after a revocation was not', () => {
  const revoked = (object: string, seq: number): AccessEvent => ({ ...event, seq, kind: 'access.revoked', object, data: null })
  const states = (...others: AccessEvent[]): boolean[] => certificatesOf([...others, event]).map((one) => one.revoked)
  expect(states()).toEqual([false])
  for (const object of ['certificate/4711', 'person/u-1', 'certificate/*']) {
    expect(states(revoked(object, 5))).toEqual([true])
    expect(states(revoked(object, 3))).toEqual([false])
  }
  expect(states(revoked('certificate/4712', 5), revoked('person/u-2', 6))).toEqual([false])
})
