// Where an object of an event or operation (`machine/web-1`) is shown; none where no screen shows it.
const PAGES: Record<string, (project: string, name: string) => string> = {
  machine: (project, name) => `/projects/${project}/machines/${name}`,
  app: (project, name) => `/projects/${project}/apps/${name}`,
  deployment: (project, name) => `/projects/${project}/apps/${name.split('/')[0] ?? ''}`,
  build: (project, name) => `/projects/${project}/apps/${name.split('/')[0] ?? ''}`,
  release: (project, name) => `/projects/${project}/apps/${name.split('/')[0] ?? ''}`,
  route: (project) => `/projects/${project}/routes`,
  certificate: (project) => `/projects/${project}/routes`,
  network: (project) => `/projects/${project}`,
  apply: (project) => `/projects/${project}/plan`,
  project: (_project, name) => `/projects/${name}`,
}

export function pageOf(object: string, project: string): string | undefined {
  const cut = object.indexOf('/')
  const page = cut > 0 ? PAGES[object.slice(0, cut)] : undefined
  const name = object.slice(cut + 1)
  if (!page || name === '' || (project === '' && !object.startsWith('project/'))) return undefined
  return page(project, name)
}
