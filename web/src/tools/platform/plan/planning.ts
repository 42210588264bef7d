// A manifest on its way to a plan: what is written, whether the API takes it, and the plan it makes of it.
import { onScopeDispose, reactive, ref, shallowRef, watch, type Ref, type ShallowRef } from 'vue'
import { api, good, type Schemas } from '@/api/client'
import { Problem } from '@/api/problem'
import { sourceOf, type Source } from './files'
import { sourcesOf } from './toml'

export type Plan = Schemas['Plan']

export interface Draft {
  text: string
  file: string
  sources: Record<string, string>
  locks: Record<string, string>
  /** Takes newer packages than the locks name. */
  newest: boolean
  /** Where it came from; the person's own once they changed it. */
  from: 'stack' | 'example' | 'own'
}

export type Check = { state: 'none' | 'checking' } | { state: 'good'; counts: Plan['counts'] } | { state: 'bad'; problem: Problem }

/** A person pauses this long before what they wrote is looked at. */
const PAUSE = 900

/** What was written and not applied outlives a look at another screen, in memory alone. By person and project. */
const drafts = new Map<string, Draft>()

export interface Planning {
  draft: Draft
  /** Something stands in the draft. */
  ready: Ref<boolean>
  check: ShallowRef<Check>
  plan: ShallowRef<Plan | undefined>
  /** The manifest was changed after its plan was made. */
  outdated: Ref<boolean>
  begin: (draft: Draft) => void
  source: () => Source
  make: () => Promise<void>
  destroy: (source: Source) => Promise<void>
  forget: () => void
}

export function example(project: string): Draft {
  const text = `project = "${project}"

[network.backend]
egress = "none"

[image.web]
distribution = "debian"
release = "trixie"
packages = ["nginx-light"]

[machine.web]
count = 2
image = "web"
network = "backend"
memory = "512 MiB"
health = { http = "/" }
`
  return { text, file: 'hafen.toml', sources: {}, locks: {}, newest: false, from: 'example' }
}

export function usePlanning(person: string, project: string, mayPlan: () => boolean): Planning {
  const key = `${person} ${project}`
  const kept = drafts.get(key)
  const draft = reactive<Draft>(kept ?? { ...example(project), text: '' })
  const ready = ref(kept !== undefined)
  const check = shallowRef<Check>({ state: 'none' })
  const plan = shallowRef<Plan>()
  const outdated = ref(false)
  let timer: ReturnType<typeof setTimeout> | undefined
  let running: AbortController | undefined

  function source(): Source {
    return sourceOf(draft.text, draft.file, draft.sources, draft.newest ? {} : draft.locks, sourcesOf(draft.text))
  }

  function ask(body: Schemas['PlanCreate'], signal?: AbortSignal): Promise<Plan> {
    return good(api.POST('/api/v1/projects/{project}/plans', { params: { path: { project } }, body, ...(signal ? { signal } : {}) }))
  }

  async function look(): Promise<void> {
    if (!mayPlan() || draft.text.trim() === '') return
    running?.abort()
    const mine = new AbortController()
    running = mine
    check.value = { state: 'checking' }
    try {
      const made = await ask(source(), mine.signal)
      if (running === mine) check.value = { state: 'good', counts: made.counts }
    } catch (thrown) {
      if (running === mine && !mine.signal.aborted) check.value = { state: 'bad', problem: Problem.from(thrown) }
    }
  }

  watch(draft, () => {
    if (!ready.value) return
    if (draft.from === 'own') drafts.set(key, { ...draft })
    if (plan.value) outdated.value = true
    clearTimeout(timer)
    timer = setTimeout(() => void look(), PAUSE)
  })
  onScopeDispose(() => {
    clearTimeout(timer)
    running?.abort()
    running = undefined
  })

  async function make(): Promise<void> {
    clearTimeout(timer)
    running?.abort()
    running = undefined
    plan.value = undefined
    try {
      plan.value = await ask(source())
      outdated.value = false
      check.value = { state: 'good', counts: plan.value.counts }
    } catch (thrown) {
      const problem = Problem.from(thrown)
      check.value = { state: 'bad', problem }
      throw problem
    }
  }

  async function destroy(from: Source): Promise<void> {
    plan.value = undefined
    plan.value = await ask({ ...from, destroy: true })
    outdated.value = false
  }

  return {
    draft,
    ready,
    check,
    plan,
    outdated,
    source,
    make,
    destroy,
    begin(next) {
      Object.assign(draft, next)
      ready.value = true
    },
    forget() {
      drafts.delete(key)
      plan.value = undefined
    },
  }
}
