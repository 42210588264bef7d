// All machines of a project, kept current without reading ten thousand of them anew for each one that changed.
import { onScopeDispose } from 'vue'
import { all, api, good } from '@/api/client'
import { onChange, type Change } from '@/api/live'
import { Problem } from '@/api/problem'
import { useQuery, type Query } from '@/api/query'
import type { Machine } from './row'

/** Shorter lists are read as a whole: that is one request. */
const SHORT = 1000
/** More changes than these at once, and reading everything is cheaper. */
const MANY_CHANGED = 20
const CALM = 300

/** The list with some of its machines read anew; one that is gone is none. */
export function merged(machines: Machine[], read: Map<string, Machine | undefined>): Machine[] {
  const left = new Map(read)
  const next: Machine[] = []
  for (const machine of machines) {
    if (!left.has(machine.name)) next.push(machine)
    else {
      const fresh = left.get(machine.name)
      if (fresh) next.push(fresh)
      left.delete(machine.name)
    }
  }
  for (const fresh of left.values()) if (fresh) next.push(fresh)
  return next
}

export function useMachines(project: () => string): Query<Machine[]> {
  const query: Query<Machine[]> = useQuery(
    () => all((page) => api.GET('/api/v1/projects/{project}/machines', { params: { path: { project: project() }, query: page } })),
    { of: project, on: (change): boolean => concerns(change) && (query.data.value?.length ?? 0) <= SHORT },
  )
  const changed = new Set<string>()
  let timer: ReturnType<typeof setTimeout> | undefined

  function concerns(change: Change): boolean {
    return change.project === project() && change.object.startsWith('machine/')
  }

  async function readChanged(): Promise<void> {
    timer = undefined
    const names = [...changed]
    changed.clear()
    const of = project()
    if (names.length > MANY_CHANGED) return query.refresh()
    const read = new Map<string, Machine | undefined>()
    try {
      await Promise.all(
        names.map(async (machine) => {
          read.set(machine, await good(api.GET('/api/v1/projects/{project}/machines/{machine}', { params: { path: { project: of, machine } } })).catch(missing))
        }),
      )
    } catch {
      // Reading everything says what is wrong, where people see it.
      return query.refresh()
    }
    if (of === project() && query.data.value) query.data.value = merged(query.data.value, read)
  }

  const stop = onChange((change) => {
    if (!change || !concerns(change) || (query.data.value?.length ?? 0) <= SHORT) return
    changed.add(change.object.slice('machine/'.length))
    timer ??= setTimeout(() => void readChanged(), CALM)
  })
  onScopeDispose(() => {
    stop()
    clearTimeout(timer)
  })
  return query
}

function missing(thrown: unknown): undefined {
  if (!Problem.from(thrown).isMissing) throw thrown
}
