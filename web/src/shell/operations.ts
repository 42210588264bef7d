// What runs, for the badge and the drawer.
import { defineStore } from 'pinia'
import { computed, markRaw } from 'vue'
import { api, good } from '@/api/client'
import { useQuery } from '@/api/query'

export const useOperations = defineStore('operations', () => {
  const query = markRaw(useQuery(async () => (await good(api.GET('/api/v1/operations', { params: { query: { limit: 100 } } }))).items, {
    on: () => true,
    everyMs: 30_000,
  }))
  const running = computed(() => (query.data.value ?? []).filter((one) => one.status === 'running'))
  return { query, running }
})
