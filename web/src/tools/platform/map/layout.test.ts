import { describe, expect, it } from 'vitest'
import { COLLAPSE, MOST_TOPS, overlap, type Box, type Drawing } from './drawing'
import { layout } from './layout'
import { machineTone, pictureOf, sharesText, type Read } from './model'
import { app, backend, cluster, harbour, machine, network, read, route, WORDS } from './sample'
import { byWant, crossings, spread, untangle } from './spread'
import { svgText } from './svg'

const draw = (from: Read, width = 1000): Drawing => layout(pictureOf(from), WORDS, width)

function inside(inner: Box, outer: Box): boolean {
  return inner.x >= outer.x - 0.1 && inner.y >= outer.y - 0.1 && inner.x + inner.w <= outer.x + outer.w + 0.1 && inner.y + inner.h <= outer.y + outer.h + 0.1
}

/** What a person would call a mess. */
function checked(drawing: Drawing): Drawing {
  const { nodes, clusters, basins } = drawing
  nodes.forEach((node, index) => {
    for (const other of nodes.slice(index + 1)) expect(overlap(node, other), `${node.key} over ${other.key}`).toBe(false)
  })
  for (const group of [clusters, basins]) {
    group.forEach((one, index) => {
      for (const other of group.slice(index + 1)) expect(overlap(one, other), `${one.key} over ${other.key}`).toBe(false)
    })
  }
  const whole = { x: 0, y: 0, w: drawing.width, h: drawing.height }
  for (const box of [...nodes, ...clusters, ...basins]) expect(inside(box, whole), box.key).toBe(true)
  for (const one of clusters) expect(basins.some((basin) => inside(one, basin)), one.key).toBe(true)
  for (const node of nodes) if (node.kind === 'machine') expect(basins.some((basin) => inside(node, basin)), node.key).toBe(true)
  expect(JSON.stringify(drawing)).not.toMatch(/NaN|Infinity/)
  return drawing
}

describe('the layout', () => {
  it('is good for nothing, for one machine, and for a shop', () => {
    checked(draw(read({})))
    const one = checked(draw(read({ networks: [network('backend')], machines: [machine('web')] })))
    expect(one.nodes.map((node) => node.to)).toEqual(['/projects/harbour/machines/web'])
    const shop = checked(draw(harbour(), 1240))
    expect(shop.width).toBeLessThanOrEqual(1240)
    expect(shop.edges.length).toBe(6)
  })

  it('is good for two hundred machines in many clusters, and tells large ones in counts', () => {
    const machines = [...Array.from({ length: 20 }, (_, index) => cluster(`c${index}`, 6, index % 2 ? 'a' : 'b')).flat(), ...cluster('large', 80, 'a')]
    const drawing = checked(draw(read({ networks: [network('a'), network('b')], machines })))
    expect(drawing.clusters.find((one) => one.key === 'cluster/large')?.counts).toEqual([{ tone: 'good', text: '80 well' }])
    expect(drawing.width).toBeLessThanOrEqual(1000)
  })

  it('draws the sick of a large cluster all the same', () => {
    const machines = cluster('web', COLLAPSE + 5)
    machines[7] = machine('web-8', 'backend', 'web', { state: 'failed' })
    const drawing = checked(draw(read({ machines })))
    expect(drawing.nodes.map((node) => node.key)).toEqual(['machine/web-8'])
    expect(drawing.clusters[0]?.counts.map((count) => count.tone)).toEqual(['bad', 'good'])
  })

  it('is good for many hosts, apps and machines of their own', () => {
    const apps = Array.from({ length: 40 }, (_, index) => app(`app-${index}`, 'web', ['web-1', 'web-2']))
    const routes = apps.map((one) => route(`${one.name}.example.org`, { '/': [{ backend: one.name }] }))
    const machines = [...cluster('web', 3), ...Array.from({ length: 30 }, (_, index) => machine(`m-${index}`))]
    const drawing = checked(draw(read({ machines, apps, routes })))
    expect(drawing.nodes.filter((node) => node.kind === 'host')).toHaveLength(MOST_TOPS)
    expect(drawing.nodes.find((node) => node.key === 'more/routes')?.title).toBe('16 more')
  })

  it('holds on a narrow screen, and with long names', () => {
    const long = 'a'.repeat(63)
    checked(draw(harbour(), 380))
    const drawing = checked(draw(read({ networks: [network(long)], machines: cluster(long, 2, long), routes: [route(`${long}.example.org`, { '/': [{ backend: long }] })] }), 600))
    expect(drawing.nodes.every((node) => node.title.length < 40)).toBe(true)
  })

  it('is the same for the same, in whatever order it was read', () => {
    const from = harbour()
    const turned: Read = { ...from, machines: [...from.machines].reverse(), apps: [...from.apps].reverse(), routes: [...from.routes].reverse(), networks: [...from.networks].reverse() }
    expect(draw(turned)).toEqual(draw(from))
  })
})

describe('the picture', () => {
  it('leads hosts to apps, to clusters, and to what is missing', () => {
    const picture = pictureOf(read({
      machines: cluster('legacy', 1),
      apps: [app('shop', 'legacy', ['legacy-1'])],
      backends: [backend('shop', ['legacy-1'])],
      routes: [route('a.org', { '/': [{ backend: 'legacy' }], '/x': [{ backend: 'shop', weight: 1 }, { backend: 'gone', weight: 3 }] })],
    }))
    expect(picture.tops[0]?.leads.map((lead) => [lead.to, lead.shares])).toEqual([
      ['cluster/legacy', [{ path: '/', percent: 100 }]],
      ['app/shop', [{ path: '/x', percent: 25 }]],
      ['backend/gone', [{ path: '/x', percent: 75 }]],
    ])
    expect(picture.middles.find((middle) => middle.key === 'backend/gone')?.tone).toBe('bad')
  })

  it('gives a host the traffic of a backend only when no other host leads there', () => {
    const routes = [route('a.org', { '/': [{ backend: 'x' }] }), route('b.org', { '/': [{ backend: 'x' }] }), route('c.org', { '/': [{ backend: 'y' }] })]
    const { tops } = pictureOf(read({ routes, backends: [backend('x', []), backend('y', [])], rates: new Map([['x', 5], ['y', 7]]) }))
    expect(tops.map((top) => top.leads[0]?.traffic?.rate)).toEqual([undefined, undefined, 7])
  })

  it('says how a machine is', () => {
    expect(machineTone(machine('a', 'n', null, { healthy: false }))).toBe('bad')
    expect(machineTone(machine('a', 'n', null, { state: 'stopped', healthy: false }))).toBe('idle')
    expect(machineTone(machine('a', 'n', null, { cordoned: true }))).toBe('idle')
  })

  it('says shares only where there is something to say', () => {
    expect(sharesText([{ path: '/', percent: 100 }], 'en')).toBe('')
    expect(sharesText([{ path: '/', percent: 12.5 }, { path: '/api', percent: 100 }, { path: '/x', percent: 1 }], 'de')).toBe('/ 12,5 %, /api +1')
  })
})

it('puts boxes near to where they want to be, and never over one another', () => {
  const slot = (key: string, want: number) => ({ key, w: 100, want, x: 0 })
  const slots = [slot('a', 500), slot('b', 500), slot('c', 50)].sort(byWant)
  expect(spread(slots, 1000, 10)).toBe(1000)
  expect(slots.map((one) => [one.key, one.x])).toEqual([['c', 0], ['a', 450], ['b', 560]].map(([key, x]) => [key, Number(x)]))
  expect(spread([slot('a', 0), slot('b', 0), slot('c', 0)], 100, 10)).toBe(320)
})

it('swaps neighbours until few lines cross', () => {
  const slots = ['a', 'b', 'c'].map((key) => ({ key, w: 1, want: 0, x: 0 }))
  const wanted = ['c', 'b', 'a']
  untangle(slots, () => crossings(slots.map((slot, index) => [index, wanted.indexOf(slot.key)])))
  expect(slots.map((slot) => slot.key)).toEqual(wanted)
})

it('is a file that needs nothing else, and takes no markup from names', () => {
  const text = svgText(draw(read({ machines: [machine('<b>"&')] })), 'harbour')
  expect(new DOMParser().parseFromString(text, 'image/svg+xml').querySelector('parsererror')).toBeNull()
  expect(text).not.toContain('<b>')
  expect(text).not.toMatch(/NaN|undefined|href|url\(/)
})
