// What a host leads to, as one edits it.
import type { Schemas } from '@/api/client'

export interface PathDraft {
  path: string
  targets: { backend: string; weight: number }[]
}

export interface RouteDraft {
  paths: PathDraft[]
  redirect: boolean
  hsts: number
  maxBody: number
  rate: number
}

export const YEAR_S = 31_536_000

export function draftOf(route: Schemas['Route'] | undefined): RouteDraft {
  const paths = Object.entries(route?.paths ?? { '/': [{ backend: '', weight: 100 }] })
  return {
    paths: paths.sort(([a], [b]) => a.localeCompare(b)).map(([path, targets]) => ({ path, targets: targets.map((one) => ({ backend: one.backend, weight: one.weight })) })),
    redirect: route?.redirect_https ?? true,
    hsts: route?.hsts ?? YEAR_S,
    maxBody: route?.max_body ?? 0,
    rate: route?.rate ?? 0,
  }
}

export function putOf(draft: RouteDraft, maintenance: boolean): Schemas['RoutePut'] {
  return {
    paths: Object.fromEntries(draft.paths.map(({ path, targets }) => [path.trim(), targets])),
    maintenance,
    redirect_https: draft.redirect,
    hsts: draft.hsts,
    max_body: draft.maxBody,
    rate: draft.rate,
  }
}

export const putOfRoute = (route: Schemas['Route'], maintenance: boolean): Schemas['RoutePut'] => putOf(draftOf(route), maintenance)

/** Two rows of one path would silently become one. */
export function twice(draft: RouteDraft): string | undefined {
  const seen = new Set<string>()
  for (const { path } of draft.paths) {
    if (seen.has(path.trim())) return path.trim()
    seen.add(path.trim())
  }
  return undefined
}

export const sameDraft = (a: RouteDraft, b: RouteDraft): boolean => JSON.stringify(a) === JSON.stringify(b)
