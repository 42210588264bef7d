import { expect, it } from 'vitest'
import { dressingDocument, withNonce } from './nonce'

it('gives style elements the nonce, and is the document for everything else', () => {
  const page = dressingDocument('n0')
  expect(page.createElement('style').nonce).toBe('n0')
  expect(page.createDocumentFragment().nodeType).toBe(11)
})

it('leaves the document as it was', () => {
  const before = document.createElement
  expect(withNonce('n1', () => document.createElement('style').nonce)).toBe('n1')
  expect(() => withNonce('n1', () => { throw new Error('x') })).toThrow('x')
  expect(document.createElement).toBe(before)
  expect(document.createElement('style').nonce).not.toBe('n1')
})
