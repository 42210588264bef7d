import { expect, it } from 'vitest'
import { readable } from './serial'

it('reads a line without what steers a terminal', () => {
  expect(readable('\u001b[0;32m  OK  \u001b[0m] Started \u001b]0;title\u0007ssh\r')).toBe('  OK  ] Started ssh')
  expect(readable('a\tb\u0000\u0008 ü → €')).toBe('a\tb ü → €')
})
