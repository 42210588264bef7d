// Who there is in an organisation: one's own, or, for owners of the platform, the one that `?org=` names.
import { computed, type ComputedRef } from 'vue'
import { useRoute } from 'vue-router'
import { all, api, good, type Schemas } from '@/api/client'
import type { Change } from '@/api/live'
import { type Query, useQuery } from '@/api/query'
import { useSession } from '@/session/store'

export interface Directory {
  /** Its id, where one is named; else it is the reader's own. */
  organisation?: string | undefined
  people: Schemas['Person'][]
  accounts: Schemas['ServiceAccount'][]
  workloads: Schemas['WorkloadIdentity'][]
  teams: Schemas['Team'][]
  owners: Schemas['ProjectOwner'][]
  memberships: Schemas['Membership'][]
  roles: Schemas['CustomRole'][]
}

export const ofIdentity = (change: Change): boolean => change.service === 'identity'

/** The query that names the organisation. */
export function useOrganisation(): ComputedRef<{ organisation?: string }> {
  const route = useRoute()
  return computed(() => (typeof route.query['org'] === 'string' && route.query['org'] !== '' ? { organisation: route.query['org'] } : {}))
}

async function read(organisation: { organisation?: string }): Promise<Directory> {
  const named = organisation.organisation
  const [id, people, accounts, workloads, teams, owners, memberships, roles] = await Promise.all([
    named === undefined ? undefined : good(api.GET('/api/v1/organisations/{organisation}', { params: { path: { organisation: named } } })).then((one) => one.id),
    all((page) => api.GET('/api/v1/people', { params: { query: { ...page, ...organisation } } })),
    all((page) => api.GET('/api/v1/service-accounts', { params: { query: { ...page, ...organisation } } })),
    good(api.GET('/api/v1/workload-identities', { params: { query: organisation } })).then(({ items }) => items),
    all((page) => api.GET('/api/v1/teams', { params: { query: { ...page, ...organisation } } })),
    all((page) => api.GET('/api/v1/project-owners', { params: { query: { ...page, ...organisation } } })),
    all((page) => api.GET('/api/v1/memberships', { params: { query: { ...page, ...organisation } } })),
    good(api.GET('/api/v1/roles', { params: { query: organisation } })).then(({ items }) => items),
  ])
  return { organisation: id, people, accounts, workloads, teams, owners, memberships, roles }
}

export function useDirectory(): Query<Directory> {
  const organisation = useOrganisation()
  return useQuery(() => read(organisation.value), { of: organisation, on: ofIdentity })
}

/** The id of the organisation that is looked at, as scopes name it; a new one has no people and teams that could tell. */
export function organisationOf(directory: Directory, own: string | undefined): string {
  return directory.organisation ?? directory.people[0]?.organisation ?? directory.teams[0]?.organisation ?? own ?? ''
}

export interface Names {
  /** A person or account, by id. */
  subject: (id: string) => string
  /** `org-…`, `team-…` or `project/NAME`, as `kind` and name. */
  scope: (scope: string) => { kind: 'organisation' | 'team' | 'project'; name: string }
}

export function namesOf(directory: Directory): Names {
  const subjects = new Map<string, string>()
  for (const one of directory.people) subjects.set(one.id, one.name || one.login)
  for (const one of directory.accounts) subjects.set(one.id, one.name)
  for (const one of directory.workloads) subjects.set(one.id, one.name)
  const teams = new Map(directory.teams.map((team) => [team.id, team.title || team.name]))
  return {
    subject: (id) => subjects.get(id) ?? id,
    scope: (scope) => {
      if (scope.startsWith('project/')) return { kind: 'project', name: scope.slice('project/'.length) }
      if (scope.startsWith('team-')) return { kind: 'team', name: teams.get(scope) ?? scope }
      return { kind: 'organisation', name: '' }
    },
  }
}

/** Whether the reader is an owner here: what only owners give and change. */
export function useOwner(): ComputedRef<boolean> {
  const session = useSession()
  return computed(() => session.may('organisation.write'))
}

/** The header by which a change of what somebody else changed meanwhile is refused. */
export function ifMatch(seen: { generation: number }): { 'if-match': string } {
  return { 'if-match': `"g${seen.generation}"` }
}
