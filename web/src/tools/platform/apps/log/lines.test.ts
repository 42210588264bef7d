import { describe, expect, it } from 'vitest'
import { filtered, LineBuffer, plainText } from './lines'

const read = (...parts: string[]): LineBuffer => {
  const buffer = new LineBuffer(100)
  for (const part of parts) buffer.push(part)
  buffer.finish()
  return buffer
}

describe('lines of a log', () => {
  it('puts lines together whatever pieces they come in', () => {
    expect(read('one\ntw', 'o\nthr', 'ee').lines.map(plainText)).toEqual(['one', 'two', 'three'])
  })

  it('understands colours, over several lines, and forgets them at a reset', () => {
    const { lines } = read('\u001b[1;31mbad\u001b[0m good\n\u001b[32mgreen\nstill', '\u001b[39m plain\n')
    expect(lines[0]?.pieces).toEqual([
      { text: 'bad', tone: 'ansi-red ansi-bold' },
      { text: ' good', tone: '' },
    ])
    expect(lines[2]?.pieces).toEqual([
      { text: 'still', tone: 'ansi-green' },
      { text: ' plain', tone: '' },
    ])
  })

  it('takes the numbers of a palette for no codes of their own', () => {
    expect(read('\u001b[38;5;31mx\u001b[48;2;1;31;32my\n').lines[0]?.pieces).toEqual([{ text: 'xy', tone: '' }])
  })

  it('throws away every other escape: titles, links, moves of the cursor, bells', () => {
    const said = '\u001b]0;title\u0007a\u001b]8;;https://evil.example\u001b\\b\u001b[2Jc\u001b[10;10Hd\u0007\u001bce'
    expect(read(`${said}\n`).lines.map(plainText)).toEqual(['abcde'])
  })

  it('keeps HTML as text', () => {
    expect(read('<img src=x onerror=alert(1)>\n').lines[0]?.pieces).toEqual([{ text: '<img src=x onerror=alert(1)>', tone: '' }])
  })

  it('shows what a progress bar left, and no line end of Windows', () => {
    expect(read('10 %\r50 %\r100 %\r\nnext\r\n').lines.map(plainText)).toEqual(['100 %', 'next'])
  })

  it('keeps the last lines and says how many are gone', () => {
    const buffer = read(Array.from({ length: 1000 }, (_, index) => `line ${index}\n`).join(''))
    expect(buffer.lines.length).toBeLessThanOrEqual(600)
    expect(buffer.dropped + buffer.lines.length).toBe(1000)
    expect(plainText(buffer.lines.at(-1)!)).toBe('line 999')
    expect(buffer.lines.at(-1)?.at).toBe(1000)
  })

  it('filters by text, whatever its colour or case', () => {
    const { lines } = read('GET /\n\u001b[31mErr\u001b[1mor\u001b[0m: no\n')
    expect(filtered(lines, 'error').map(plainText)).toEqual(['Error: no'])
    expect(filtered(lines, ' ')).toHaveLength(2)
  })
})
