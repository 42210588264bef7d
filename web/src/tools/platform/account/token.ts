// What tokens may be limited to, and which of them still open something.
import type { Schemas } from '@/api/client'

export const opens = (status: string): boolean => status === 'active' || status === 'rotating'

export interface Scope {
  value: string
  /** `group`, `all` or `action`. */
  kind: 'group' | 'all' | 'action'
  /** What it lets one do; of single actions only. */
  tells: string
}

/** Groups first, then all of a kind, then single actions. */
export function scopesOf(actions: readonly Schemas['PolicyAction'][]): Scope[] {
  const groups = [...new Set(actions.map((action) => action.group))]
  const kinds = new Map<string, number>()
  for (const { name } of actions) {
    const kind = name.split('.')[0] ?? name
    kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
  }
  return [
    ...groups.map((value): Scope => ({ value, kind: 'group', tells: '' })),
    ...[...kinds].filter(([, count]) => count > 1).map(([kind]): Scope => ({ value: `${kind}.*`, kind: 'all', tells: '' })),
    ...actions.map(({ name, tells }): Scope => ({ value: name, kind: 'action', tells })),
  ]
}
