// Which tab is open stands in the address: it can be linked to, and the browser's way back works.
import { computed, type WritableComputedRef } from 'vue'
import { useRoute, useRouter } from 'vue-router'

/** The first is the one that is open when the address names none. `also` are parameters that belong to a tab and go with it. */
export function useTab<T extends string>(tabs: () => readonly T[], also: readonly string[] = []): WritableComputedRef<T> {
  const route = useRoute()
  const router = useRouter()
  return computed({
    get: () => {
      const known = tabs()
      return known.find((tab) => tab === route.query['tab']) ?? (known[0] as T)
    },
    set: (tab) => {
      const rest = Object.fromEntries(Object.entries(route.query).filter(([key]) => !also.includes(key)))
      void router.push({ query: { ...rest, tab } })
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
