// What runs, for the badge and the drawer.
import { defineStore } from 'pinia'
import { computed, markRaw } from 'vue'
import { api, good, type Schemas } from '@/api/client'
import { useQuery } from '@/api/query'
import { useSession } from '@/session/store'

export const useOperations = defineStore('operations', () => {
  const session = useSession()
  async function load(): Promise<Schemas['Operation'][]> {
    // After a sign-out there is nobody to ask for.
    if (!session.signedIn) return []
    return (await good(api.GET('/api/v1/operations', { params: { query: { limit: 100 } } }))).items
  }
  const query = markRaw(useQuery(load, { on: () => true, everyMs: 30_000 }))
  const running = computed(() => (query.data.value ?? []).filter((one) => one.status === 'running'))
  return { query, running }
})
