// Whether the reader answers for the platform as a whole: what spans all tenants is for the people of the first organisation, and
// the policy's answer, which is about one organisation, does not tell.
import { computed, type ComputedRef } from 'vue'
import { api, good, type Schemas } from '@/api/client'
import { type Query, useQuery } from '@/api/query'
import { useSession } from '@/session/store'

/** The organisation that owns the platform. */
const FIRST = 'default'

type Who = Pick<Schemas['Whoami'], 'kind' | 'organisation'> | undefined

export function isPlatforms(who: Who, organisations: readonly Pick<Schemas['Organisation'], 'id' | 'name'>[] | undefined): boolean {
  if (!who) return false
  if (who.kind === 'local_operator' || who.organisation === FIRST) return true
  return organisations?.some((one) => one.name === FIRST && one.id === who.organisation) ?? false
}

export function useOrganisations(): Query<Schemas['Organisation'][]> {
  return useQuery(async () => (await good(api.GET('/api/v1/organisations', { params: { query: { limit: 1000 } } }))).items, {
    on: (change) => change.kind.startsWith('organisation.'),
  })
}

/** `may(action)` of what is for owners and auditors of the platform. */
export function usePlatform(): { own: ComputedRef<boolean>; may: (action: string) => boolean } {
  const session = useSession()
  const organisations = useOrganisations()
  const own = computed(() => isPlatforms(session.who, organisations.data.value))
  return { own, may: (action) => own.value && session.may(action) }
}
