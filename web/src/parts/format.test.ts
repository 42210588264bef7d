import { expect, it } from 'vitest'
import { agoText, bytesText, durationText } from './format'
import { renderMarkdown } from './markdown'

it('writes sizes and times as the language does', () => {
  expect(bytesText(0, 'en')).toBe('0 B')
  expect(bytesText(1536, 'en')).toBe('1.5 KiB')
  expect(bytesText(1536, 'de')).toBe('1,5 KiB')
  expect(bytesText(8 * 2 ** 30, 'de')).toBe('8 GiB')
  const now = new Date('2026-11-28T12:00:00Z')
  expect(agoText(new Date('2026-11-28T11:59:58Z'), now, 'en', 'just now')).toBe('just now')
  expect(agoText(new Date('2026-11-28T11:50:00Z'), now, 'de', '')).toBe('vor 10 Minuten')
  expect(agoText(new Date('2026-12-05T12:00:00Z'), now, 'en', '')).toBe('in 7 days')
  expect(durationText(850, 'en')).toBe('850 ms')
  expect(durationText(61_000, 'en')).toBe('1 min 1 s')
})

it('lets no HTML, script link or picture through Markdown', () => {
  const html = renderMarkdown('<img src=x onerror=alert(1)> [a](javascript:alert(1)) ![p](https://elsewhere.example/p.png) [ok](https://example.org)')
  expect(html).not.toMatch(/<img|<script|href="javascript/)
  expect(html).toContain('href="https://example.org"')
  expect(html).toContain('rel="noopener noreferrer"')
})
