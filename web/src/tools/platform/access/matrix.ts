// Who can reach what, as a table: rows are people and robots, columns are projects.
import type { Schemas } from '@/api/client'
import type { Directory } from '../people/directory'
import { rolesThatPermit, scopesAt } from '../people/rights'

/** The ways in: a shell by SSH, any port and the console of machines, commands where apps run. */
export const WAYS = ['machine.ssh', 'machine.reach', 'app.exec'] as const
export type Way = (typeof WAYS)[number]

export interface MatrixRow {
  id: string
  name: string
  kind: 'person' | 'account' | 'workload'
  suspended: boolean
  /** By project. */
  ways: Record<string, Way[]>
}

export function matrixOf(directory: Directory, projects: readonly string[], actions: readonly Schemas['PolicyAction'][], organisation: string): MatrixRow[] {
  const known = WAYS.flatMap((way) => actions.filter((action) => action.name === way))
  const owners = new Map(directory.owners.map((owner) => [owner.project, owner]))
  const scopes = new Map(projects.map((project) => [project, scopesAt(project, owners.get(project), organisation)]))
  // A workload identity holds its role itself.
  const held = [...directory.memberships, ...directory.workloads.map(({ id, role, scope }) => ({ subject: id, role, scope }))]
  const row = (id: string, name: string, kind: MatrixRow['kind'], suspended: boolean): MatrixRow => {
    const mine = held.filter((one) => one.subject === id)
    const may = (project: string): Way[] =>
      suspended ? [] : known.filter((action) => rolesThatPermit(mine, id, scopes.get(project) ?? [], action, directory.roles).length > 0).map((action) => action.name as Way)
    return { id, name, kind, suspended, ways: Object.fromEntries(projects.map((project) => [project, may(project)])) }
  }
  return [
    ...directory.people.map((one) => row(one.id, one.name || one.login, 'person', one.status !== 'active')),
    ...directory.accounts.map((one) => row(one.id, one.name, 'account', one.status !== 'active')),
    ...directory.workloads.map((one) => row(one.id, one.name, 'workload', false)),
  ]
}
