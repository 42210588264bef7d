// A row of boxes, each near to where it wants to be.
export interface Slot {
  key: string
  w: number
  want: number
  x: number
}

/** Puts boxes into a row, near to where each wants its middle, none over another. */
export function spread(slots: Slot[], width: number, gap: number): number {
  slots.sort((a, b) => a.want - b.want || a.key.localeCompare(b.key, 'en', { numeric: true }))
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
