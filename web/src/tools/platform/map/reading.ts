// Reads all that the map shows, each part for itself: what may not be read, or fails, leaves the rest of the picture standing.
import { all, api, type Schemas } from '@/api/client'
import { Problem } from '@/api/problem'
import type { Read } from './model'

export const PARTS = ['networks', 'machines', 'apps', 'routes', 'backends', 'publications'] as const
export type Part = (typeof PARTS)[number]

export interface Found {
  read: Omit<Read, 'rates'>
  missing: Part[]
}

export function readBackends(project: string, signal: AbortSignal): Promise<Schemas['Backend'][]> {
  return all((query) => api.GET('/api/v1/projects/{project}/backends', { params: { path: { project }, query }, signal }))
}

export async function readMap(project: string, signal: AbortSignal): Promise<Found> {
  const path = { project }
  const lists = await Promise.allSettled([
    all((query) => api.GET('/api/v1/projects/{project}/networks', { params: { path, query }, signal })),
    all((query) => api.GET('/api/v1/projects/{project}/machines', { params: { path, query }, signal })),
    all((query) => api.GET('/api/v1/projects/{project}/apps', { params: { path, query }, signal })),
    all((query) => api.GET('/api/v1/projects/{project}/routes', { params: { path, query }, signal })),
    readBackends(project, signal),
    all((query) => api.GET('/api/v1/projects/{project}/publications', { params: { path, query }, signal })),
  ])
  const failed = lists.filter((list) => list.status === 'rejected').map((list) => Problem.from(list.reason))
  // With nothing at all there is no picture: why, is told in its place.
  const first = failed.find((problem) => problem.isOffline) ?? (failed.length === lists.length ? failed[0] : undefined)
  if (first) throw first
  const [networks, machines, apps, routes, backends, publications] = lists
  const of = <T>(list: PromiseSettledResult<T[]>): T[] => (list.status === 'fulfilled' ? list.value : [])
  return {
    read: { project, networks: of(networks), machines: of(machines), apps: of(apps), routes: of(routes), backends: of(backends), publications: of(publications) },
    missing: PARTS.filter((_, index) => lists[index]?.status === 'rejected'),
  }
}
