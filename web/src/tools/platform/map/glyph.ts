// Health by shape, so that colour is not all that tells it: a disc, a lozenge, a ring, a bar.
import type { Tone } from '@/parts/tone'

function circle(x: number, y: number, r: number): string {
  return `M ${x - r} ${y} a ${r} ${r} 0 1 0 ${2 * r} 0 a ${r} ${r} 0 1 0 ${-2 * r} 0 Z`
}

export function glyph(tone: Tone, x: number, y: number): string {
  switch (tone) {
    case 'good':
      return circle(x, y, 5)
    case 'bad':
      return `M ${x} ${y - 7} L ${x + 7} ${y} L ${x} ${y + 7} L ${x - 7} ${y} Z`
    case 'busy':
      // Wound the other way, the inner circle is left out.
      return `${circle(x, y, 6)} M ${x - 3} ${y} a 3 3 0 1 1 6 0 a 3 3 0 1 1 -6 0 Z`
    case 'idle':
      return `M ${x - 6} ${y - 2} h 12 v 4 h -12 Z`
  }
}
