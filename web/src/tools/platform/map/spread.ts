// A row of boxes, each near to where it wants to be.
export interface Slot {
  key: string
  w: number
  want: number
  x: number
}

/** Lines between two rows that cross, by the places of their ends. */
export function crossings(lines: readonly (readonly [number, number])[]): number {
  let sum = 0
  lines.forEach(([a, b], index) => {
    for (const [c, d] of lines.slice(index + 1)) if ((a - c) * (b - d) < 0) sum += 1
  })
  return sum
}

export function byWant(a: Slot, b: Slot): number {
  return a.want - b.want || a.key.localeCompare(b.key, 'en', { numeric: true })
}

/** Swaps neighbours as long as fewer lines cross by it. */
export function untangle(slots: Slot[], tangles: () => number): void {
  let best = tangles()
  for (let sweep = 0; sweep < 4 && best > 0; sweep += 1) {
    const begun = best
    for (let at = 0; at + 1 < slots.length; at += 1) {
      const [one, other] = [slots[at], slots[at + 1]]
      if (!one || !other) continue
      slots.splice(at, 2, other, one)
      const now = tangles()
      if (now < best) best = now
      else slots.splice(at, 2, one, other)
    }
    if (best === begun) return
  }
}

/** Puts boxes into a row in their order, near to where each wants its middle, none over another. */
export function spread(slots: readonly Slot[], width: number, gap: number): number {
  const need = slots.reduce((sum, slot) => sum + slot.w + gap, -gap)
  const room = Math.max(width, need)
  let end = 0
  for (const slot of slots) {
    slot.x = Math.max(slot.want - slot.w / 2, end)
    end = slot.x + slot.w + gap
  }
  let limit = room
  for (const slot of [...slots].reverse()) {
    slot.x = Math.max(0, Math.min(slot.x, limit - slot.w))
    limit = slot.x - gap
  }
  // What was pushed to the right comes back as far as there is room.
  const off = slots.reduce((sum, slot) => sum + slot.x + slot.w / 2 - slot.want, 0) / Math.max(slots.length, 1)
  const first = slots[0]
  const last = slots.at(-1)
  if (first && last) {
    const shift = Math.max(-first.x, Math.min(-off, room - last.x - last.w))
    for (const slot of slots) slot.x += shift
  }
  return Math.max(room, 0)
}
