// What needs a person beyond the projects: services, access, people, oneself. Each is read only where it may be.
import { computed, type ComputedRef, type Ref } from 'vue'
import { all, api, good } from '@/api/client'
import { useQuery } from '@/api/query'
import { useSession } from '@/session/store'
import { readAlerts } from './alerts'
import { ofAlerts, ofOneself, ofPeople, ofStatus, type Item } from './attention'

/** Who may see access in none of these is not asked about in a thousand more. */
const FEW = 20

export interface PlatformNeeds {
  items: ComputedRef<Item[]>
  /** What could not be read: `status`, `people`, `alerts`. */
  failed: ComputedRef<string[]>
  refresh: () => void
}

export function usePlatformNeeds(projects: Ref<readonly string[]>): PlatformNeeds {
  const session = useSession()
  const mayStatus = computed(() => session.may('platform.read'))
  const mayPeople = computed(() => session.may('people.read'))
  const mayAccess = computed(() => session.may('access.read') || projects.value.slice(0, FEW).some((name) => session.may('access.read', name)))

  const status = useQuery(async () => (mayStatus.value ? await good(api.GET('/api/v1/status')) : undefined), { of: mayStatus, on: () => false, everyMs: 15_000 })
  const people = useQuery(async () => (mayPeople.value ? await all((query) => api.GET('/api/v1/people', { params: { query } })) : []), {
    of: mayPeople,
    on: (change) => change.kind.startsWith('person.') || change.kind.startsWith('passkey.') || change.kind.startsWith('totp.'),
  })
  const alerts = useQuery(async () => (mayAccess.value ? await readAlerts() : []), { of: mayAccess, on: (change) => change.kind.startsWith('alert.') })

  const items = computed(() => {
    const factors = (session.who as { factors?: string[] } | undefined)?.factors
    return [
      ...(status.data.value ? ofStatus(status.data.value) : []),
      ...ofAlerts(alerts.data.value ?? [], new Date()),
      ...ofPeople(people.data.value ?? []),
      ...(session.who?.kind === 'person' ? ofOneself(factors) : []),
    ]
  })
  const sources = { status, people, alerts }
  const failed = computed(() => Object.entries(sources).flatMap(([name, query]) => (query.problem.value && !query.problem.value.isForbidden ? [name] : [])))
  const refresh = (): void => Object.values(sources).forEach((query) => void query.refresh())
  return { items, failed, refresh }
}
