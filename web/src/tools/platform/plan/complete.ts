// What may be written at a place of the manifest, from its JSON Schema and from the sections that it has.
import schema from '../../../../../docs/reference/hafen.schema.json'
import { outlineOf, placeAt, type Outline } from './toml'

export interface Offer {
  label: string
  /** Put in its place; `${}` is where the cursor goes. */
  insert: string
  detail?: string
  info?: string
  kind: 'section' | 'key' | 'value'
}

export interface Offers {
  from: number
  offers: Offer[]
}

interface Schema {
  $ref?: string
  type?: string
  description?: string
  default?: unknown
  const?: unknown
  enum?: unknown[]
  examples?: unknown[]
  minimum?: number
  maximum?: number
  pattern?: string
  properties?: Record<string, Schema>
  additionalProperties?: boolean | Schema
  items?: Schema
  oneOf?: Schema[]
  required?: string[]
}

const root = schema as unknown as Schema & { $defs: Record<string, Schema> }

function resolved(one: Schema): Schema {
  const name = one.$ref?.split('/').at(-1)
  const target = name ? root.$defs[name] : undefined
  return target ? { ...target, ...one } : one
}

/** A schema and, where it has several forms, each of them. */
function forms(one: Schema): Schema[] {
  const whole = resolved(one)
  return [whole, ...(whole.oneOf ?? []).flatMap(forms)]
}

/** All that may stand at a path; an item of an array stands for the array. */
export function schemasAt(path: readonly string[]): Schema[] {
  let here: Schema[] = forms(root)
  for (const key of path) {
    here = here
      .flatMap((one) => {
        const named = one.properties?.[key]
        if (named) return [named]
        return typeof one.additionalProperties === 'object' ? [one.additionalProperties] : []
      })
      .flatMap(forms)
    here.push(...here.flatMap((one) => (one.items ? forms(one.items) : [])))
  }
  return here
}

/** The kinds of section, as they stand in brackets. */
const SECTIONS = ['network', 'image', 'machine', 'app', 'route'] as const

/** Which sections a key names. */
const NAMES: Record<string, readonly string[]> = { image: ['image'], network: ['network'], on: ['machine'], machines: ['machine'], app: ['app'] }

function named(path: readonly string[], outline: Outline): string[] {
  const of = (kind: string): string[] => [...(outline.sections.get(kind) ?? [])]
  const last = path.at(-1) ?? ''
  if (last === 'depends_on') return of('machine').map((name) => `machine.${name}`)
  // A target of a route that is only a name: an app, else a cluster.
  if (path[0] === 'route' && path.length === 4 && path[2] === 'paths') return [...of('app'), ...of('machine')]
  return path.length > 2 ? (NAMES[last] ?? []).flatMap(of) : []
}

function keyText(key: string): string {
  return /^[A-Za-z0-9_-]+$/.test(key) ? key : JSON.stringify(key)
}

function valueText(value: unknown): string {
  return typeof value === 'string' ? JSON.stringify(value) : String(value)
}

function keyInsert(key: string, of: Schema[]): string {
  const types = new Set(of.map((one) => one.type))
  if (types.has('array')) return `${keyText(key)} = [\${}]`
  if (types.has('string') && !types.has('object')) return `${keyText(key)} = "\${}"`
  if (types.has('object') && !types.has('string')) return `${keyText(key)} = { \${} }`
  return `${keyText(key)} = \${}`
}

function detailOf(of: Schema[]): string | undefined {
  const first = of.find((one) => one.default !== undefined)
  if (first) return valueText(first.default)
  const choice = of.find((one) => one.enum)
  if (choice?.enum) return choice.enum.map(valueText).join(' | ')
  return of.find((one) => one.examples)?.examples?.map(valueText).join(', ') ?? of.find((one) => one.type && one.type !== 'object')?.type
}

function offer(label: string, insert: string, kind: Offer['kind'], of: Schema[] = []): Offer {
  const detail = detailOf(of)
  const info = of.find((one) => one.description)?.description
  return { label, insert, kind, ...(detail === undefined ? {} : { detail }), ...(info === undefined ? {} : { info }) }
}

function sections(from: number): Offers {
  const offers = SECTIONS.map((kind) =>
    offer(`[${kind}.…]`, kind === 'route' ? '[route."${}"]' : `[${kind}.\${}]`, 'section', schemasAt([kind, 'x'])))
  return { from, offers: [...offers, offer('[quota]', '[quota]', 'section', schemasAt(['quota']))] }
}

function keys(path: readonly string[], has: readonly string[], from: number, inline: boolean): Offers {
  const seen = new Map<string, Schema[]>()
  for (const one of schemasAt(path)) {
    for (const [key, value] of Object.entries(one.properties ?? {})) seen.set(key, [...(seen.get(key) ?? []), ...forms(value)])
  }
  const offers = [...seen]
    .filter(([key]) => !has.includes(key) && !(path.length === 0 && key !== 'project'))
    .map(([key, of]) => offer(key, keyInsert(key, of), 'key', of))
  // A new section may begin wherever a new line does.
  return { from, offers: inline ? offers : [...offers, ...sections(from).offers] }
}

function values(path: readonly string[], outline: Outline, from: number, quoted: boolean): Offers {
  const of = schemasAt(path)
  const all: unknown[] = named(path, outline)
  for (const one of of) {
    all.push(...(one.enum ?? []), ...(one.const === undefined ? [] : [one.const]), ...(one.examples ?? []))
    if (one.type === 'boolean') all.push(true, false)
    if (one.default !== undefined) all.push(one.default)
  }
  const texts = [...new Set(all)].filter((value) => !quoted || typeof value === 'string')
  const offers = texts.map((value) => offer(String(value), quoted ? String(value) : valueText(value), 'value'))
  if (!quoted) {
    const shapes = of.filter((one) => one.properties && one.type === 'object')
    for (const shape of shapes) {
      const first = shape.required?.[0] ?? Object.keys(shape.properties ?? {})[0]
      if (first) offers.push(offer(`{ ${first} = … }`, `{ ${keyInsert(first, forms(shape.properties?.[first] ?? {}))} }`, 'value'))
    }
  }
  return { from, offers }
}

export function completeAt(text: string, position: number): Offers | undefined {
  const place = placeAt(text, position)
  switch (place.at) {
    case 'nothing':
      return undefined
    case 'header':
      return sections(place.from)
    case 'key':
      return keys(place.path, place.has.filter((key) => key !== place.typed), place.from, place.inline)
    case 'value':
      return values(place.path, outlineOf(text), place.from, place.quoted)
  }
}
