// The lines between what is drawn, and what is said on them.
import { BETWEEN, fit, MIDDLE, overlap, PAD, textWidth, type Box, type DrawnEdge } from './drawing'
import type { Traffic } from './model'
import type { Slot } from './spread'

export interface Line {
  key: string
  from: string
  to: string
  text: string
  traffic: Traffic | undefined
  via: string | undefined
}

const round = (value: number): number => Math.round(value * 10) / 10

function widthOf(traffic: Traffic | undefined): number {
  const busy = Math.max(traffic?.rate ?? 0, traffic?.inFlight ?? 0)
  return round(Math.min(1.5 + Math.log2(1 + busy) * 0.6, 7))
}

function bezier(x1: number, y1: number, x2: number, y2: number): string {
  const d = (y2 - y1) / 2
  return `C ${round(x1)} ${round(y1 + d)} ${round(x2)} ${round(y2 - d)} ${round(x2)} ${round(y2)}`
}

function pointAt(x1: number, y1: number, x2: number, y2: number, t: number): { x: number; y: number } {
  const d = (y2 - y1) / 2
  const [a, b, c, e] = [(1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t ** 2, t ** 3]
  return { x: (a + b) * x1 + (c + e) * x2, y: a * y1 + b * (y1 + d) + c * (y2 - d) + e * y2 }
}

/** A row of basins, and where lines to lower ones may pass between them. */
export interface Row {
  top: number
  bottom: number
  gaps: readonly number[]
}

interface Passage {
  x: number
  top: number
  bottom: number
}

/** Beside one another in a gap. */
const BESIDE = [0, -4, 4]

export function edges(lines: readonly Line[], boxes: ReadonlyMap<string, Box>, slots: ReadonlyMap<string, Slot>, middleY: number, rows: readonly Row[]): DrawnEdge[] {
  const centerOf = (key: string): number => {
    const box = boxes.get(key)
    return box ? box.x + box.w / 2 : 0
  }
  const used = new Map<number, number>()
  const through = new Map<Line, Passage[]>()
  for (const line of lines) {
    const slot = line.via === undefined ? undefined : slots.get(line.via)
    const passages: Passage[] = slot ? [{ x: slot.x + slot.w / 2 + PAD, top: middleY, bottom: middleY + MIDDLE.h }] : []
    const to = boxes.get(line.to)
    for (const row of rows.filter((one) => to && one.bottom < to.y)) {
      const gap = [...row.gaps].sort((p, q) => Math.abs(p - centerOf(line.to)) - Math.abs(q - centerOf(line.to)))[0] ?? 0
      const before = used.get(gap) ?? 0
      used.set(gap, before + 1)
      passages.push({ x: gap + (BESIDE[before % BESIDE.length] ?? 0), top: row.top - 6, bottom: row.bottom + 6 })
    }
    through.set(line, passages)
  }
  const first = (line: Line): number | undefined => through.get(line)?.[0]?.x
  const last = (line: Line): number | undefined => through.get(line)?.at(-1)?.x
  // Lines leave and arrive beside one another, in the order of where they go.
  const ends = (of: (line: Line) => string, other: (line: Line) => number): Map<Line, number> => {
    const at = new Map<Line, number>()
    const grouped = new Map<string, Line[]>()
    for (const line of lines) grouped.set(of(line), [...(grouped.get(of(line)) ?? []), line])
    for (const [key, group] of grouped) {
      const box = boxes.get(key)
      if (!box) continue
      group.sort((a, b) => other(a) - other(b) || a.key.localeCompare(b.key, 'en'))
      group.forEach((line, index) => at.set(line, box.x + (box.w * (index + 1)) / (group.length + 1)))
    }
    return at
  }
  const starts = ends((line) => line.from, (line) => first(line) ?? centerOf(line.to))
  const arrivals = ends((line) => line.to, (line) => last(line) ?? centerOf(line.from))
  const labels: Box[] = []
  const drawn: DrawnEdge[] = []
  for (const line of lines) {
    const [from, to] = [boxes.get(line.from), boxes.get(line.to)]
    if (!from || !to) continue
    const [x1, y1, x3, y3] = [starts.get(line) ?? 0, from.y + from.h, arrivals.get(line) ?? 0, to.y]
    const passages = through.get(line) ?? []
    const [x2, y2] = [passages[0]?.x ?? x3, passages[0]?.top ?? y3]
    let d = `M ${round(x1)} ${round(y1)}`
    let [x, y] = [x1, y1]
    for (const passage of passages) {
      d += ` ${bezier(x, y, passage.x, passage.top)} L ${round(passage.x)} ${round(passage.bottom)}`
      x = passage.x
      y = passage.bottom
    }
    d += ` ${bezier(x, y, x3, y3)}`
    let label: DrawnEdge['label']
    if (line.text) {
      const text = fit(line.text, 300, 11)
      const w = textWidth(text, 11) + 10
      const at = (t: number): Box => {
        // Below a basin's upper edge there may be others: the label stays near to where the line begins.
        const point = pointAt(x1, y1, x2, Math.min(y2, y1 + BETWEEN), t)
        return { x: point.x - w / 2, y: point.y - 8, w, h: 16 }
      }
      const free = [0.5, 0.34, 0.66, 0.22, 0.78].map(at).find((box) => !labels.some((other) => overlap(box, other)))
      const box = free ?? at(0.5)
      labels.push(box)
      label = { ...box, text }
    }
    drawn.push({ key: line.key, from: line.from, to: line.to, d, width: widthOf(line.traffic), busy: (line.traffic?.rate ?? 0) >= 0.05 || (line.traffic?.inFlight ?? 0) > 0, label })
  }
  return drawn
}
