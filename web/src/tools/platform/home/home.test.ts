import { expect, test } from 'vitest'
import type { Schemas } from '@/api/client'
import { inOrder, ofAlerts, ofOneself, ofPeople, ofProject, ofStatus, runsOut } from './attention'
import type { ProjectHealth } from './health'
import { pool } from './pool'

const NOW = new Date('2026-11-28T12:00:00Z')
const inDays = (days: number): string => new Date(NOW.getTime() + days * 86_400_000).toISOString()
const machine = (name: string, state = 'failed', healthy = false) => ({ name, state, healthy, reason: 'no room', updated_at: inDays(-1) }) as Schemas['Machine']
const certificate = (over: Partial<Schemas['Certificate']>) =>
  ({ project: 'shop', host: 'shop.example.org', issuer: 'acme', state: 'ready', attempts: 0, ...over }) as Schemas['Certificate']
const health = (over: Partial<ProjectHealth>): ProjectHealth => ({
  name: 'shop',
  project: {} as Schemas['Project'],
  machines: { total: 0, running: 0, failed: [], failedMore: false, unhealthy: [] },
  apps: [],
  certificates: [],
  drift: [],
  ...over,
})

test('runs at most so many at a time, and all of them in the end', async () => {
  const six = pool(6)
  let now = 0
  let most = 0
  const done = await Promise.all(
    Array.from({ length: 50 }, (_, index) =>
      six.run(async () => {
        now += 1
        most = Math.max(most, now)
        await new Promise((resolve) => setTimeout(resolve, 1))
        now -= 1
        if (index % 7 === 0) return Promise.reject(new Error('no')).catch(() => index)
        return index
      }),
    ),
  )
  expect(most).toBe(6)
  expect(done).toHaveLength(50)
  await expect(six.run(() => Promise.reject(new Error('no')))).rejects.toThrow('no')
  expect(await six.run(() => Promise.resolve('free'))).toBe('free')
})

test('a healthy project needs nobody', () => {
  expect(ofProject(health({}), NOW)).toEqual([])
})

test('names a few failed machines, and counts many', () => {
  const failed = (n: number, more = false) =>
    ofProject(health({ machines: { total: n, running: 0, failed: Array.from({ length: n }, (_, i) => machine(`web-${i}`)), failedMore: more, unhealthy: [] } }), NOW)
  expect(failed(2).map((item) => item.to)).toEqual(['/projects/shop/machines/web-0', '/projects/shop/machines/web-1'])
  expect(failed(4)).toMatchObject([{ word: 'machinesFailed', named: { n: '4' }, to: '/projects/shop/machines?state=failed' }])
  expect(failed(100, true)[0]?.named).toEqual({ n: '100+' })
})

test('tells of certificates that were not renewed in time', () => {
  expect(runsOut(certificate({ not_before: inDays(-70), not_after: inDays(20) }), NOW)).toBe(false)
  expect(runsOut(certificate({ not_before: inDays(-80), not_after: inDays(10) }), NOW)).toBe(true)
  expect(runsOut(certificate({ not_before: inDays(-3), not_after: inDays(4) }), NOW), 'a short life is renewed late').toBe(false)
  expect(runsOut(certificate({}), NOW)).toBe(false)
  const words = (over: Partial<Schemas['Certificate']>) => ofProject(health({ certificates: [certificate(over)] }), NOW).map((item) => `${item.word} ${item.weight}`)
  expect(words({ state: 'failed' })).toEqual(['certificateFailed bad'])
  expect(words({ state: 'failed', not_after: inDays(40) })).toEqual(['certificateFailed warn'])
  expect(words({ not_after: inDays(-1) })).toEqual(['certificateOver bad'])
  expect(words({ not_before: inDays(-80), not_after: inDays(3) })).toEqual(['certificateEnds warn'])
})

test('tells of apps, drift, services and people', () => {
  const app = (name: string, state: string) => ({ name, state, project: 'shop', updated_at: inDays(0) }) as Schemas['App']
  const items = ofProject(health({ apps: [app('a', 'failed'), app('b', 'running'), app('c', 'degraded')], drift: ['machine.web-1'] }), NOW)
  expect(items.map((item) => item.word)).toEqual(['appFailed', 'appDegraded', 'drift'])
  const services = [{ name: 'edge', status: 'degraded', detail: 'why' }, { name: 'vault', status: 'ok' }]
  expect(ofStatus({ services } as Schemas['Status']).map((item) => item.named['name'])).toEqual(['edge'])
  const person = (name: string, factors: string[], status = 'active') => ({ name, factors, status }) as Schemas['Person']
  const people = [person('A', ['password']), person('B', ['password', 'totp']), person('C', ['passkey']), person('D', []), person('E', ['password'], 'suspended')]
  expect(ofPeople(people)).toMatchObject([{ named: { n: 1 }, detail: 'A' }])
})

test('tells oneself what is missing, and nothing that is not known', () => {
  expect(ofOneself(undefined)).toEqual([])
  expect(ofOneself(['password']).map((item) => item.word)).toEqual(['ownSecond', 'ownCodes'])
  expect(ofOneself(['passkey', 'recovery_codes'])).toEqual([])
})

test('counts alerts of a week by kind, and puts what is broken first', () => {
  const alert = (kind: string, days: number) => ({ kind, at: inDays(days), message: `${kind} ${days}` }) as Schemas['Event']
  const items = ofAlerts([alert('alert.refused', -9), alert('alert.refused', -2), alert('alert.refused', -1), alert('alert.machine_changed', -3)], NOW)
  expect(items).toMatchObject([{ named: { n: 2 }, detail: 'alert.refused -1' }, { weight: 'bad' }])
  expect(inOrder(items).map((item) => item.id)).toEqual(['alert.machine_changed', 'alert.refused'])
})
