// What stands in the address: which tab is open, and what is open within it. So it can be linked to, and a reload shows the same.
import { computed, onMounted, watch, type WritableComputedRef } from 'vue'
import { useRoute, useRouter } from 'vue-router'

/** Where there are more tabs than fit, the open one is in sight, whatever led to it. */
function showOpenTab(): void {
  requestAnimationFrame(() => document.querySelector('[role=tab][aria-selected=true]')?.scrollIntoView({ block: 'nearest', inline: 'nearest' }))
}

/**
 * The first is the one that is open when the address names none. Another tab leaves nothing in the history, and of the other
 * parameters those that hold for all tabs.
 */
export function useTab<T extends string>(tabs: () => readonly T[], holds: readonly string[] | 'all' = []): WritableComputedRef<T> {
  const route = useRoute()
  const router = useRouter()
  const open = computed({
    get: () => {
      const known = tabs()
      return known.find((tab) => tab === route.query['tab']) ?? (known[0] as T)
    },
    set: (tab) => {
      const rest = Object.fromEntries(Object.entries(route.query).filter(([key]) => key !== 'tab' && (holds === 'all' || holds.includes(key))))
      void router.replace({ query: tab === tabs()[0] ? rest : { ...rest, tab } })
    },
  })
  onMounted(showOpenTab)
  watch(open, showOpenTab, { flush: 'post' })
  return open
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
