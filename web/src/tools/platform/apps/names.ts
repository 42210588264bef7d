// The names of those whom the API names by id alone, for who may see who belongs; the id otherwise.
import { computed } from 'vue'
import { all, api } from '@/api/client'
import { useQuery } from '@/api/query'
import { useSession } from '@/session/store'

export function useNames(): (id: string | null | undefined) => string {
  const session = useSession()
  const may = computed(() => session.may('people.read'))
  const read = useQuery(
    async () => {
      if (!may.value) return []
      const [people, accounts] = await Promise.all([
        all((query) => api.GET('/api/v1/people', { params: { query } }), 5000),
        all((query) => api.GET('/api/v1/service-accounts', { params: { query } }), 5000),
      ])
      return [...people, ...accounts]
    },
    { of: may },
  )
  const names = computed(() => {
    const map = new Map((read.data.value ?? []).map((one) => [one.id, one.name]))
    if (session.who) map.set(session.who.id, session.who.name)
    return map
  })
  return (id) => (id ? (names.value.get(id) ?? id) : '')
}
