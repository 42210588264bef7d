// Text of builds and processes as lines to draw. What a program says is not trusted: of its escape sequences only colours are
// understood, all others are thrown away, and nothing of it ever becomes HTML.

/** One stretch of a line, with the class that draws it; empty for plain text. */
export interface Piece {
  text: string
  tone: string
}

export interface Line {
  /** Its number since the beginning, from 1. */
  at: number
  pieces: Piece[]
}

const COLOURS = ['black', 'red', 'green', 'yellow', 'blue', 'magenta', 'cyan', 'white'] as const

// CSI (with its final byte), OSC up to its end, and the two-byte escapes; then what is left of control characters.
// eslint-disable-next-line no-control-regex -- escape sequences are control characters
const ESCAPE = /\u001b\[([0-?]*)[ -/]*([@-~])|\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|\u001b[ -/]*[0-~]|[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g
/** The beginning of an escape sequence whose end has not come yet. */
// eslint-disable-next-line no-control-regex -- as above
const BEGUN = /\u001b(?:\[[0-?]*[ -/]*|\][^\u0007\u001b]{0,200}|[ -/]*)?$/

interface Style {
  colour: string
  bold: boolean
}

function restyled(style: Style, codes: string): Style {
  let { colour, bold } = style
  const numbers = codes.split(/[;:]/).map((code) => Number(code || 0))
  for (let index = 0; index < numbers.length; index += 1) {
    const code = numbers[index] ?? 0
    if (code === 0) [colour, bold] = ['', false]
    else if (code === 1) bold = true
    else if (code === 22) bold = false
    else if (code === 39) colour = ''
    else if (code >= 30 && code <= 37) colour = COLOURS[code - 30] ?? ''
    else if (code >= 90 && code <= 97) colour = COLOURS[code - 90] ?? ''
    // Of 256 colours and of true colour the numbers that follow are no codes of their own; the colour is left as it is.
    else if (code === 38 || code === 48) index += numbers[index + 1] === 5 ? 2 : 4
  }
  return { colour, bold }
}

const tone = (style: Style): string => [style.colour && `ansi-${style.colour}`, style.bold && 'ansi-bold'].filter(Boolean).join(' ')

/** Takes text as it comes in and keeps the last lines of it. */
export class LineBuffer {
  readonly lines: Line[] = []
  /** How many lines at the beginning are kept no longer. */
  dropped = 0
  private count = 0
  private rest = ''
  private style: Style = { colour: '', bold: false }
  private readonly most: number

  constructor(most = 5000) {
    this.most = most
  }

  push(text: string): void {
    const parts = (this.rest + text).split('\n')
    this.rest = parts.pop() ?? ''
    for (const part of parts) this.add(part)
    // A line that never ends would grow for ever.
    if (this.rest.length > 65_536) {
      const begun = BEGUN.exec(this.rest)?.[0] ?? ''
      this.add(this.rest.slice(0, this.rest.length - begun.length))
      this.rest = begun
    }
  }

  /** What came without an end of line, at the end of the text. */
  finish(): void {
    if (this.rest !== '') this.add(this.rest)
    this.rest = ''
  }

  private add(raw: string): void {
    // What a progress bar wrote over is what one would not see in a terminal either.
    const text = raw.replace(/\r+$/, '')
    const pieces = this.pieces(text.slice(text.lastIndexOf('\r') + 1))
    this.count += 1
    this.lines.push({ at: this.count, pieces })
    if (this.lines.length > this.most + 500) this.dropped += this.lines.splice(0, this.lines.length - this.most).length
  }

  private pieces(text: string): Piece[] {
    const pieces: Piece[] = []
    const keep = (part: string): void => {
      if (part === '') return
      const now = tone(this.style)
      const last = pieces.at(-1)
      if (last && last.tone === now) last.text += part
      else pieces.push({ text: part, tone: now })
    }
    let from = 0
    for (const match of text.matchAll(ESCAPE)) {
      keep(text.slice(from, match.index))
      from = match.index + match[0].length
      if (match[2] === 'm' && /^[\d;:]*$/.test(match[1] ?? '')) this.style = restyled(this.style, match[1] ?? '')
    }
    keep(text.slice(from))
    return pieces
  }
}

export const plainText = (line: Line): string => line.pieces.map((piece) => piece.text).join('')

/** Lines that hold the text, whatever its case. */
export function filtered(lines: readonly Line[], text: string): readonly Line[] {
  const wanted = text.trim().toLocaleLowerCase()
  return wanted === '' ? lines : lines.filter((line) => plainText(line).toLocaleLowerCase().includes(wanted))
}
