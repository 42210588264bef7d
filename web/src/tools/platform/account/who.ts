// What is known of oneself. Newer platforms tell more of it than older ones.
import type { Schemas } from '@/api/client'

export type Who = Schemas['Whoami'] & {
  login?: string | null
  organisation_name?: string
  organisation_title?: string
  factors?: string[]
}

/** Whether a way to sign in is set up; undefined where it is not told. */
export function has(who: Who, factor: string): boolean | undefined {
  return who.factors?.includes(factor)
}

export interface Held {
  id: string
  role: string
  /** `project`, `team` or `organisation`. */
  of: string
  where: string
}

/** Where a role is held, as people say it. */
export function heldOf(roles: Schemas['Held'][]): Held[] {
  return roles.map(({ role, scope }) => {
    const of = scope.startsWith('project/') ? 'project' : scope.startsWith('team') ? 'team' : 'organisation'
    return { id: `${role}@${scope}`, role, of, where: of === 'organisation' ? '' : scope.replace(/^(project|team)\//, '') }
  })
}
