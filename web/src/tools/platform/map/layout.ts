// Where everything of the picture stands: hosts above, apps below them, and below those the networks as basins with their machines.
// The same picture gives the same drawing. Pure: Vue draws it on the screen, `svg.ts` into a file.
import { BETWEEN, GAP, MIDDLE, MOST_MIDDLES, MOST_TOPS, PAD, PASSAGE, fit, TOP, LEAST, type Box, type DrawnCluster, type Drawing, type DrawnNode, type MapWords } from './drawing'
import { edges, type Line, type Row } from './edges'
import { sharesText, type Picture } from './model'
import { chosen, middleNode, moreNode, topNode, trafficText } from './nodes'
import { byWant, crossings, spread, untangle, type Slot } from './spread'
import { basins, type Laid } from './water'

const mean = (values: number[], otherwise: number): number => (values.length > 0 ? values.reduce((a, b) => a + b, 0) / values.length : otherwise)

/** Brings the two upper rows into an order in which few lines cross. */
function order(lines: readonly Line[], middles: Slot[], tops: Slot[], center: (key: string) => number): void {
  const places = (slots: readonly Slot[]): Map<string, number> => new Map(slots.map((slot, index) => [slot.key, index]))
  const below = (line: Line): string => line.via ?? line.to
  let at = places(middles)
  for (const top of tops) {
    top.want = mean(lines.filter((line) => line.from === top.key).map((line) => at.get(below(line)) ?? center(line.to)), middles.length)
  }
  tops.sort(byWant)
  const tangles = (): number => {
    at = places(middles)
    const above = places(tops)
    const upper: [number, number][] = []
    const lower: [number, number][] = []
    for (const line of lines) {
      const from = above.get(line.from)
      if (from === undefined) lower.push([at.get(line.from) ?? 0, center(line.to)])
      else upper.push([from, at.get(below(line)) ?? center(line.to)])
      if (line.via) lower.push([at.get(line.via) ?? 0, center(line.to)])
    }
    return crossings(upper) + crossings(lower)
  }
  untangle(middles, tangles)
  untangle(tops, tangles)
  untangle(middles, tangles)
}

/** As wide as wanted, or narrower, so that all of them fit. */
function narrowed(wanted: number, n: number, room: number): number {
  return Math.min(wanted, Math.max(LEAST, Math.floor((room - (n - 1) * GAP) / Math.max(n, 1))))
}

function rowsOf(laid: readonly Laid[], y: number): Row[] {
  const rows = new Map<number, Laid[]>()
  for (const one of laid) rows.set(one.y, [...(rows.get(one.y) ?? []), one])
  return [...rows].map(([top, basins]) => ({
    top: top + y,
    bottom: top + y + Math.max(...basins.map((basin) => basin.h)),
    gaps: [PAD / 2, ...basins.map((basin) => basin.x + basin.w + PAD + GAP / 2)],
  }))
}

export function layout(picture: Picture, words: MapWords, wanted = 1200): Drawing {
  const inner = Math.max(wanted, 360) - 2 * PAD
  const water = basins(picture, inner, words)
  const project = picture.project

  // Where each cluster is, to bring what leads to it near.
  const anchors = new Map<string, Box>()
  for (const { blocks } of water.laid) {
    for (const one of blocks) {
      anchors.set(one.cluster.key, one)
      if (one.cluster.key.startsWith('singles/')) for (const machine of one.cluster.machines) anchors.set(`cluster/${machine.name}`, one)
    }
  }
  const center = (key: string): number => {
    const box = anchors.get(key)
    return box ? box.x + box.w / 2 : inner / 2
  }

  const middles = chosen(picture.middles, MOST_MIDDLES)
  const tops = chosen(picture.tops, MOST_TOPS)
  const shown = new Set(middles.map((middle) => middle.key))
  const lines: Line[] = []
  for (const top of tops) {
    for (const lead of top.leads) {
      const direct = lead.to.startsWith('cluster/')
      if (!direct && !shown.has(lead.to)) continue
      const key = `${top.key} ${lead.to}`
      const text = [sharesText(lead.shares, words.language), direct ? trafficText(lead.traffic, words) : ''].filter(Boolean).join(' · ')
      lines.push({ key, from: top.key, to: lead.to, text, traffic: lead.traffic, via: direct && middles.length > 0 ? `via ${key}` : undefined })
    }
  }
  for (const middle of middles) {
    for (const [index, to] of middle.on.entries()) {
      const text = index === 0 ? [`${middle.healthy}/${middle.total}`, trafficText(middle.traffic, words)].filter(Boolean).join(' · ') : ''
      lines.push({ key: `${middle.key} ${to}`, from: middle.key, to, text, traffic: middle.traffic, via: undefined })
    }
  }

  const passing = lines.filter((line) => line.via)
  const middlesShown = middles.length + (middles.length < picture.middles.length ? 1 : 0)
  const middleW = narrowed(MIDDLE.w, middlesShown, inner - passing.length * (PASSAGE + GAP))
  const slots = middles.map((middle): Slot => ({ key: middle.key, w: middleW, want: mean(middle.on.map(center), inner / 2), x: 0 }))
  slots.push(...passing.map((line): Slot => ({ key: line.via ?? '', w: PASSAGE, want: center(line.to), x: 0 })))
  if (middles.length < picture.middles.length) slots.push({ key: 'more/apps', w: middleW, want: inner, x: 0 })
  slots.sort(byWant)
  const topsShown = tops.length + (tops.length < picture.tops.length ? 1 : 0)
  const topW = narrowed(TOP.w, topsShown, inner)
  const topSlots = tops.map((top): Slot => ({ key: top.key, w: topW, want: 0, x: 0 }))
  order(lines, slots, topSlots, center)
  const middleWidth = slots.length > 0 ? spread(slots, inner, GAP) : 0
  const slotAt = new Map(slots.map((slot) => [slot.key, slot]))
  for (const slot of topSlots) {
    const places = lines.filter((line) => line.from === slot.key).map((line) => {
      const below = slotAt.get(line.via ?? line.to)
      return below ? below.x + below.w / 2 : center(line.to)
    })
    slot.want = mean(places, inner / 2)
  }
  if (tops.length < picture.tops.length) topSlots.push({ key: 'more/routes', w: topW, want: inner, x: 0 })
  const topWidth = topSlots.length > 0 ? spread(topSlots, inner, GAP) : 0

  const topY = PAD
  const middleY = topY + (topSlots.length > 0 ? TOP.h + BETWEEN : 0)
  const waterY = middleY + (middles.length > 0 ? MIDDLE.h + BETWEEN : 0)
  const nodes: DrawnNode[] = []
  for (const slot of topSlots) {
    const top = tops.find((one) => one.key === slot.key)
    const node = top ? topNode(top, project, words, topW) : moreNode(slot.key, picture.tops.length - tops.length, `/projects/${project}/routes`, { w: topW, h: TOP.h }, words)
    nodes.push({ ...node, x: slot.x + PAD, y: topY })
  }
  for (const slot of slots) {
    if (slot.key.startsWith('via ')) continue
    const middle = middles.find((one) => one.key === slot.key)
    const node = middle ? middleNode(middle, project, words, middleW) : moreNode(slot.key, picture.middles.length - middles.length, `/projects/${project}/apps`, { w: middleW, h: MIDDLE.h }, words)
    nodes.push({ ...node, x: slot.x + PAD, y: middleY })
  }
  const clusters: DrawnCluster[] = []
  for (const { blocks } of water.laid) {
    for (const one of blocks) {
      one.x += PAD
      one.y += waterY
      if (one.drawn) clusters.push({ ...one.drawn, x: one.x, y: one.y })
      nodes.push(...one.nodes.map((node) => ({ ...node, x: node.x + one.x, y: node.y + one.y })))
    }
  }

  const boxes = new Map<string, Box>([...nodes.map((node): [string, Box] => [node.key, node]), ...anchors])
  return {
    width: Math.ceil(Math.max(water.w, middleWidth, topWidth) + 2 * PAD),
    height: Math.ceil(waterY + water.h + PAD),
    basins: water.laid.map((one) => ({
      key: `network/${one.basin.name}`,
      name: one.basin.name,
      to: `/projects/${project}/machines?tab=networks`,
      title: fit(one.basin.name, one.w - 2 * PAD - 18, 14),
      sub: fit([one.basin.subnet, words.egress(one.basin.egress)].filter(Boolean).join(' · '), one.w - 2 * PAD, 11),
      tone: one.basin.tone,
      x: one.x + PAD,
      y: one.y + waterY,
      w: one.w,
      h: one.h,
    })),
    clusters,
    nodes,
    edges: edges(lines, boxes, slotAt, middleY, rowsOf(water.laid, waterY)),
  }
}
