// Networks as basins, with their machines in them.
import type { Tone } from '@/parts/tone'
import { BASIN_HEAD, CLUSTER_HEAD, CLUSTER_PAD, COLLAPSE, COLUMN, fit, GAP, LINE, PAD, textWidth, TILE, type Box, type DrawnCluster, type DrawnNode, type MapWords } from './drawing'
import type { Basin, Cluster, MachineMark, Picture } from './model'

export interface Block extends Box {
  cluster: Cluster
  nodes: DrawnNode[]
  drawn: DrawnCluster | undefined
}

const TONES: readonly Tone[] = ['bad', 'busy', 'idle', 'good']

function tile(machine: MachineMark, project: string, words: MapWords, w: number): DrawnNode {
  const apps = new Map<string, number>()
  for (const process of machine.processes) apps.set(process.app, (apps.get(process.app) ?? 0) + 1)
  const running = [...apps].map(([app, n]) => (n > 1 ? `${app} ×${n}` : app)).join(', ')
  const state = words.state(machine.state)
  const below = machine.tone === 'good' ? running || (machine.address ?? '') : state
  return {
    key: `machine/${machine.name}`,
    kind: 'machine',
    title: fit(machine.name, w - 36, 13),
    sub: fit(below, w - 36, 11),
    tone: machine.tone,
    to: `/projects/${project}/machines/${machine.name}`,
    // What is read begins with what is seen.
    said: [...new Set([machine.name, below, state, machine.address, running])].filter(Boolean).join(', '),
    x: 0,
    y: 0,
    w,
    h: TILE.h,
  }
}

function block(cluster: Cluster, project: string, words: MapWords): Block {
  const { machines } = cluster
  const to = cluster.single ? `/projects/${project}/machines` : `/projects/${project}/machines?group=${encodeURIComponent(cluster.name)}`
  const head = (w: number, h: number, counts: DrawnCluster['counts']): DrawnCluster => ({
    key: cluster.key,
    title: fit(cluster.name, w - 2 * CLUSTER_PAD - textWidth(words.machines(machines.length), 11) - 10, 13),
    sub: words.machines(machines.length),
    to,
    counts,
    x: 0,
    y: 0,
    w,
    h,
  })
  if (machines.length > COLLAPSE) {
    const counts = TONES.map((tone) => ({ tone, n: machines.filter((machine) => machine.tone === tone).length })).filter(({ n }) => n > 0)
    const w = 210
    // Those that need somebody are drawn all the same, a few of them.
    const nodes = machines.filter((machine) => machine.tone === 'bad').slice(0, 3).map((machine) => tile(machine, project, words, w - 2 * CLUSTER_PAD))
    const below = CLUSTER_HEAD + counts.length * LINE + 6
    nodes.forEach((node, index) => Object.assign(node, { x: CLUSTER_PAD, y: below + index * (TILE.h + 6) }))
    const h = below + nodes.length * (TILE.h + 6) + CLUSTER_PAD
    return { cluster, nodes, drawn: head(w, h, counts.map(({ tone, n }) => ({ tone, text: words.tone(tone, n) }))), x: 0, y: 0, w, h }
  }
  const columns = Math.max(1, Math.ceil(machines.length / COLUMN))
  const rows = Math.ceil(machines.length / columns)
  const framed = !cluster.single || machines.length > 1
  const w = Math.max(columns * TILE.w + (columns - 1) * 8 + (framed ? 2 * CLUSTER_PAD : 0), framed ? 190 : 0)
  const h = rows * TILE.h + (rows - 1) * 8 + (framed ? CLUSTER_HEAD + CLUSTER_PAD : 0)
  const wide = framed ? (w - 2 * CLUSTER_PAD - (columns - 1) * 8) / columns : TILE.w
  const nodes = machines.map((machine, index) => {
    const column = Math.floor(index / rows)
    const x = (framed ? CLUSTER_PAD : 0) + column * (wide + 8)
    const y = (framed ? CLUSTER_HEAD : 0) + (index % rows) * (TILE.h + 8)
    return { ...tile(machine, project, words, wide), x, y }
  })
  return { cluster, nodes, drawn: framed ? head(w, h, []) : undefined, x: 0, y: 0, w, h }
}

/** Puts boxes beside one another, and below when a row is full; the height of it all. */
function flow(boxes: Box[], width: number, gap: number): { w: number; h: number } {
  let [x, y, row, w] = [0, 0, 0, 0]
  for (const box of boxes) {
    if (x > 0 && x + box.w > width) {
      x = 0
      y += row + gap
      row = 0
    }
    box.x = x
    box.y = y
    x += box.w + gap
    row = Math.max(row, box.h)
    w = Math.max(w, x - gap)
  }
  return { w, h: boxes.length > 0 ? y + row : 0 }
}

/** A few machines that belong to no cluster share a frame with nobody; many of them are one. */
function clustersOf(basin: Basin, words: MapWords): Cluster[] {
  const singles = basin.clusters.filter((cluster) => cluster.single)
  if (singles.length <= COLLAPSE) return basin.clusters
  const together: Cluster = { key: `singles/${basin.name}`, name: words.singles, single: true, machines: singles.flatMap((cluster) => cluster.machines) }
  return [...basin.clusters.filter((cluster) => !cluster.single), together]
}

export interface Laid extends Box {
  basin: Basin
  blocks: Block[]
}

export function basins(picture: Picture, width: number, words: MapWords): { laid: Laid[]; w: number; h: number } {
  const laid = picture.basins.map((basin): Laid => {
    const blocks = clustersOf(basin, words).map((cluster) => block(cluster, picture.project, words))
    const inside = flow(blocks, width - 2 * PAD, GAP)
    const title = Math.max(textWidth(basin.name, 14), textWidth(`${basin.subnet} · ${words.egress(basin.egress)}`, 11)) + 28
    return { basin, blocks, x: 0, y: 0, w: Math.min(Math.max(inside.w, title, 150) + 2 * PAD, Math.max(width, inside.w + 2 * PAD)), h: Math.max(inside.h, 20) + BASIN_HEAD + PAD }
  })
  const all = flow(laid, width, GAP)
  // Each row of basins fills the width, as water does.
  const rows = new Map<number, Laid[]>()
  for (const one of laid) rows.set(one.y, [...(rows.get(one.y) ?? []), one])
  for (const row of rows.values()) {
    const used = row.reduce((sum, one) => sum + one.w, 0) + (row.length - 1) * GAP
    const tall = Math.max(...row.map((one) => one.h))
    const more = Math.max(0, Math.max(width, all.w) - used) / row.length
    let x = 0
    for (const one of row) {
      one.x = x
      one.w += more
      one.h = tall
      const inside = flow(one.blocks, one.w - 2 * PAD, GAP)
      const left = one.x + (one.w - inside.w) / 2
      for (const inner of one.blocks) {
        inner.x += left
        inner.y += one.y + BASIN_HEAD
      }
      x += one.w + GAP
    }
  }
  return { laid, w: Math.max(width, all.w), h: all.h }
}
