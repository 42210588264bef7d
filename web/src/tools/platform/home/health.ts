// How a project is, from a bounded number of readings: the same few whatever its size.
import { all, api, good, type Schemas } from '@/api/client'
import { Problem } from '@/api/problem'
import type { Pool } from './pool'

/** Of projects with more machines not all states are read; those that failed always are. */
const COUNTED = 200
/** Drift compares every resource: not for a glance at a project of thousands. */
const COMPARED = 1000
/** Of what is shown one by one. */
const LISTED = 100

export interface ProjectHealth {
  name: string
  project: Schemas['Project']
  machines: {
    total: number
    /** Undefined where they were not counted. */
    running: number | undefined
    failed: Schemas['Machine'][]
    /** There are more failed ones than were read. */
    failedMore: boolean
    unhealthy: Schemas['Machine'][]
  }
  /** Undefined: not permitted to see. */
  apps: Schemas['App'][] | undefined
  certificates: Schemas['Certificate'][] | undefined
  /** Addresses of what differs from what was applied. */
  drift: string[] | undefined
}

/** What one may not see, or is not there, is not shown; any other failure is one. */
async function visible<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading
  } catch (thrown) {
    const problem = Problem.from(thrown)
    if (problem.isForbidden || problem.isMissing) return undefined
    throw thrown
  }
}

export async function readHealth(name: string, through: Pool): Promise<ProjectHealth> {
  const path = { project: name }
  const read = <T>(work: () => Promise<T>): Promise<T | undefined> => visible(through.run(work))
  const project = await through.run(() => good(api.GET('/api/v1/projects/{project}', { params: { path } })))
  const total = project.usage.machines
  const machines = (query: { limit: number; state?: string }) => good(api.GET('/api/v1/projects/{project}/machines', { params: { path, query } }))
  const few = total <= COUNTED
  const [listed, apps, certificates, drift] = await Promise.all([
    read(() => (few ? machines({ limit: COUNTED + 1 }) : machines({ limit: LISTED, state: 'failed' }))),
    read(() => all((query) => api.GET('/api/v1/projects/{project}/apps', { params: { path, query } }), LISTED)),
    read(() => all((query) => api.GET('/api/v1/projects/{project}/certificates', { params: { path, query } }), 1000)),
    total <= COMPARED ? read(() => good(api.GET('/api/v1/projects/{project}/drift', { params: { path } }))) : undefined,
  ])
  const items = listed?.items ?? []
  return {
    name,
    project,
    machines: {
      total,
      running: few && listed ? items.filter((machine) => machine.state === 'started').length : undefined,
      failed: items.filter((machine) => machine.state === 'failed'),
      failedMore: !few && Boolean(listed?.next_page),
      unhealthy: items.filter((machine) => machine.state === 'started' && !machine.healthy),
    },
    apps,
    certificates,
    drift: drift?.resource_drift.map((one) => one.address),
  }
}
