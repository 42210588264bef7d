// The names of those whom the API names by id alone, for who may see who belongs; the id otherwise.
import { computed } from 'vue'
import { all, api, good } from '@/api/client'
import { useQuery } from '@/api/query'
import { useSession } from '@/session/store'

/** With a project, of its hooks too: what they were called with is deployed by them. */
export function useNames(project?: () => string): (id: string | null | undefined) => string {
  const session = useSession()
  const may = computed(() => session.may('people.read'))
  const read = useQuery(
    async () => {
      if (!may.value) return []
      const lists = await Promise.all([
        all((query) => api.GET('/api/v1/people', { params: { query } }), 5000),
        all((query) => api.GET('/api/v1/service-accounts', { params: { query } }), 5000),
        good(api.GET('/api/v1/workload-identities')).then((list) => list.items),
      ])
      return lists.flat()
    },
    { of: may },
  )
  const hooksOf = computed(() => (project && session.may('hook.read', project()) ? project() : undefined))
  const hooks = useQuery(
    async () => {
      const of = hooksOf.value
      return of ? all((query) => api.GET('/api/v1/projects/{project}/hooks', { params: { path: { project: of }, query } }), 5000) : []
    },
    { of: hooksOf, on: (change) => change.project === hooksOf.value && change.kind === 'hook.created' },
  )
  const names = computed(() => {
    const map = new Map((read.data.value ?? []).map((one) => [one.id, one.name]))
    for (const hook of hooks.data.value ?? []) map.set(hook.id, `hook ${hook.name}`)
    if (session.who) map.set(session.who.id, session.who.name)
    return map
  })
  return (id) => (id ? (names.value.get(id) ?? id) : '')
}
