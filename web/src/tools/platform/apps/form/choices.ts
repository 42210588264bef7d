// What a field may name: repositories, images, clusters and secrets of the project, as far as one may see them. Without them one types.
import { ref, type Ref } from 'vue'
import { all, api } from '@/api/client'
import { useSession } from '@/session/store'

export interface Choices {
  repositories: string[]
  images: string[]
  /** Clusters, and machines by themselves. */
  places: string[]
  secrets: string[]
}

export function useChoices(project: () => string): { choices: Ref<Choices>; load: () => Promise<void> } {
  const session = useSession()
  const choices = ref<Choices>({ repositories: [], images: [], places: [], secrets: [] })

  async function load(): Promise<void> {
    const path = { project: project() }
    const read = async <T>(needs: string, list: () => Promise<T[]>): Promise<T[]> => (session.may(needs, path.project) ? list().catch(() => []) : [])
    const [repositories, images, machines, secrets] = await Promise.all([
      read('repository.read', () => all((query) => api.GET('/api/v1/projects/{project}/repositories', { params: { path, query } }))),
      read('image.read', () => all((query) => api.GET('/api/v1/projects/{project}/images', { params: { path, query } }))),
      read('machine.read', () => all((query) => api.GET('/api/v1/projects/{project}/machines', { params: { path, query } }))),
      read('secret.list', () => all((query) => api.GET('/api/v1/projects/{project}/secrets', { params: { path, query } }))),
    ])
    const names = (list: { name: string }[]): string[] => [...new Set(list.map((one) => one.name))].sort()
    choices.value = {
      repositories: names(repositories),
      images: names(images),
      places: [...new Set(machines.map((machine) => machine.group ?? machine.name))].sort(),
      secrets: names(secrets),
    }
  }
  return { choices, load }
}
