// What a project uses of what it may.
import type { Schemas } from '@/api/client'

export const MEASURES = ['machines', 'cpus', 'memory', 'disk'] as const
export type Measure = (typeof MEASURES)[number]
export const GIB = 1024 ** 3

export interface Use {
  measure: Measure
  used: number
  limit: number
  /** 0 to 100. */
  percent: number
  bytes: boolean
}

export function usesOf(project: Pick<Schemas['Project'], 'quota' | 'usage'>): Use[] {
  return MEASURES.map((measure) => {
    const used = project.usage[measure]
    const limit = project.quota[measure]
    // A limit of nothing is full however little is used.
    const percent = limit === 0 ? 100 : Math.min(100, Math.round((100 * used) / limit))
    return { measure, used, limit, percent, bytes: measure === 'memory' || measure === 'disk' }
  })
}
