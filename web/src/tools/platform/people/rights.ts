// Who may do what where, out of the roles that are held: the policy's own words (crates/policy), for a look at all at once. What
// decides is the platform, which explains each single answer.
import type { Schemas } from '@/api/client'

export const ROLES = ['owner', 'maintainer', 'operator', 'developer', 'auditor', 'viewer'] as const
export type Role = (typeof ROLES)[number]

/** Each role with those it stands on. */
const STANDS_ON: Record<Role, readonly Role[]> = {
  owner: ['maintainer', 'auditor'],
  maintainer: ['operator'],
  operator: ['developer'],
  developer: ['viewer'],
  auditor: ['viewer'],
  viewer: [],
}

/** The group of actions that a role itself is given. */
const GROUP: Record<Role, string> = {
  owner: 'own',
  maintainer: 'maintain',
  operator: 'operate',
  developer: 'deploy',
  auditor: 'audit',
  viewer: 'read',
}

type Action = Pick<Schemas['PolicyAction'], 'name' | 'group'>
type Membership = Pick<Schemas['Membership'], 'role' | 'scope' | 'subject'>
type Custom = Pick<Schemas['CustomRole'], 'name' | 'permissions'>

export function isBuiltIn(role: string): role is Role {
  return (ROLES as readonly string[]).includes(role)
}

function groups(role: Role): Set<string> {
  return new Set([GROUP[role], ...STANDS_ON[role].flatMap((below) => [...groups(below)])])
}

/** Whether a word covers an action: the action itself, all of a kind (`machine.*`), a group, or `*`. */
export function covers(word: string, action: Action): boolean {
  if (word === '*' || word === action.name || word === action.group) return true
  return word.endsWith('.*') && action.name.startsWith(word.slice(0, -1))
}

export function permits(role: string, action: Action, custom: readonly Custom[]): boolean {
  if (isBuiltIn(role)) return groups(role).has(action.group)
  return custom.find((one) => one.name === role)?.permissions.some((word) => covers(word, action)) ?? false
}

/** The scopes whose roles count at a project. */
export function scopesAt(project: string, owner: Pick<Schemas['ProjectOwner'], 'team' | 'organisation'> | undefined, organisation: string): string[] {
  return [owner?.organisation ?? organisation, ...(owner ? [owner.team] : []), `project/${project}`]
}

/** The roles of somebody that permit an action where these scopes count. */
export function rolesThatPermit(memberships: readonly Membership[], subject: string, scopes: readonly string[], action: Action, custom: readonly Custom[]): Membership[] {
  return memberships.filter((one) => one.subject === subject && scopes.includes(one.scope) && permits(one.role, action, custom))
}

/** The roles that somebody who holds these may give: owners all, maintainers the built-in ones below their own. */
export function givable(isOwner: boolean, custom: readonly Custom[]): string[] {
  return isOwner ? [...ROLES, ...custom.map((one) => one.name)] : ROLES.filter((role) => role !== 'owner')
}
