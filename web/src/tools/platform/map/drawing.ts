// What a drawing of the map consists of, its measures, and its words.
import type { Basin } from './model'
import type { Tone } from '@/parts/tone'

export interface Box {
  x: number
  y: number
  w: number
  h: number
}

export interface DrawnBasin extends Box {
  key: string
  name: string
  to: string
  title: string
  sub: string
  tone: Tone
}

export interface DrawnCluster extends Box {
  key: string
  title: string
  sub: string
  to: string
  /** Of a cluster that is too large to draw each machine. */
  counts: { tone: Tone; text: string }[]
}

export interface DrawnNode extends Box {
  key: string
  kind: 'host' | 'publication' | 'app' | 'backend' | 'machine' | 'more'
  title: string
  sub: string
  tone: Tone
  to: string
  /** All of it, for those who do not see it. */
  said: string
}

export interface DrawnEdge {
  key: string
  from: string
  to: string
  d: string
  width: number
  /** Something passes. */
  busy: boolean
  label: (Box & { text: string }) | undefined
}

export interface Drawing {
  width: number
  height: number
  basins: DrawnBasin[]
  clusters: DrawnCluster[]
  nodes: DrawnNode[]
  edges: DrawnEdge[]
}

/** The words of the picture, in the reader's language. */
export interface MapWords {
  language: string
  state: (state: string) => string
  certificate: (state: string) => string
  tone: (tone: Tone, n: number) => string
  machines: (n: number) => string
  egress: (egress: Basin['egress']) => string
  rate: (perSecond: number) => string
  inFlight: (n: number) => string
  release: (n: number) => string
  more: (n: number) => string
  singles: string
  maintenance: string
  publication: string
  backend: string
}

export const PAD = 16
export const GAP = 16
export const TOP = { w: 196, h: 46 }
/** So narrow hosts and apps become before the picture grows wider than its place. */
export const LEAST = 150
export const MIDDLE = { w: 216, h: 46 }
export const TILE = { w: 138, h: 42 }
/** Machines of a cluster in a column. */
export const COLUMN = 6
/** A cluster of more is told in counts. */
export const COLLAPSE = 12
/** More at the top, or in the middle, are counted. */
export const MOST_TOPS = 24
export const MOST_MIDDLES = 24
export const BETWEEN = 84
export const CLUSTER_PAD = 10
export const CLUSTER_HEAD = 26
export const BASIN_HEAD = 48
export const LINE = 22
/** What a line that passes something by another layer needs. */
export const PASSAGE = 14

/** Cuts what does not fit; no browser is here to measure, so that letters are taken to be wide. */
export function fit(text: string, width: number, size: number): string {
  const most = Math.max(1, Math.floor(width / (size * 0.57)))
  const letters = [...text]
  return letters.length <= most ? text : `${letters.slice(0, most - 1).join('')}…`
}

export function textWidth(text: string, size: number): number {
  return [...text].length * size * 0.57
}

export function overlap(a: Box, b: Box): boolean {
  return a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h
}
