import { expect, it } from 'vitest'
import { objectOf, operationOf, watched } from './applies'

const step = (address: string, status: string) => ({ address, action: 'create', status })

it('counts the steps of an apply', () => {
  const seen = watched({ status: 'running', steps: [step('machine.a', 'done'), step('machine.b', 'failed'), step('machine.c', 'running'), step('machine.d', 'pending')] })
  expect(seen).toMatchObject({ total: 4, ended: 2, percent: 50, counts: { done: 1, failed: 1, running: 1, pending: 1 } })
  expect(seen.failed.map((one) => one.number)).toEqual([2])
})

it('is done when there was nothing to do', () => {
  expect(watched({ status: 'succeeded', steps: [] }).percent).toBe(100)
  expect(watched({ status: 'running', steps: [] }).percent).toBe(0)
})

it('finds the operation that works on a step', () => {
  expect(objectOf('route.shop.example.org')).toBe('route/shop.example.org')
  const running = [{ project: 'other', resources: ['machine/a'] }, { project: 'shop', resources: ['machine/a'] }]
  expect(operationOf(step('machine.a', 'running'), 'shop', running)).toBe(running[1])
})
