// The actions there are: they come with the platform's version, so one reading is enough.
import { api, good, type Schemas } from '@/api/client'
import { type Query, useQuery } from '@/api/query'

export function useActions(): Query<Schemas['PolicyAction'][]> {
  return useQuery(async () => (await good(api.GET('/api/v1/policy/actions'))).items)
}

/** Groups of the policy, from the least right to the most. */
export const GROUPS = ['self', 'read', 'audit', 'deploy', 'operate', 'maintain', 'own'] as const

export interface WordChoice {
  value: string
  /** For a person; the word itself where there is nothing to tell. */
  tells: string
}

export interface WordGroup {
  group: string
  items: WordChoice[]
}

/** The words that scopes and roles are made of: groups, all of a kind, single actions. */
export function wordsOf(actions: readonly Schemas['PolicyAction'][]): { groups: string[]; kinds: string[]; single: WordChoice[] } {
  const groups = GROUPS.filter((group) => group !== 'self' && actions.some((action) => action.group === group))
  const count = new Map<string, number>()
  for (const { name } of actions) {
    const kind = name.split('.')[0] ?? name
    count.set(kind, (count.get(kind) ?? 0) + 1)
  }
  return {
    groups: [...groups],
    kinds: [...count].filter(([, n]) => n > 1).map(([kind]) => `${kind}.*`),
    single: actions.map(({ name, tells }) => ({ value: name, tells })),
  }
}
