import { expect, it } from 'vitest'
import { pageOf } from './objects'

it('leads to the screen of an object, and nowhere when there is none', () => {
  expect(pageOf('machine/web-1', 'hello')).toBe('/projects/hello/machines/web-1')
  expect(pageOf('deployment/shop/d7', 'hello')).toBe('/projects/hello/apps/shop')
  expect(pageOf('project/hello', '')).toBe('/projects/hello')
  for (const [object, project] of [['machine/', 'hello'], ['machine/web-1', ''], ['person/p-1', 'hello'], ['', 'hello'], ['machine', 'hello']] as const) {
    expect(pageOf(object, project), object).toBeUndefined()
  }
})
