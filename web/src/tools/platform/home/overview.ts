// How many projects are, kept fresh: a few readings for each project, six at a time over all of them, and anew only for those in
// which something happened.
import { onScopeDispose, readonly, ref, shallowRef, watch, type Ref, type ShallowRef } from 'vue'
import { onChange } from '@/api/live'
import { readHealth, type ProjectHealth } from './health'
import { pool } from './pool'

const AT_A_TIME = 6
/** Where much happens it is read this often, not more. */
const CALM = 3000
/** What could not be read is tried again. */
const RETRY = 20_000

export interface Overview {
  of: ShallowRef<ReadonlyMap<string, ProjectHealth>>
  /** Projects that could not be read. */
  failed: ShallowRef<ReadonlySet<string>>
  /** Projects that are being read. */
  reading: Readonly<Ref<number>>
  refresh: () => void
}

export function useOverview(names: Ref<readonly string[]>): Overview {
  const of = shallowRef<ReadonlyMap<string, ProjectHealth>>(new Map())
  const failed = shallowRef<ReadonlySet<string>>(new Set())
  const reading = ref(0)
  const through = pool(AT_A_TIME)
  const waiting = new Map<string, ReturnType<typeof setTimeout>>()
  const running = new Set<string>()
  let over = false

  const wanted = (name: string): boolean => !over && names.value.includes(name)

  async function read(name: string): Promise<void> {
    if (running.has(name)) {
      later(name)
      return
    }
    running.add(name)
    reading.value = running.size
    const health = await readHealth(name, through).catch(() => undefined)
    running.delete(name)
    reading.value = running.size
    if (!wanted(name)) return
    if (health) of.value = new Map(of.value).set(name, health)
    const bad = new Set(failed.value)
    if (health) bad.delete(name)
    else bad.add(name)
    failed.value = bad
    // No change tells that it can be read again.
    if (!health) later(name, RETRY)
  }

  function later(name: string, wait = CALM): void {
    if (waiting.has(name)) return
    waiting.set(
      name,
      setTimeout(() => {
        waiting.delete(name)
        if (wanted(name)) void read(name)
      }, wait),
    )
  }

  const refresh = (): void => names.value.forEach((name) => void read(name))

  watch(
    names,
    (now, before) => {
      for (const name of now) if (!before?.includes(name) && !of.value.has(name)) void read(name)
      // What is gone is not spoken of.
      const gone = [...of.value.keys()].filter((name) => !now.includes(name))
      if (gone.length > 0) of.value = new Map([...of.value].filter(([name]) => !gone.includes(name)))
      failed.value = new Set([...failed.value].filter((name) => now.includes(name)))
    },
    { immediate: true },
  )
  const stop = onChange((change) => {
    if (!change) refresh()
    else if (names.value.includes(change.project)) later(change.project)
  })
  onScopeDispose(() => {
    over = true
    stop()
    for (const timer of waiting.values()) clearTimeout(timer)
  })
  return { of, failed, reading: readonly(reading), refresh }
}
