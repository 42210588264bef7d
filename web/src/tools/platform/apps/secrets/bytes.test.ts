import { expect, it } from 'vitest'
import { base64Of, bytesOf } from './bytes'

it('takes every byte there and back, however many', () => {
  const bytes = Uint8Array.from({ length: 65_536 }, (_, index) => (index * 7) % 256)
  expect(bytesOf(base64Of(bytes))).toEqual(bytes)
  expect(base64Of(new Uint8Array([0, 255, 10]))).toBe('AP8K')
})
