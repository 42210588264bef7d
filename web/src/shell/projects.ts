// The projects one may see, for the shell's picker, the palette and whatever needs to choose one.
import { defineStore } from 'pinia'
import { shallowRef } from 'vue'
import { all, api, type Schemas } from '@/api/client'
import { onChange } from '@/api/live'
import { Problem } from '@/api/problem'

export const useProjects = defineStore('projects', () => {
  const items = shallowRef<Schemas['Project'][]>([])
  const known = shallowRef(false)
  const problem = shallowRef<Problem>()

  async function load(): Promise<void> {
    try {
      items.value = await all((query) => api.GET('/api/v1/projects', { params: { query } }))
      problem.value = undefined
      known.value = true
    } catch (thrown) {
      problem.value = Problem.from(thrown)
    }
  }

  let calm: ReturnType<typeof setTimeout> | undefined
  onChange((change) => {
    if (change && !change.kind.startsWith('project.')) return
    calm ??= setTimeout(() => {
      calm = undefined
      void load()
    }, 300)
  })
  return { items, known, problem, load }
})
