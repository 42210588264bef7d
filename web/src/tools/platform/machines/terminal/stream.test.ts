import { expect, it } from 'vitest'
import { bytesOf, endWord } from './stream'

it('puts the end of a stream into a word', () => {
  const word = (code: number, opened = true): string => endWord({ opened, code, reason: '' })
  expect(word(1006, false)).toBe('refused')
  expect([1000, 1005, 1001, 1012, 1008, 1006, 1011, 4000].map((code) => word(code))).toEqual([
    'closed', 'closed', 'away', 'away', 'forbidden', 'lost', 'failed', 'failed',
  ])
})

it('sends a byte for a character', () => {
  expect([...bytesOf('\x1b[M\xff')]).toEqual([0x1b, 0x5b, 0x4d, 0xff])
})
