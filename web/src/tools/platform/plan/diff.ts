// A plan as a person reads it: by kind, what is done to which resource, and each attribute before and after. Nothing is left out;
// machines of a cluster to which exactly the same is done are told together.
import type { Schemas } from '@/api/client'

export type ResourceChange = Schemas['ResourceChange']
export type Verb = 'create' | 'update' | 'replace' | 'delete' | 'unchanged'

/** A value of an attribute, or why there is none to show. */
export type Shown =
  | { kind: 'value'; value: unknown }
  | { kind: 'none' }
  /** Known only once it is applied. */
  | { kind: 'unknown' }
  | { kind: 'sensitive'; value: unknown }
  /** Not the same in each of the resources that are told together. */
  | { kind: 'differs' }

export interface Row {
  path: string
  before: Shown
  after: Shown
  same: boolean
  /** Cannot change in place. */
  forces: boolean
}

export interface Told {
  /** Of the first; tells them apart. */
  address: string
  names: string[]
  verb: Verb
  reason: string | undefined
  rows: Row[]
}

export interface KindGroup {
  kind: string
  told: Told[]
  /** Resources in it. */
  size: number
}

/** In the order in which an apply goes about them. */
const ORDER = ['project', 'network', 'image', 'machine', 'publication', 'app', 'backend', 'route']

/** What reality has and a manifest never says: left out of `after`, and yet it stays. */
const OBSERVED = new Set(['id', 'state', 'instance_id', 'image_digest', 'digest'])
/** What is each machine's own. */
const OWN = new Set(['id', 'name', 'instance_id'])
/** Attributes that are bytes. */
const SIZES = new Set(['memory', 'disk', 'max_body'])

export function isSize(path: string): boolean {
  return SIZES.has(path.split('.').at(-1) ?? '')
}

export function verbOf(change: ResourceChange): Verb {
  const actions = change.change.actions
  if (actions.includes('create') && actions.includes('delete')) return 'replace'
  for (const verb of ['create', 'delete', 'update'] as const) if (actions.includes(verb)) return verb
  return 'unchanged'
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** What tells a table in an array apart: its own id where it has one, so that the others do not seem to change when one goes. */
function partOf(inner: unknown, index: number): string {
  return isRecord(inner) && typeof inner['id'] === 'string' && inner['id'] !== '' ? inner['id'] : String(index + 1)
}

/** A value by its paths; an array is one value unless it holds tables. */
function flat(value: unknown, path: string, into: Map<string, unknown>): Map<string, unknown> {
  const below = (key: string): string => (path === '' ? key : `${path}.${key}`)
  if (isRecord(value)) {
    for (const [key, inner] of Object.entries(value)) flat(inner, below(key), into)
    if (path !== '' && Object.keys(value).length === 0) into.set(path, {})
  } else if (Array.isArray(value) && value.some(isRecord)) value.forEach((inner, index) => flat(inner, below(partOf(inner, index)), into))
  else if (value !== null && value !== undefined) into.set(path, value)
  return into
}

/** Whether a path, or what it is below of, is marked in a tree of marks. */
function marked(marks: unknown, path: string): boolean {
  let here = marks
  for (const part of path.split('.')) {
    if (here === true) return true
    if (!isRecord(here) && !Array.isArray(here)) return false
    here = (here as Record<string, unknown>)[Array.isArray(here) ? String(Number(part) - 1) : part]
  }
  return here === true
}

/** Paths of what is only known later. */
function unknowns(marks: unknown, path: string, into: string[]): string[] {
  if (marks === true && path !== '') into.push(path)
  else if (isRecord(marks)) for (const [key, inner] of Object.entries(marks)) unknowns(inner, path === '' ? key : `${path}.${key}`, into)
  return into
}

const NONE: Shown = { kind: 'none' }
const text = (shown: Shown): string => JSON.stringify(shown)

export function rowsOf(resource: ResourceChange): Row[] {
  const { change, type } = resource
  const before = flat(change.before, '', new Map())
  const after = flat(change.after, '', new Map())
  const later = unknowns(change.after_unknown, '', [])
  const forced = new Set((change.replace_paths ?? []).map((path) => path.join('.')))
  const verb = verbOf(resource)
  const gone = change.after === null || change.after === undefined

  function shown(from: Map<string, unknown>, path: string, sensitive: unknown): Shown {
    if (!from.has(path)) return NONE
    const value = from.get(path)
    return marked(sensitive, path) ? { kind: 'sensitive', value } : { kind: 'value', value }
  }
  function afterOf(path: string, was: Shown): Shown {
    const now = shown(after, path, change.after_sensitive)
    if (now.kind !== 'none' || gone) return now
    if (later.some((one) => path === one || path.startsWith(`${one}.`))) return { kind: 'unknown' }
    if (OBSERVED.has(path.split('.')[0] ?? '')) return was
    // An address range that the manifest leaves open stays the one that was chosen.
    return type === 'network' && path === 'subnet' && verb === 'update' ? was : now
  }
  const paths = new Set([...before.keys(), ...after.keys(), ...later])
  return [...paths]
    .map((path) => {
      const was = shown(before, path, change.before_sensitive)
      const will = afterOf(path, was)
      return { path, before: was, after: will, same: text(was) === text(will), forces: [...forced].some((one) => path === one || path.startsWith(`${one}.`)) }
    })
    .sort((a, b) => Number(b.forces) - Number(a.forces) || a.path.localeCompare(b.path, 'en'))
}

function alike(rows: Row[]): string {
  return JSON.stringify(rows.filter((row) => !OWN.has(row.path)))
}

function together(told: Told, next: Told): void {
  told.names.push(...next.names)
  told.rows = told.rows.map((row) => {
    if (!OWN.has(row.path)) return row
    const differ = (shown: Shown): Shown => (shown.kind === 'value' ? { kind: 'differs' } : shown)
    return { ...row, before: differ(row.before), after: differ(row.after) }
  })
}

export function groupsOf(changes: readonly ResourceChange[]): KindGroup[] {
  const groups = new Map<string, KindGroup>()
  const bundles = new Map<string, Told>()
  for (const change of changes) {
    const verb = verbOf(change)
    const rows = rowsOf(change)
    const told: Told = { address: change.address, names: [change.name], verb, reason: change.action_reason ?? undefined, rows }
    let group = groups.get(change.type)
    if (!group) groups.set(change.type, (group = { kind: change.type, told: [], size: 0 }))
    group.size += 1
    const key = change.type === 'machine' ? `${verb} ${told.reason ?? ''} ${alike(rows)}` : change.address
    const same = bundles.get(key)
    if (same) together(same, told)
    else {
      bundles.set(key, told)
      group.told.push(told)
    }
  }
  const place = (kind: string): number => (ORDER.includes(kind) ? ORDER.indexOf(kind) : ORDER.length)
  return [...groups.values()].sort((a, b) => place(a.kind) - place(b.kind))
}

/** What an apply of these changes takes away, for the question that is asked before. */
export function takenAway(changes: readonly ResourceChange[]): { deleted: string[]; replaced: string[] } {
  const of = (verb: Verb): string[] => changes.filter((change) => verbOf(change) === verb).map((change) => change.address)
  return { deleted: of('delete'), replaced: of('replace') }
}

/** `web-1 … web-4` for names that are numbered without a gap; all of them otherwise. */
export function namesText(names: readonly string[]): string {
  const numbered = names.map((name) => /^(.*-)(\d+)$/.exec(name))
  const stem = numbered[0]?.[1]
  const numbers = numbered.map((match) => (match && match[1] === stem ? Number(match[2]) : Number.NaN)).sort((a, b) => a - b)
  const whole = names.length > 2 && numbers.every((number, index) => number === (numbers[0] ?? 0) + index)
  return whole ? `${stem}${numbers[0]} … ${stem}${numbers.at(-1)}` : names.join(', ')
}
