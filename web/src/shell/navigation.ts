// What the navigation and the palette offer: never what the API would refuse.
import { computed, type ComputedRef } from 'vue'
import { useRoute } from 'vue-router'
import { useSession } from '@/session/store'
import { tools, type Section, type Tool } from '@/tools'
import { useProjects } from './projects'

/** Each project is a question of its own; whoever may do it in none of these finds it by its address. */
const ASKED = 20

export interface Entry {
  tool: Tool
  section: Section
  to: string
}

export interface Navigation {
  project: ComputedRef<string | undefined>
  entries: ComputedRef<Entry[]>
}

export function useNavigation(): Navigation {
  const route = useRoute()
  const session = useSession()
  const projects = useProjects()
  const project = computed(() => {
    const name = route.params['project']
    return typeof name === 'string' && name !== '' ? name : undefined
  })

  function shown(section: Section): boolean {
    if (section.of === 'project') return project.value !== undefined && (!section.needs || session.may(section.needs, project.value))
    if (!section.needs || session.may(section.needs)) return true
    return (section.anywhere ?? false) && projects.items.slice(0, ASKED).some((one) => session.may(section.needs ?? '', one.name))
  }

  const entries = computed(() =>
    tools.flatMap((tool) =>
      tool.sections.filter(shown).map((section) => ({ tool, section, to: section.to(project.value ?? '') })),
    ),
  )
  return { project, entries }
}
