// What the screen of routes reads, each for who may read it.
import type { Ref } from 'vue'
import { all, api, type Schemas } from '@/api/client'
import { useQuery, type Query } from '@/api/query'
import { useSession } from '@/session/store'

export interface RoutesData {
  routes: Query<Schemas['Route'][]>
  backends: Query<Schemas['Backend'][]>
  certificates: Query<Schemas['Certificate'][]>
}

export function useRoutesData(project: Ref<string>): RoutesData {
  const session = useSession()
  const path = (): { project: string } => ({ project: project.value })
  const of = (action: string) => [project, () => session.may(action, project.value)]
  const may = (action: string): boolean => session.may(action, project.value)
  const routes = useQuery(() => all((query) => api.GET('/api/v1/projects/{project}/routes', { params: { path: path(), query } })), {
    of: project,
    on: (change) => change.project === project.value && /^(route|certificate)\./.test(change.kind),
  })
  const backends = useQuery(
    async () => (may('backend.read') ? all((query) => api.GET('/api/v1/projects/{project}/backends', { params: { path: path(), query } })) : []),
    {
      of: of('backend.read'),
      on: (change) => change.project === project.value && /^(backend|app|deployment|machine)\./.test(change.kind),
      // What is under way, and how endpoints are, is in no event.
      everyMs: 4000,
    },
  )
  const certificates = useQuery(
    async () => (may('certificate.read') ? all((query) => api.GET('/api/v1/projects/{project}/certificates', { params: { path: path(), query } })) : []),
    { of: of('certificate.read'), on: (change) => change.project === project.value && /^(certificate|route)\./.test(change.kind) },
  )
  return { routes, backends, certificates }
}

export interface Wellness {
  well: number
  all: number
  inFlight: number
}

/** How many endpoints of a backend take requests now. */
export function wellness(backend: Schemas['Backend'] | undefined): Wellness {
  const endpoints = backend?.endpoints ?? []
  return {
    well: endpoints.filter((one) => one.healthy && !one.ejected && one.state === 'active').length,
    all: endpoints.filter((one) => one.state === 'active').length,
    inFlight: endpoints.reduce((sum, one) => sum + one.in_flight, 0),
  }
}
