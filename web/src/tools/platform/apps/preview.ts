// Which app is the preview of a branch of another. The API does not say it of an app; its name, source and branch do.
import type { Schemas } from '@/api/client'

type App = Schemas['App']

/** As the platform makes a label of a branch. */
export function slugOf(branch: string): string {
  const text = branch
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .filter(Boolean)
    .join('-')
  return text || 'branch'
}

export function previewName(app: string, branch: string): string {
  return `${app}-${slugOf(branch)}`.slice(0, 40).replace(/-+$/, '')
}

/** Whether a branch is one of a pattern; `*` stands for anything. */
export function fits(pattern: string, branch: string): boolean {
  const parts = pattern.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, String.raw`\$&`))
  return new RegExp(`^${parts.join('.*')}$`, 's').test(branch)
}

function isPreviewOf(app: App, parent: App): boolean {
  const wanted = parent.spec.preview
  if (!wanted || app.name === parent.name || app.spec.preview) return false
  const { repository, git, branch = 'main' } = app.spec.source
  const same = (repository ?? null) === (parent.spec.source.repository ?? null) && (git ?? null) === (parent.spec.source.git ?? null)
  return same && app.name === previewName(parent.name, branch) && wanted.branches.some((pattern) => fits(pattern, branch))
}

export const previewParent = (app: App, apps: readonly App[]): App | undefined => apps.find((parent) => isPreviewOf(app, parent))
export const previewsOf = (parent: App, apps: readonly App[]): App[] => apps.filter((app) => isPreviewOf(app, parent))

/** Where a preview answers. */
export const previewHost = (preview: App, parent: App): string =>
  `${preview.name}.${parent.spec.preview?.domain ?? `${parent.project}.localhost`}`
