// Where a place in a manifest stands, and what the manifest already has: read forgivingly, as it is being written. Whether it is
// right is for the API to say.

/** What may be written at a place. */
export type Place =
  | { at: 'nothing' }
  /** In the brackets of a table's name, or before them. */
  | { at: 'header'; from: number; typed: string }
  /** A key of the table at `path`; `has` are the keys it already has. */
  | { at: 'key'; path: string[]; from: number; typed: string; inline: boolean; has: string[] }
  /** The value of the key at `path`; in quotation marks when `quoted`. */
  | { at: 'value'; path: string[]; from: number; typed: string; quoted: boolean }

export interface Outline {
  /** Keys by the path of their table. */
  keys: Map<string, Set<string>>
  /** Names of sections by kind, as `machine` → `web`. */
  sections: Map<string, Set<string>>
  /** Values of `source = "…"`, in their order. */
  sources: string[]
}

type Frame = { kind: 'array' | 'table'; path: string[]; key: string[] | undefined }
const joined = (path: string[]): string => JSON.stringify(path)

interface Token {
  text: string
  start: number
  end: number
  /** Ended before the place that is looked at. */
  whole: boolean
}

class Reader {
  at = 0
  readonly outline: Outline = { keys: new Map(), sections: new Map(), sources: [] }
  place: Place = { at: 'nothing' }
  private header: string[] = []

  constructor(private readonly text: string) {}

  private get done(): boolean {
    return this.at >= this.text.length
  }

  private peek(length = 1): string {
    return this.text.slice(this.at, this.at + length)
  }

  private blanks(lines: boolean): void {
    for (;;) {
      const next = this.peek()
      if (next === '#') {
        while (!this.done && this.peek() !== '\n') this.at += 1
        // The place is in a comment.
        if (this.done) this.place = { at: 'nothing' }
      } else if (next !== '' && (lines ? /\s/ : /[ \t]/).test(next)) this.at += 1
      else return
    }
  }

  private string(): Token {
    const quote = this.peek()
    const start = this.at
    const long = this.peek(3) === quote.repeat(3)
    const end = long ? quote.repeat(3) : quote
    this.at += end.length
    let text = ''
    while (!this.done) {
      if (this.peek(end.length) === end) {
        this.at += end.length
        return { text, start, end: this.at, whole: true }
      }
      if (!long && this.peek() === '\n') return { text, start, end: this.at, whole: true }
      if (quote === '"' && this.peek() === '\\') this.at += 1
      text += this.peek()
      this.at += 1
    }
    return { text, start, end: this.at, whole: false }
  }

  private word(): Token {
    const start = this.at
    while (!this.done && /[^\s=,[\]{}#."']/.test(this.peek())) this.at += 1
    return { text: this.text.slice(start, this.at), start, end: this.at, whole: !this.done }
  }

  /** A key with dots; the last part is where the place may be. */
  private key(path: string[], inline: boolean): string[] | undefined {
    const parts: string[] = []
    for (;;) {
      this.blanks(false)
      const quoted = /["']/.test(this.peek())
      const start = this.at
      const part = quoted ? this.string() : this.word()
      if (this.done && !part.whole) {
        const has = [...(this.outline.keys.get(joined([...path, ...parts])) ?? [])]
        this.place = { at: 'key', path: [...path, ...parts], from: start, typed: part.text, inline, has }
        return undefined
      }
      if (part.end === part.start) return undefined
      this.know([...path, ...parts], part.text)
      parts.push(part.text)
      this.blanks(false)
      if (this.peek() === '.') {
        this.at += 1
        continue
      }
      if (this.peek() !== '=') return undefined
      this.at += 1
      return parts
    }
  }

  private know(path: string[], key: string): void {
    const at = joined(path)
    const known = this.outline.keys.get(at)
    if (known) known.add(key)
    else this.outline.keys.set(at, new Set([key]))
    if (path.length === 1 && path[0]) {
      const names = this.outline.sections.get(path[0])
      if (names) names.add(key)
      else this.outline.sections.set(path[0], new Set([key]))
    }
  }

  private value(path: string[]): void {
    this.blanks(false)
    const next = this.peek()
    if (next === '' || !/["'[{]/.test(next)) {
      const start = this.at
      while (!this.done && /[^\n,\]}#]/.test(this.peek())) this.at += 1
      const typed = this.text.slice(start, this.at)
      if (this.done) this.place = { at: 'value', path, from: start, typed, quoted: false }
    } else if (next === '"' || next === "'") {
      const text = this.string()
      if (!text.whole) {
        const long = this.text.slice(text.start, text.start + 3) === next.repeat(3)
        this.place = long ? { at: 'nothing' } : { at: 'value', path, from: text.start + 1, typed: text.text, quoted: true }
      } else if (path.at(-1) === 'source') this.outline.sources.push(text.text)
    } else if (next === '[') this.items({ kind: 'array', path, key: undefined })
    else this.items({ kind: 'table', path, key: undefined })
  }

  /** The inside of an array or of an inline table. */
  private items(frame: Frame): void {
    const close = frame.kind === 'array' ? ']' : '}'
    this.at += 1
    // What several items of an array have is not what one of them has.
    this.outline.keys.delete(joined(frame.path))
    for (;;) {
      this.blanks(true)
      if (this.done) {
        if (this.text.lastIndexOf('#') > this.text.lastIndexOf('\n')) return
        const has = [...(this.outline.keys.get(joined(frame.path)) ?? [])]
        this.place = frame.kind === 'array'
          ? { at: 'value', path: frame.path, from: this.at, typed: '', quoted: false }
          : { at: 'key', path: frame.path, from: this.at, typed: '', inline: true, has }
        return
      }
      if (this.peek() === close) {
        this.at += 1
        return
      }
      if (this.peek() === ',') {
        this.at += 1
        continue
      }
      const before = this.at
      if (frame.kind === 'array') this.value(frame.path)
      else {
        const key = this.key(frame.path, true)
        if (key) this.value([...frame.path, ...key])
      }
      if (this.done || this.at === before) return
    }
  }

  private title(): void {
    const start = this.at
    const line = /^\[\[?([^\]\n]*)(\]?)/.exec(this.text.slice(this.at))
    if (!line) return
    this.at += line[0].length
    const inside = line[1] ?? ''
    if (this.done && line[2] === '') {
      this.place = { at: 'header', from: start, typed: this.text.slice(start) }
      return
    }
    this.header = [...inside.matchAll(/"([^"]*)"|'([^']*)'|([^\s."']+)/g)].map((part) => part[1] ?? part[2] ?? part[3] ?? '')
    this.header.forEach((part, index) => {
      this.know(this.header.slice(0, index), part)
    })
    if (this.peek() === ']') this.at += 1
  }

  read(): void {
    while (!this.done) {
      this.blanks(true)
      const before = this.at
      if (this.done) break
      if (this.peek() === '[') this.title()
      else {
        const key = this.key(this.header, false)
        if (key) this.value([...this.header, ...key])
      }
      if (this.done) return
      // What no rule reads is left, to the end of its line.
      if (this.at === before || !/\s/.test(this.peek())) while (!this.done && this.peek() !== '\n') this.at += 1
    }
    if (this.text === '' || this.text.endsWith('\n') || /\n[ \t]+$/.test(this.text)) {
      const has = [...(this.outline.keys.get(joined(this.header)) ?? [])]
      this.place = { at: 'key', path: this.header, from: this.text.length, typed: '', inline: false, has }
    }
  }
}

export function outlineOf(text: string): Outline {
  const reader = new Reader(text)
  reader.read()
  return reader.outline
}

export function placeAt(text: string, position: number): Place {
  const reader = new Reader(text.slice(0, position))
  reader.read()
  return reader.place
}

/** The files that a manifest names, each once. */
export function sourcesOf(text: string): string[] {
  return [...new Set(outlineOf(text).sources.filter((name) => name !== ''))]
}
