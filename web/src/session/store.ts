// Who is signed in, and what they may do where: asked of the API, never guessed.
import { defineStore } from 'pinia'
import { computed, ref, shallowRef } from 'vue'
import { api, good, type Schemas } from '@/api/client'
import { connect, disconnect } from '@/api/live'
import { Problem } from '@/api/problem'

/** Where an action is done: a project by name, or none for the organisation and the platform. */
export type Place = string | undefined

interface Permitted {
  actions: ReadonlySet<string>
  stepUp: ReadonlySet<string>
}

export const useSession = defineStore('session', () => {
  const who = shallowRef<Schemas['Whoami']>()
  /** Why it is not known who is signed in; a 401 is not a problem but an answer. */
  const problem = shallowRef<Problem>()
  const known = ref(false)
  const permitted = shallowRef<ReadonlyMap<string, Permitted>>(new Map())
  const asking = new Map<string, Promise<void>>()

  const signedIn = computed(() => who.value !== undefined)

  async function load(): Promise<void> {
    try {
      who.value = await good(api.GET('/api/v1/whoami'))
      problem.value = undefined
      connect()
    } catch (thrown) {
      const why = Problem.from(thrown)
      if (why.status === 401) who.value = undefined
      problem.value = why.status === 401 ? undefined : why
    }
    known.value = true
  }

  /** Reads what is permitted at a place, once; `may` answers from it. */
  async function learn(place: Place): Promise<void> {
    const key = place ?? ''
    if (permitted.value.has(key)) return
    let running = asking.get(key)
    if (!running) {
      running = ask(key).finally(() => asking.delete(key))
      asking.set(key, running)
    }
    return running
  }

  async function ask(key: string): Promise<void> {
    const query = key ? { project: key } : {}
    let read: Permitted
    try {
      const answer = await good(api.GET('/api/v1/policy/permitted', { params: { query } }))
      read = { actions: new Set([...answer.actions, ...answer.step_up]), stepUp: new Set(answer.step_up) }
    } catch {
      // Nothing is shown that is not known to be permitted.
      read = { actions: new Set(), stepUp: new Set() }
    }
    permitted.value = new Map(permitted.value).set(key, read)
  }

  /** Whether the API would let this person do this, as far as is known; false until it is. */
  function may(action: string, place?: Place): boolean {
    const key = place ?? ''
    const read = permitted.value.get(key)
    if (!read) void learn(place)
    return read?.actions.has(action) ?? false
  }

  function forget(): void {
    who.value = undefined
    permitted.value = new Map()
    disconnect()
  }

  /** Roles may have changed. */
  function forgetPermitted(): void {
    permitted.value = new Map()
  }

  async function signOut(): Promise<void> {
    const mine = (await good(api.GET('/api/v1/sessions'))).items.find((session) => session.current)
    if (mine) await good(api.DELETE('/api/v1/sessions/{session}', { params: { path: { session: mine.id } } }))
    forget()
  }

  return { who, problem, known, signedIn, permitted, load, learn, may, forget, forgetPermitted, signOut }
})
