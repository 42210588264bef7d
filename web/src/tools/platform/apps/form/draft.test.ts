import { describe, expect, it } from 'vitest'
import type { Schemas } from '@/api/client'
import { draftOf, specOf } from './draft'

const full: Schemas['AppSpec'] = {
  source: { repository: 'shop', branch: 'trunk' },
  on: 'web',
  run: './shop --port $PORT',
  port: 9000,
  replicas: 3,
  strategy: 'blue-green',
  env: { LOG: 'info', DB: { secret: 'db-password' } },
  health: { path: '/healthz', interval_ms: 500, healthy_after: 2, timeout_ms: 900 },
  migrate: './shop migrate',
  build: { image: 'builder', run: ['make', 'make dist'], output: 'dist', cache: ['target'], timeout_ms: 90_000 },
  preview: { branches: ['feature/*', 'try/*'], domain: 'preview.example.org', expires_ms: 3_600_000 },
}

describe('the form of an app', () => {
  it('gives back what it was made of, with what it does not show', () => {
    expect(specOf(draftOf(full), full)).toEqual(full)
  })

  it('names the secret of a private repository elsewhere, and of no other', () => {
    const source = { git: 'https://git.example.org/shop', branch: 'main', token: { secret: 'shop-source' }, username: 'ci' }
    const spec = { ...full, source }
    const draft = draftOf(spec)
    expect(specOf(draft, spec)).toEqual(spec)
    expect(specOf({ ...draft, username: ' ' }, spec).source).toEqual({ ...source, username: undefined })
    expect(specOf({ ...draft, token: '' }, spec).source).toEqual({ git: source.git, branch: 'main' })
    expect(specOf({ ...draft, from: 'repository', source: 'shop' }, spec).source).toEqual({ repository: 'shop', branch: 'main' })
  })

  it('leaves out what is not wanted', () => {
    const draft = { ...draftOf(undefined), source: ' https://git.example.org/shop ', from: 'git' as const, on: 'web', runs: 'static' as const, what: 'public' }
    draft.variables = [{ name: ' ', kind: 'text', value: 'x' }]
    expect(specOf(draft, undefined)).toEqual({
      source: { git: 'https://git.example.org/shop', branch: 'main' },
      on: 'web',
      static: 'public',
      port: 8080,
      replicas: 1,
      strategy: 'rolling',
      env: {},
    })
  })
})
