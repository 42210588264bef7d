// Hosts and apps, as they are drawn.
import type { Tone } from '@/parts/tone'
import { fit, MIDDLE, TOP, type DrawnNode, type MapWords } from './drawing'
import type { Middle, Top, Traffic } from './model'

export function trafficText(traffic: Traffic | undefined, words: MapWords): string {
  const parts: string[] = []
  if (traffic?.rate !== undefined && traffic.rate >= 0.05) parts.push(words.rate(traffic.rate))
  if (traffic && traffic.inFlight > 0) parts.push(words.inFlight(traffic.inFlight))
  return parts.join(' · ')
}

export function middleNode(middle: Middle, project: string, words: MapWords, w: number): DrawnNode {
  const state = words.state(middle.state)
  const sub = middle.kind === 'app' ? [state, middle.release === undefined ? '' : words.release(middle.release)] : [words.backend, state]
  const text = sub.filter(Boolean).join(' · ')
  return {
    key: middle.key,
    kind: middle.kind,
    title: fit(middle.name, w - 38, 13),
    sub: fit(text, w - 38, 11),
    tone: middle.tone,
    to: middle.kind === 'app' ? `/projects/${project}/apps/${middle.name}` : `/projects/${project}/routes`,
    said: [middle.name, text, `${middle.healthy}/${middle.total}`, trafficText(middle.traffic, words)].filter(Boolean).join(', '),
    x: 0,
    y: 0,
    w,
    h: MIDDLE.h,
  }
}

export function topNode(top: Top, project: string, words: MapWords, w: number): DrawnNode {
  const sub = top.kind === 'publication' ? words.publication : top.maintenance ? words.maintenance : words.certificate(top.state)
  return {
    key: top.key,
    kind: top.kind,
    title: fit(top.name, w - 40, 13),
    sub: fit(sub, w - 40, 11),
    tone: top.tone,
    to: `/projects/${project}/${top.kind === 'host' ? 'routes' : 'plan'}`,
    said: [top.name, sub].join(', '),
    x: 0,
    y: 0,
    w,
    h: TOP.h,
  }
}

export function moreNode(key: string, n: number, to: string, size: { w: number; h: number }, words: MapWords): DrawnNode {
  return { key, kind: 'more', title: words.more(n), sub: '', tone: 'idle', to, said: words.more(n), x: 0, y: 0, ...size }
}

/** Bad ones are never among those that are only counted. */
export function chosen<T extends { tone: Tone }>(items: readonly T[], most: number): T[] {
  if (items.length <= most) return [...items]
  const rank = (item: T): number => (item.tone === 'bad' ? 0 : 1)
  const keep = new Set([...items].sort((a, b) => rank(a) - rank(b)).slice(0, most))
  return items.filter((item) => keep.has(item))
}
