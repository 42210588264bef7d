import { expect, it } from 'vitest'
import { dressElements } from './nonce'

it('gives style elements the nonce while a terminal is there, and leaves the document as it was', () => {
  const before = document.createElement
  const releaseOne = dressElements('n1')
  const releaseOther = dressElements('n1')
  expect(document.createElement('style').nonce).toBe('n1')
  const span = document.createElement('span')
  span.setAttribute('class', 'x')
  expect(span.className).toBe('x')
  releaseOne()
  releaseOne()
  expect(document.createElement('style').nonce).toBe('n1')
  releaseOther()
  expect(document.createElement).toBe(before)
  expect(document.createElement('style').nonce).not.toBe('n1')
})
