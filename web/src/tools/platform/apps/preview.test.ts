import { describe, expect, it } from 'vitest'
import type { Schemas } from '@/api/client'
import { fits, previewHost, previewName, previewParent, previewsOf } from './preview'

const app = (name: string, spec: Partial<Schemas['AppSpec']>): Schemas['App'] => ({
  name,
  project: 'harbour',
  spec: { on: 'web', source: { repository: 'shop' }, ...spec },
  processes: [],
  state: 'running',
  generation: 1,
  observed_generation: 1,
  created_at: '',
  updated_at: '',
})
const shop = app('shop', { preview: { branches: ['feature/*'], domain: 'preview.example.org' } })
const preview = app('shop-feature-new-cart', { source: { repository: 'shop', branch: 'feature/New_Cart' } })

describe('previews', () => {
  it('are found by name, source and branch', () => {
    expect(previewParent(preview, [preview, shop])).toBe(shop)
    expect(previewsOf(shop, [shop, preview, app('shop-worker', {})])).toEqual([preview])
  })

  it('are not what only looks like one', () => {
    const elsewhere = app('shop-feature-new-cart', { source: { repository: 'other', branch: 'feature/New_Cart' } })
    const renamed = app('shop-feature-x', { source: { repository: 'shop', branch: 'feature/y' } })
    const unwanted = app('shop-fix-1', { source: { repository: 'shop', branch: 'fix/1' } })
    for (const other of [elsewhere, renamed, unwanted]) expect(previewParent(other, [shop])).toBeUndefined()
  })

  it('have the name and the host that the platform gives them', () => {
    expect(previewName('shop', 'feature/ä-very-long-name-of-a-branch-of-ours')).toBe('shop-feature-very-long-name-of-a-branch')
    expect(previewHost(preview, shop)).toBe('shop-feature-new-cart.preview.example.org')
    expect(previewHost(preview, app('shop', { preview: { branches: [] } }))).toBe('shop-feature-new-cart.harbour.localhost')
  })

  it('a star in a pattern stands for anything, all else for itself', () => {
    expect(fits('feature/*', 'feature/a/b')).toBe(true)
    expect(fits('v1.*', 'v1x2')).toBe(false)
    expect(fits('main', 'main2')).toBe(false)
  })
})
