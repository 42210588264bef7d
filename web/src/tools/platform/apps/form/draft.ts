// What is wanted of an app, as the fields of a form; there and back without losing what the form does not show.
import type { Schemas } from '@/api/client'

type AppSpec = Schemas['AppSpec']

export interface Variable {
  name: string
  kind: 'text' | 'secret'
  /** The text, or the name of the secret. */
  value: string
}

export interface Draft {
  from: 'repository' | 'git'
  /** Name of a repository, or a URL. */
  source: string
  branch: string
  /** Name of the secret that opens a private repository elsewhere; empty for none. */
  token: string
  /** Whose it is; empty for `git`. */
  username: string
  on: string
  runs: 'run' | 'static'
  /** A command, or a folder. */
  what: string
  port: number
  replicas: number
  healthPath: string
  strategy: 'rolling' | 'blue-green'
  migrate: string
  builds: boolean
  image: string
  /** A line each. */
  commands: string
  output: string
  cache: string
  buildMinutes: number
  variables: Variable[]
  previews: boolean
  branches: string
  domain: string
  previewDays: number
}

const MINUTE = 60_000
const DAY = 86_400_000
const lines = (text: string): string[] => text.split('\n').map((line) => line.trim()).filter(Boolean)

export function draftOf(spec: AppSpec | undefined): Draft {
  return {
    from: spec?.source.git ? 'git' : 'repository',
    source: spec?.source.git ?? spec?.source.repository ?? '',
    branch: spec?.source.branch ?? 'main',
    token: spec?.source.token?.secret ?? '',
    username: spec?.source.username ?? '',
    on: spec?.on ?? '',
    runs: spec?.static ? 'static' : 'run',
    what: spec?.static ?? spec?.run ?? '',
    port: spec?.port ?? 8080,
    replicas: spec?.replicas ?? 1,
    healthPath: spec?.health?.path ?? '',
    strategy: spec?.strategy ?? 'rolling',
    migrate: spec?.migrate ?? '',
    builds: Boolean(spec?.build),
    image: spec?.build?.image ?? '',
    commands: spec?.build?.run?.join('\n') ?? '',
    output: spec?.build?.output ?? '.',
    cache: spec?.build?.cache?.join('\n') ?? '',
    buildMinutes: (spec?.build?.timeout_ms ?? 10 * MINUTE) / MINUTE,
    variables: Object.entries(spec?.env ?? {}).map(([name, value]) =>
      typeof value === 'string' ? { name, kind: 'text', value } : { name, kind: 'secret', value: value.secret },
    ),
    previews: Boolean(spec?.preview),
    branches: spec?.preview?.branches.join('\n') ?? 'feature/*',
    domain: spec?.preview?.domain ?? '',
    previewDays: (spec?.preview?.expires_ms ?? 7 * DAY) / DAY,
  }
}

function sourceOf({ from, source, branch, token, username }: Draft): AppSpec['source'] {
  const place = { [from]: source.trim(), branch: branch.trim() || 'main' }
  // Neither goes with a repository here; a name goes with a token only.
  if (from !== 'git' || token.trim() === '') return place
  return { ...place, token: { secret: token.trim() }, ...(username.trim() === '' ? {} : { username: username.trim() }) }
}

/** `before` has what the form leaves alone: how often a process is asked how it is, say. */
export function specOf(draft: Draft, before: AppSpec | undefined): AppSpec {
  const spec: AppSpec = {
    source: sourceOf(draft),
    on: draft.on,
    [draft.runs]: draft.what.trim(),
    port: draft.port,
    replicas: draft.replicas,
    strategy: draft.strategy,
    env: Object.fromEntries(
      draft.variables
        .filter((variable) => variable.name.trim() !== '')
        .map(({ name, kind, value }) => [name.trim(), kind === 'text' ? value : { secret: value }]),
    ),
  }
  if (draft.healthPath.trim()) spec.health = { ...before?.health, path: draft.healthPath.trim() }
  if (draft.migrate.trim()) spec.migrate = draft.migrate.trim()
  if (draft.builds) {
    spec.build = {
      ...before?.build,
      image: draft.image,
      // A command may have spaces at its ends that matter to nobody, but no line is one without text.
      run: lines(draft.commands),
      output: draft.output.trim() || '.',
      cache: lines(draft.cache),
      timeout_ms: Math.round(draft.buildMinutes * MINUTE),
    }
  }
  if (draft.previews) {
    spec.preview = { ...before?.preview, branches: lines(draft.branches), domain: draft.domain.trim() || null, expires_ms: Math.round(draft.previewDays * DAY) }
  }
  return spec
}
