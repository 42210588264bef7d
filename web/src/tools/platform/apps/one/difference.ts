// What differs between two releases, as rows that a person reads before going back.
import type { Schemas } from '@/api/client'

export interface Difference {
  /** Where, as `build.image` or `env.LOG`. */
  field: string
  /** None where it is not there. */
  before: string | undefined
  after: string | undefined
}

function flat(value: unknown, at: string, into: Map<string, string>): void {
  if (value === null || value === undefined) return
  if (Array.isArray(value)) {
    if (value.length > 0) into.set(at, value.map((one) => (typeof one === 'object' ? JSON.stringify(one) : String(one))).join('\n'))
  } else if (typeof value === 'object') {
    for (const [key, inner] of Object.entries(value)) flat(inner, at === '' ? key : `${at}.${key}`, into)
  } else into.set(at, String(value))
}

/** What is wanted of an app, field by field, in the order in which it is written. */
export function fields(spec: Schemas['AppSpec']): { field: string; value: string }[] {
  const into = new Map<string, string>()
  flat(spec, '', into)
  return [...into].map(([field, value]) => ({ field, value }))
}

/** How many processes there are is no matter of a release: going back leaves their number as it is. */
const APART = new Set(['replicas'])

export function differences(before: Schemas['AppSpec'], after: Schemas['AppSpec']): Difference[] {
  const [old, next] = [new Map<string, string>(), new Map<string, string>()]
  flat(before, '', old)
  flat(after, '', next)
  return [...new Set([...old.keys(), ...next.keys()])]
    .filter((field) => !APART.has(field.split('.')[0] ?? '') && old.get(field) !== next.get(field))
    .sort()
    .map((field) => ({ field, before: old.get(field), after: next.get(field) }))
}
