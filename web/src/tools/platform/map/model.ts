// What the map shows, out of what the API knows: which hosts lead to which apps, on which machines they run, in which networks
// those are, and how all of it is. Nothing here knows of pixels, of Vue or of a browser.
import type { Schemas } from '@/api/client'
import { toneOf, type Tone } from '@/parts/tone'

export interface Read {
  project: string
  networks: readonly Schemas['Network'][]
  machines: readonly Schemas['Machine'][]
  apps: readonly Schemas['App'][]
  routes: readonly Schemas['Route'][]
  backends: readonly Schemas['Backend'][]
  publications: readonly Schemas['Publication'][]
  /** Requests a second by the name of the backend, once two readings tell. */
  rates: ReadonlyMap<string, number>
}

export interface Process {
  app: string
  port: number
  tone: Tone
}

export interface MachineMark {
  name: string
  state: string
  tone: Tone
  address: string
  processes: Process[]
}

export interface Cluster {
  /** `cluster/web`, or `cluster/db` for a machine of its own. */
  key: string
  name: string
  single: boolean
  machines: MachineMark[]
}

export interface Basin {
  name: string
  subnet: string
  egress: 'none' | 'logged' | number
  state: string
  tone: Tone
  clusters: Cluster[]
}

export interface Traffic {
  inFlight: number
  rate: number | undefined
}

/** What stands between hosts and machines: an app, or a backend that somebody made. */
export interface Middle {
  key: string
  kind: 'app' | 'backend'
  name: string
  state: string
  tone: Tone
  release: number | undefined
  healthy: number
  total: number
  /** Keys of clusters. */
  on: string[]
  traffic: Traffic
}

export interface Share {
  path: string
  percent: number
}

export interface Lead {
  to: string
  shares: Share[]
  traffic: Traffic | undefined
}

export interface Top {
  key: string
  kind: 'host' | 'publication'
  name: string
  tone: Tone
  maintenance: boolean
  /** Of its certificate, or of itself. */
  state: string
  leads: Lead[]
}

export interface Picture {
  project: string
  basins: Basin[]
  middles: Middle[]
  tops: Top[]
}

const byName = <T extends { name: string }>(a: T, b: T): number => a.name.localeCompare(b.name, 'en', { numeric: true })

export function machineTone(machine: Pick<Schemas['Machine'], 'state' | 'healthy' | 'cordoned'>): Tone {
  if (machine.state === 'started' && !machine.healthy) return 'bad'
  if (machine.state === 'started' && machine.cordoned) return 'idle'
  return toneOf(machine.state)
}

/** What a person would say of it. */
function stateOf(machine: Schemas['Machine']): string {
  if (machine.state !== 'started') return machine.state
  return machine.healthy ? (machine.cordoned ? 'cordoned' : 'started') : 'unhealthy'
}

function egressOf(egress: Schemas['Egress']): Basin['egress'] {
  return typeof egress === 'string' ? egress : egress.allow.length
}

function basinsOf(read: Read, processes: ReadonlyMap<string, Process[]>): Basin[] {
  const basins = new Map<string, Basin>()
  for (const network of read.networks) {
    const { name, subnet, state } = network
    basins.set(name, { name, subnet, egress: egressOf(network.egress), state, tone: toneOf(state), clusters: [] })
  }
  const clusters = new Map<string, Cluster>()
  for (const machine of read.machines) {
    const network = machine.spec.network
    let basin = basins.get(network)
    // Who may not see networks still sees where machines are.
    if (!basin) basins.set(network, (basin = { name: network, subnet: '', egress: 'none', state: 'unknown', tone: 'idle', clusters: [] }))
    const name = machine.group ?? machine.name
    const at = `${network} ${name}`
    let cluster = clusters.get(at)
    if (!cluster) {
      clusters.set(at, (cluster = { key: `cluster/${name}`, name, single: !machine.group, machines: [] }))
      basin.clusters.push(cluster)
    }
    cluster.machines.push({
      name: machine.name,
      state: stateOf(machine),
      tone: machineTone(machine),
      address: machine.address ?? '',
      processes: processes.get(machine.name) ?? [],
    })
  }
  for (const basin of basins.values()) {
    basin.clusters.sort((a, b) => Number(a.single) - Number(b.single) || byName(a, b))
    for (const cluster of basin.clusters) cluster.machines.sort(byName)
  }
  return [...basins.values()].sort(byName)
}

function trafficOf(backend: Schemas['Backend'] | undefined, rates: ReadonlyMap<string, number>): Traffic {
  const inFlight = (backend?.endpoints ?? []).reduce((sum, endpoint) => sum + endpoint.in_flight, 0)
  return { inFlight, rate: backend ? rates.get(backend.name) : undefined }
}

function sharesOf(route: Schemas['Route']): Map<string, Share[]> {
  const shares = new Map<string, Share[]>()
  for (const [path, targets] of Object.entries(route.paths).sort(([a], [b]) => a.localeCompare(b, 'en'))) {
    const weight = (target: Schemas['RouteTarget']): number => target.weight ?? 1
    const sum = targets.reduce((all, target) => all + weight(target), 0)
    for (const target of targets) {
      const percent = sum === 0 ? 0 : Math.round((1000 * weight(target)) / sum) / 10
      shares.set(target.backend, [...(shares.get(target.backend) ?? []), { path, percent }])
    }
  }
  return shares
}

function hostTone(route: Schemas['Route']): Tone {
  if (route.maintenance) return 'idle'
  return route.certificate === 'failed' ? 'bad' : route.certificate === 'pending' ? 'busy' : 'good'
}

export function pictureOf(read: Read): Picture {
  const processes = new Map<string, Process[]>()
  for (const app of [...read.apps].sort(byName)) {
    for (const process of app.processes) {
      const { port, machine, state } = process
      processes.set(machine, [...(processes.get(machine) ?? []), { app: app.name, port, tone: toneOf(state) }])
    }
  }
  const basins = basinsOf(read, processes)
  const clusters = new Set<string>()
  const clusterOf = new Map<string, string>()
  for (const cluster of basins.flatMap((basin) => basin.clusters)) {
    clusters.add(cluster.key)
    for (const machine of cluster.machines) clusterOf.set(machine.name, cluster.key)
  }
  const known = (machines: readonly (string | null | undefined)[]): string[] =>
    [...new Set(machines.flatMap((machine) => (machine ? [clusterOf.get(machine)] : [])).filter((key) => key !== undefined))].sort()
  const backends = new Map(read.backends.map((backend) => [backend.name, backend]))

  const middles: Middle[] = read.apps.map((app) => {
    const on = known(app.processes.map((process) => process.machine))
    const home = `cluster/${app.spec.on}`
    const healthy = app.processes.filter((process) => toneOf(process.state) === 'good').length
    return {
      key: `app/${app.name}`,
      kind: 'app',
      name: app.name,
      state: app.state,
      tone: toneOf(app.state),
      release: app.release ?? undefined,
      healthy,
      total: Math.max(app.processes.length, app.spec.replicas ?? 1),
      on: on.length > 0 ? on : clusters.has(home) ? [home] : [],
      traffic: trafficOf(backends.get(app.name), read.rates),
    }
  })
  const apps = new Set(read.apps.map((app) => app.name))
  const targets = new Set(read.routes.flatMap((route) => Object.values(route.paths).flatMap((list) => list.map((target) => target.backend))))
  for (const name of new Set([...targets, ...backends.keys()])) {
    // The backend of a cluster is the cluster.
    if (apps.has(name) || clusters.has(`cluster/${name}`)) continue
    const backend = backends.get(name)
    const endpoints = backend?.endpoints ?? []
    const healthy = endpoints.filter((endpoint) => endpoint.healthy && !endpoint.ejected).length
    const state = healthy > 0 ? (healthy < endpoints.length ? 'degraded' : 'healthy') : read.backends.length === 0 ? 'unknown' : 'unhealthy'
    const on = known(endpoints.map((endpoint) => endpoint.machine))
    middles.push({ key: `backend/${name}`, kind: 'backend', name, state, tone: toneOf(state), release: undefined, healthy, total: endpoints.length, on, traffic: trafficOf(backend, read.rates) })
  }
  middles.sort((a, b) => a.kind.localeCompare(b.kind) || byName(a, b))

  const place = (name: string): string => (apps.has(name) ? `app/${name}` : clusters.has(`cluster/${name}`) ? `cluster/${name}` : `backend/${name}`)
  // Requests are counted by backend: whose they are is known only where one host alone leads to it.
  const hostsOf = new Map<string, number>()
  for (const route of read.routes) for (const name of sharesOf(route).keys()) hostsOf.set(name, (hostsOf.get(name) ?? 0) + 1)
  const tops: Top[] = read.routes.map((route) => ({
    key: `route/${route.host}`,
    kind: 'host',
    name: route.host,
    tone: hostTone(route),
    maintenance: route.maintenance,
    state: route.certificate,
    leads: [...sharesOf(route)].map(([name, shares]) => {
      const alone = hostsOf.get(name) === 1 && backends.has(name)
      return { to: place(name), shares, traffic: alone ? trafficOf(backends.get(name), read.rates) : undefined }
    }),
  }))
  for (const publication of read.publications) {
    const to = `cluster/${publication.group}`
    tops.push({
      key: `publication/${publication.name}`,
      kind: 'publication',
      name: publication.host,
      tone: toneOf(publication.state),
      maintenance: false,
      state: publication.state,
      leads: clusters.has(to) ? [{ to, shares: [{ path: `:${publication.port}`, percent: 100 }], traffic: undefined }] : [],
    })
  }
  tops.sort((a, b) => a.kind.localeCompare(b.kind) || byName(a, b))
  return { project: read.project, basins, middles, tops }
}

/** `/` alone needs no words; shares of less than all are told. */
export function sharesText(shares: readonly Share[], language: string): string {
  if (shares.length === 1 && shares[0]?.path === '/' && shares[0].percent === 100) return ''
  const one = (share: Share): string => (share.percent === 100 ? share.path : `${share.path} ${share.percent.toLocaleString(language)} %`)
  const shown = shares.slice(0, 2).map(one).join(', ')
  return shares.length > 2 ? `${shown} +${shares.length - 2}` : shown
}
