import { expect, it } from 'vitest'
import type { Schemas } from '@/api/client'
import { namesSecret } from './users'

it('finds a secret wherever an app names it', () => {
  const spec = (more: object): Schemas['AppSpec'] => ({ source: { repository: 'shop' }, on: 'web', ...more }) as Schemas['AppSpec']
  expect(namesSecret(spec({}), 'db')).toBe(false)
  expect(namesSecret(spec({ env: { A: 'db', B: { secret: 'other' } } }), 'db')).toBe(false)
  expect(namesSecret(spec({ env: { B: { secret: 'db' } } }), 'db')).toBe(true)
  expect(namesSecret(spec({ build: { image: 'b', run: ['x'], output: 'o', env: { T: { secret: 'db' } } } }), 'db')).toBe(true)
  expect(namesSecret(spec({ source: { git: 'https://h/p', token: { secret: 'db' } } }), 'db')).toBe(true)
})
