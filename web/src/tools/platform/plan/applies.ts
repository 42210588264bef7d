// What an apply does just now, counted and sorted for a person who watches it.
import type { Schemas } from '@/api/client'

export type Apply = Schemas['Apply']
export type Step = Schemas['ApplyStep']

export interface Numbered extends Step {
  /** Its place in the apply; steps have no name of their own. */
  number: number
}

export interface Watched {
  total: number
  ended: number
  percent: number
  counts: Record<string, number>
  running: Numbered[]
  failed: Numbered[]
  all: Numbered[]
}

const ENDED = ['done', 'failed', 'skipped']

export function watched(apply: Pick<Apply, 'steps' | 'status'>): Watched {
  const all = apply.steps.map((step, index) => ({ ...step, number: index + 1 }))
  const counts: Record<string, number> = {}
  for (const step of all) counts[step.status] = (counts[step.status] ?? 0) + 1
  const ended = all.filter((step) => ENDED.includes(step.status)).length
  const percent = all.length === 0 ? (apply.status === 'running' ? 0 : 100) : Math.floor((100 * ended) / all.length)
  const of = (status: string): Numbered[] => all.filter((step) => step.status === status)
  return { total: all.length, ended, percent, counts, running: of('running'), failed: of('failed'), all }
}

/** `machine.web-1` of a plan is `machine/web-1` of an operation. */
export function objectOf(address: string): string {
  const dot = address.indexOf('.')
  return dot > 0 ? `${address.slice(0, dot)}/${address.slice(dot + 1)}` : address
}

/** The operation that works on a step's resource, for how far it is. */
export function operationOf<T extends { project: string; resources: string[] }>(step: Step, project: string, running: readonly T[]): T | undefined {
  const object = objectOf(step.address)
  return running.find((one) => one.project === project && one.resources.includes(object))
}
