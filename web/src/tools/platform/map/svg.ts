// The drawing as a file: the picture of the README. It brings its own colours, light and dark, and needs nothing else.
import { glyph } from './glyph'
import type { Drawing, DrawnNode } from './drawing'

const LIGHT = { back: '#f6f8f9', card: '#ffffff', line: '#dde3e8', text: '#16202c', muted: '#556270', good: '#1b8a4b', bad: '#c5362f', busy: '#b7791f', idle: '#8b97a3', accent: '#0f766e', water: '#e3f1f2' }
const DARK: typeof LIGHT = { back: '#0e141a', card: '#151d25', line: '#2a3540', text: '#e4ebf1', muted: '#a3b0bd', good: '#4cc38a', bad: '#f2746b', busy: '#e5b454', idle: '#7b8896', accent: '#5eead4', water: '#12262b' }

function styles(colours: typeof LIGHT): string {
  const tones = (['good', 'bad', 'busy', 'idle'] as const).map((tone) => `.${tone}{fill:${colours[tone]}}`).join('')
  return `.back{fill:${colours.back}}.basin{fill:${colours.water};stroke:${colours.line}}.cluster,.node{fill:${colours.card};stroke:${colours.line}}.edge{stroke:${colours.idle}}.edge.flows{stroke:${colours.accent}}.label{fill:${colours.back}}.haloed text{paint-order:stroke;stroke:${colours.water};stroke-width:5px}text{fill:${colours.text}}.muted{fill:${colours.muted}}${tones}`
}

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`)
}

function nodeText(node: DrawnNode): string {
  const rx = node.kind === 'host' || node.kind === 'publication' ? node.h / 2 : 6
  const middle = node.y + node.h / 2
  const x = node.x + 30
  const dash = node.kind === 'publication' || node.kind === 'more' ? ' stroke-dasharray="4 3"' : ''
  const title = `<text x="${x}" y="${node.sub ? middle - 3 : middle + 4.5}" font-size="13" font-weight="600">${escaped(node.title)}</text>`
  const sub = node.sub ? `<text x="${x}" y="${middle + 12}" font-size="11" class="muted">${escaped(node.sub)}</text>` : ''
  return `<g><title>${escaped(node.said)}</title><rect class="node" x="${node.x}" y="${node.y}" width="${node.w}" height="${node.h}" rx="${rx}"${dash}/><path class="${node.tone}" d="${glyph(node.tone, node.x + 17, middle)}"/>${title}${sub}</g>`
}

export function svgText(drawing: Drawing, title: string): string {
  const { width, height } = drawing
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" font-family="system-ui, 'Segoe UI', Roboto, 'Noto Sans', sans-serif">`,
    `<title>${escaped(title)}</title>`,
    `<style>${styles(LIGHT)}@media (prefers-color-scheme: dark){${styles(DARK)}}</style>`,
    `<rect class="back" width="${width}" height="${height}"/>`,
    ...drawing.basins.map((basin) => `<rect class="basin" x="${basin.x}" y="${basin.y}" width="${basin.w}" height="${basin.h}" rx="14"/>`),
    ...drawing.edges.map((edge) => `<path class="edge${edge.busy ? ' flows' : ''}" d="${edge.d}" fill="none" stroke-width="${edge.width}"/>`),
    ...drawing.basins.map((basin) =>
      `<g class="haloed"><path class="${basin.tone}" d="${glyph(basin.tone, basin.x + 21, basin.y + 19)}"/><text x="${basin.x + 34}" y="${basin.y + 24}" font-size="14" font-weight="650">${escaped(basin.title)}</text><text x="${basin.x + 16}" y="${basin.y + 40}" font-size="11" class="muted">${escaped(basin.sub)}</text></g>`),
    ...drawing.clusters.map((cluster) => {
      const counts = cluster.counts.map((count, index) => {
        const y = cluster.y + 26 + index * 22 + 10
        return `<path class="${count.tone}" d="${glyph(count.tone, cluster.x + 19, y)}"/><text x="${cluster.x + 32}" y="${y + 4}" font-size="12">${escaped(count.text)}</text>`
      })
      return `<rect class="cluster" x="${cluster.x}" y="${cluster.y}" width="${cluster.w}" height="${cluster.h}" rx="8"/><text x="${cluster.x + 12}" y="${cluster.y + 18}" font-size="13" font-weight="600">${escaped(cluster.title)}</text><text x="${cluster.x + cluster.w - 12}" y="${cluster.y + 18}" font-size="11" class="muted" text-anchor="end">${escaped(cluster.sub)}</text>${counts.join('')}`
    }),
    ...drawing.nodes.map(nodeText),
    ...drawing.edges.map(({ label }) =>
      label ? `<rect class="label" x="${label.x}" y="${label.y}" width="${label.w}" height="${label.h}" rx="4"/><text x="${label.x + label.w / 2}" y="${label.y + 12}" font-size="11" class="muted" text-anchor="middle">${escaped(label.text)}</text>` : ''),
    '</svg>',
  ]
  return `${parts.filter(Boolean).join('\n')}\n`
}
