// What stands in the address: which tab is open, and what is open within it. So it can be linked to, and a reload shows the same.
import { computed, type WritableComputedRef } from 'vue'
import { useRoute, useRouter } from 'vue-router'

/**
 * The first is the one that is open when the address names none. Another tab leaves nothing in the history, and of the other
 * parameters those that hold for all tabs.
 */
export function useTab<T extends string>(tabs: () => readonly T[], holds: readonly string[] | 'all' = []): WritableComputedRef<T> {
  const route = useRoute()
  const router = useRouter()
  return computed({
    get: () => {
      const known = tabs()
      return known.find((tab) => tab === route.query['tab']) ?? (known[0] as T)
    },
    set: (tab) => {
      const rest = Object.fromEntries(Object.entries(route.query).filter(([key]) => key !== 'tab' && (holds === 'all' || holds.includes(key))))
      void router.replace({ query: tab === tabs()[0] ? rest : { ...rest, tab } })
    },
  })
}

/** One parameter of the address, such as what is open within a tab. */
export function useParameter(name: string): WritableComputedRef<string | undefined> {
  const route = useRoute()
  const router = useRouter()
  return computed({
    get: () => {
      const value = route.query[name]
      return typeof value === 'string' && value !== '' ? value : undefined
    },
    set: (value) => {
      const rest = Object.fromEntries(Object.entries(route.query).filter(([key]) => key !== name))
      void router.push({ query: value ? { ...rest, [name]: value } : rest })
    },
  })
}
