import { expect, it } from 'vitest'
import type { Schemas } from '@/api/client'
import { draftOf, putOf, putOfRoute, sameDraft, twice } from './draft'

const route: Schemas['Route'] = {
  host: 'shop.example.org',
  project: 'harbour',
  paths: { '/api': [{ backend: 'shop', weight: 20 }, { backend: 'legacy', weight: 80 }], '/': [{ backend: 'legacy', weight: 100 }] },
  certificate: 'ready',
  created_at: '',
  generation: 3,
  hsts: 0,
  maintenance: false,
  max_body: 5,
  rate: 7,
  redirect_https: false,
}

it('gives back what it was made of', () => {
  const put = putOfRoute(route, true)
  expect(put).toEqual({
    paths: { '/': [{ backend: 'legacy', weight: 100 }], '/api': route.paths['/api'] },
    maintenance: true,
    redirect_https: false,
    hsts: 0,
    max_body: 5,
    rate: 7,
  })
})

it('a new one begins with all paths, https and HSTS for a year', () => {
  expect(putOf(draftOf(undefined), false)).toMatchObject({ paths: { '/': [{ backend: '', weight: 100 }] }, redirect_https: true, hsts: 31_536_000 })
})

it('finds a path that is there twice, and what was not changed', () => {
  const draft = draftOf(route)
  expect(twice(draft)).toBeUndefined()
  expect(twice({ ...draft, paths: [...draft.paths, { path: '/api ', targets: [] }] })).toBe('/api')
  expect(sameDraft(draft, draftOf(route))).toBe(true)
  expect(sameDraft({ ...draft, rate: 8 }, draft)).toBe(false)
})
