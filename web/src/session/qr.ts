// QR codes (ISO/IEC 18004:2024): bytes, error correction level M, versions 1 to 40. Made here, because the secret in them is
// nobody else's, and a page that leaves nothing to its origin has nobody to ask.

/** Level M, by version from 1: error correction codewords of a block, and blocks (table 9 of the standard). */
const CHECK = [
  10, 16, 26, 18, 24, 16, 18, 22, 22, 26, 30, 22, 22, 24, 24, 28, 28, 26, 26, 26, 26, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28,
  28, 28, 28, 28,
]
const BLOCKS = [
  1, 1, 1, 2, 2, 4, 4, 4, 5, 5, 5, 8, 9, 9, 10, 10, 11, 13, 14, 16, 17, 17, 18, 20, 21, 23, 25, 26, 28, 29, 31, 33, 35, 37, 38, 40, 43, 45, 47, 49,
]

const MASKS: readonly ((x: number, y: number) => boolean)[] = [
  (x, y) => (x + y) % 2 === 0,
  (_x, y) => y % 2 === 0,
  (x) => x % 3 === 0,
  (x, y) => (x + y) % 3 === 0,
  (x, y) => (Math.floor(y / 2) + Math.floor(x / 3)) % 2 === 0,
  (x, y) => ((x * y) % 2) + ((x * y) % 3) === 0,
  (x, y) => (((x * y) % 2) + ((x * y) % 3)) % 2 === 0,
  (x, y) => (((x + y) % 2) + ((x * y) % 3)) % 2 === 0,
]

/** Rows of modules; true is dark. Without the quiet zone of four modules around. */
export type Modules = boolean[][]

interface Canvas {
  size: number
  dark: Modules
  /** Modules that carry no data. */
  fixed: Modules
}

const grid = (size: number): Modules => Array.from({ length: size }, () => new Array<boolean>(size).fill(false))

function set(canvas: Canvas, x: number, y: number, dark: boolean): void {
  const row = canvas.dark[y]
  const fixed = canvas.fixed[y]
  if (!row || !fixed || x < 0 || x >= canvas.size) return
  row[x] = dark
  fixed[x] = true
}

/** The remainder of a division of polynomials over two elements, appended: BCH codes of format and version. */
function withRemainder(value: number, by: number, bits: number): number {
  let rest = value
  for (let i = 0; i < bits; i += 1) rest = (rest << 1) ^ ((rest >>> (bits - 1)) * by)
  return (value << bits) | rest
}

function alignments(version: number): number[] {
  if (version === 1) return []
  const count = Math.floor(version / 7) + 2
  const step = Math.floor((version * 8 + count * 3 + 5) / (count * 4 - 4)) * 2
  const last = version * 4 + 10
  return [6, ...Array.from({ length: count - 1 }, (_, index) => last - (count - 2 - index) * step)]
}

function square(canvas: Canvas, x: number, y: number, reach: number, lightAt: readonly number[]): void {
  for (let dy = -reach; dy <= reach; dy += 1) {
    for (let dx = -reach; dx <= reach; dx += 1) set(canvas, x + dx, y + dy, !lightAt.includes(Math.max(Math.abs(dx), Math.abs(dy))))
  }
}

function drawFormat(canvas: Canvas, mask: number): void {
  // Level M is 00.
  const bits = withRemainder(mask, 0x537, 10) ^ 0x5412
  const bit = (index: number): boolean => ((bits >>> index) & 1) === 1
  const { size } = canvas
  for (let i = 0; i < 15; i += 1) {
    // Around the corner above on the left, leaving out the timing pattern.
    if (i < 8) set(canvas, 8, i < 6 ? i : i + 1, bit(i))
    else set(canvas, i === 8 ? 7 : 14 - i, 8, bit(i))
    // And shared by the two others.
    if (i < 8) set(canvas, size - 1 - i, 8, bit(i))
    else set(canvas, 8, size - 15 + i, bit(i))
  }
  set(canvas, 8, size - 8, true)
}

function frame(version: number): Canvas {
  const size = version * 4 + 17
  const canvas: Canvas = { size, dark: grid(size), fixed: grid(size) }
  for (let i = 0; i < size; i += 1) {
    set(canvas, 6, i, i % 2 === 0)
    set(canvas, i, 6, i % 2 === 0)
  }
  for (const [x, y] of [[3, 3], [size - 4, 3], [3, size - 4]] as const) square(canvas, x, y, 4, [2, 4])
  const at = alignments(version)
  const corner = (x: number, y: number): boolean => (x === 6 && y === 6) || (x === 6 && y === size - 7) || (x === size - 7 && y === 6)
  for (const x of at) for (const y of at) if (!corner(x, y)) square(canvas, x, y, 2, [1])
  if (version >= 7) {
    const bits = withRemainder(version, 0x1f25, 12)
    for (let i = 0; i < 18; i += 1) {
      const dark = ((bits >>> i) & 1) === 1
      set(canvas, size - 11 + (i % 3), Math.floor(i / 3), dark)
      set(canvas, Math.floor(i / 3), size - 11 + (i % 3), dark)
    }
  }
  drawFormat(canvas, 0)
  return canvas
}

const codewordsOf = (canvas: Canvas): number => Math.floor(canvas.fixed.flat().filter((fixed) => !fixed).length / 8)

/** Powers of 2 in GF(256) by x⁸+x⁴+x³+x²+1, and their logarithms. */
const POWER: number[] = []
const LOG: number[] = []
for (let i = 0, value = 1; i < 255; i += 1) {
  POWER.push(value)
  LOG[value] = i
  value = (value << 1) ^ (value & 0x80 ? 0x11d : 0)
}
const times = (a: number, b: number): number => (a === 0 || b === 0 ? 0 : (POWER[((LOG[a] ?? 0) + (LOG[b] ?? 0)) % 255] ?? 0))

/** Reed-Solomon codewords of a block. */
function checkOf(data: readonly number[], count: number): number[] {
  let generator = [1]
  for (let i = 0; i < count; i += 1) {
    const root = POWER[i] ?? 0
    generator = [...generator, 0].map((one, index) => one ^ times(generator[index - 1] ?? 0, root))
  }
  const rest = new Array<number>(count).fill(0)
  for (const byte of data) {
    const factor = byte ^ (rest.shift() ?? 0)
    rest.push(0)
    for (let i = 0; i < count; i += 1) rest[i] = (rest[i] ?? 0) ^ times(generator[i + 1] ?? 0, factor)
  }
  return rest
}

/** Data in blocks, each with its check, then taken from all blocks in turn. */
function interleaved(data: readonly number[], version: number, total: number): number[] {
  const check = CHECK[version - 1] ?? 0
  const count = BLOCKS[version - 1] ?? 1
  const short = Math.floor(total / count) - check
  const shorts = count - (total % count)
  const blocks: number[][] = []
  for (let i = 0, at = 0; i < count; i += 1) {
    const length = short + (i < shorts ? 0 : 1)
    blocks.push(data.slice(at, at + length))
    at += length
  }
  const turn = (parts: number[][]): number[] =>
    Array.from({ length: Math.max(...parts.map((part) => part.length)) }, (_, index) => parts.flatMap((part) => part[index] ?? [])).flat()
  return [...turn(blocks), ...turn(blocks.map((block) => checkOf(block, check)))]
}

function bitsOf(bytes: Uint8Array, version: number, capacity: number): number[] {
  const bits: number[] = []
  const push = (value: number, length: number): void => {
    for (let i = length - 1; i >= 0; i -= 1) bits.push((value >>> i) & 1)
  }
  push(0b0100, 4)
  push(bytes.length, version < 10 ? 8 : 16)
  for (const byte of bytes) push(byte, 8)
  push(0, Math.min(4, capacity * 8 - bits.length))
  push(0, (8 - (bits.length % 8)) % 8)
  for (let pad = 0; bits.length < capacity * 8; pad += 1) push(pad % 2 === 0 ? 0xec : 0x11, 8)
  return bits
}

/** Upwards and downwards through columns of two, from the right. */
function fill(canvas: Canvas, codewords: readonly number[]): void {
  const { size } = canvas
  let bit = 0
  for (let right = size - 1; right >= 1; right -= 2) {
    if (right === 6) right = 5
    for (let i = 0; i < size; i += 1) {
      const y = ((right + 1) & 2) === 0 ? size - 1 - i : i
      for (const x of [right, right - 1]) {
        const row = canvas.dark[y]
        if (!row || canvas.fixed[y]?.[x]) continue
        row[x] = (((codewords[bit >>> 3] ?? 0) >>> (7 - (bit & 7))) & 1) === 1
        bit += 1
      }
    }
  }
}

function masked(canvas: Canvas, mask: number): Canvas {
  const inverts = MASKS[mask] ?? (() => false)
  const dark = canvas.dark.map((row, y) => row.map((one, x) => (canvas.fixed[y]?.[x] ? one : one !== inverts(x, y))))
  const made = { ...canvas, dark, fixed: canvas.fixed.map((row) => [...row]) }
  drawFormat(made, mask)
  return made
}

/** How hard it is to read (section 7.8.3). */
export function penalty(dark: Modules): number {
  const size = dark.length
  const columns = Array.from({ length: size }, (_, x) => dark.map((row) => row[x] ?? false))
  let points = 0
  for (const line of [...dark, ...columns]) {
    const text = line.map((one) => (one ? '1' : '0')).join('')
    for (const run of text.match(/0{5,}|1{5,}/g) ?? []) points += run.length - 2
    points += 40 * [...text.matchAll(/(?=00001011101|10111010000)/g)].length
  }
  for (let y = 1; y < size; y += 1) {
    for (let x = 1; x < size; x += 1) {
      const one = dark[y]?.[x]
      if (one === dark[y]?.[x - 1] && one === dark[y - 1]?.[x] && one === dark[y - 1]?.[x - 1]) points += 3
    }
  }
  const share = dark.flat().filter(Boolean).length / (size * size)
  return points + 10 * Math.floor(Math.abs(share - 0.5) * 20)
}

/** The code of a text; undefined where it is longer than the largest code holds. */
export function qrModules(text: string): Modules | undefined {
  const bytes = new TextEncoder().encode(text)
  for (let version = 1; version <= 40; version += 1) {
    // The standard's largest symbol holds less than this; most versions need not be drawn to know that they are too small.
    if ((version * 4 + 17) ** 2 / 8 < bytes.length) continue
    const canvas = frame(version)
    const total = codewordsOf(canvas)
    const capacity = total - (CHECK[version - 1] ?? 0) * (BLOCKS[version - 1] ?? 1)
    if (bytes.length * 8 + 4 + (version < 10 ? 8 : 16) > capacity * 8) continue
    const bits = bitsOf(bytes, version, capacity)
    const data = Array.from({ length: capacity }, (_, index) => Number.parseInt(bits.slice(index * 8, index * 8 + 8).join(''), 2))
    fill(canvas, interleaved(data, version, total))
    const ways = MASKS.map((_, mask) => masked(canvas, mask).dark)
    return ways.reduce((best, way) => (penalty(way) < penalty(best) ? way : best))
  }
  return undefined
}

/** The path of an SVG whose unit is a module. */
export function qrPath(modules: Modules, quiet = 4): string {
  return modules.flatMap((row, y) => row.map((dark, x) => (dark ? `M${x + quiet} ${y + quiet}h1v1h-1z` : ''))).join('')
}
