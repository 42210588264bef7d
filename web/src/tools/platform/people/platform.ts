// What spans all tenants is for who answers for the platform; the policy's answer, which is about one organisation, does not tell.
import { computed, type ComputedRef } from 'vue'
import { api, good, type Schemas } from '@/api/client'
import { type Query, useQuery } from '@/api/query'
import { useSession } from '@/session/store'

export function useOrganisations(): Query<Schemas['Organisation'][]> {
  return useQuery(async () => (await good(api.GET('/api/v1/organisations', { params: { query: { limit: 1000 } } }))).items, {
    on: (change) => change.kind.startsWith('organisation.'),
  })
}

/** `may(action)` of what is for owners and auditors of the platform. */
export function usePlatform(): { own: ComputedRef<boolean>; may: (action: string) => boolean } {
  const session = useSession()
  const own = computed(() => session.who?.platform ?? false)
  return { own, may: (action) => own.value && session.may(action) }
}
