// Projects made up for tests and for the picture in the README.
import type { Schemas } from '@/api/client'
import type { MapWords } from './drawing'
import type { Read } from './model'

const AT = '2026-11-01T12:00:00Z'

export function machine(name: string, network = 'backend', group: string | null = null, part: Partial<Schemas['Machine']> = {}): Schemas['Machine'] {
  return {
    id: `m-${name}`, name, project: 'harbour', group, address: '10.64.0.11', cordoned: false, created_at: AT, updated_at: AT, generation: 1,
    observed_generation: 1, healthy: true, instance_id: 'i-1', metadata: {}, restarts: 0, state: 'started', wanted_state: 'started',
    spec: { cpus: 1, disk: 1, image: 'web', memory: 1, network },
    ...part,
  } as Schemas['Machine']
}

export function cluster(group: string, count: number, network = 'backend'): Schemas['Machine'][] {
  return Array.from({ length: count }, (_, index) => machine(`${group}-${index + 1}`, network, group))
}

export function network(name: string, egress: Schemas['Egress'] = 'none'): Schemas['Network'] {
  return { id: `n-${name}`, name, project: 'harbour', egress, subnet: '10.64.0.0/18', state: 'ready', created_at: AT, generation: 1, observed_generation: 1 } as Schemas['Network']
}

export function app(name: string, on: string, machines: string[], state = 'running'): Schemas['App'] {
  return {
    name, project: 'harbour', state, release: 3, created_at: AT, updated_at: AT, generation: 1, observed_generation: 1,
    spec: { on, replicas: machines.length, run: 'x', source: { repository: name } },
    processes: machines.map((one, index) => ({ id: `${one}-d1-${index}`, machine: one, port: 8080 + index, release: 3, restarts: 0, state: 'healthy' })),
  } as Schemas['App']
}

export function route(host: string, paths: Record<string, { backend: string; weight?: number }[]>, part: Partial<Schemas['Route']> = {}): Schemas['Route'] {
  return { host, project: 'harbour', paths, certificate: 'ready', maintenance: false, created_at: AT, generation: 1, hsts: 0, max_body: 0, rate: 0, redirect_https: true, ...part } as Schemas['Route']
}

export function backend(name: string, machines: string[], inFlight = 0): Schemas['Backend'] {
  const endpoints = machines.map((one, index) => ({ id: `${one}-${index}`, machine: one, port: 80, state: 'active', healthy: true, ejected: false, in_flight: inFlight, requests: 0 }))
  return { name, project: 'harbour', endpoints, generation: 1, writer_generation: 1 } as Schemas['Backend']
}

export function read(part: Partial<Read>): Read {
  return { project: 'harbour', networks: [], machines: [], apps: [], routes: [], backends: [], publications: [], rates: new Map(), ...part }
}

export const WORDS: MapWords = {
  language: 'en',
  state: (state) => state,
  certificate: (state) => `certificate ${state}`,
  tone: (tone, n) => `${n} ${tone === 'good' ? 'well' : tone === 'bad' ? 'not well' : tone === 'busy' ? 'changing' : 'at rest'}`,
  machines: (n) => (n === 1 ? '1 machine' : `${n} machines`),
  egress: (egress) => (egress === 'none' ? 'nothing leaves' : egress === 'logged' ? 'egress recorded' : `${egress} destinations`),
  rate: (perSecond) => `${Math.round(perSecond * 10) / 10}/s`,
  inFlight: (n) => `${n} in flight`,
  release: (n) => `release ${n}`,
  more: (n) => `${n} more`,
  singles: 'Machines',
  maintenance: 'maintenance',
  publication: 'published',
  backend: 'backend',
}

/** A shop that replaces its monolith route by route. */
export function harbour(): Read {
  return read({
    networks: [network('backend', 'logged'), network('data')],
    machines: [
      ...cluster('web', 4), ...cluster('legacy', 2), machine('db', 'data'), machine('cache', 'data', null, { state: 'starting', healthy: false }),
      machine('batch', 'data', null, { state: 'stopped', healthy: false }),
    ],
    apps: [app('shop', 'web', ['web-1', 'web-2', 'web-3', 'web-4']), app('report', 'web', ['web-1'], 'deploying')],
    routes: [
      route('shop.example.org', { '/': [{ backend: 'legacy' }], '/api/orders': [{ backend: 'shop', weight: 20 }, { backend: 'legacy', weight: 80 }] }),
      route('reports.example.org', { '/': [{ backend: 'report' }] }),
    ],
    backends: [backend('shop', ['web-1', 'web-2', 'web-3', 'web-4'], 1), backend('report', ['web-1']), backend('legacy', ['legacy-1', 'legacy-2'], 3)],
    publications: [{ id: 'p', name: 'db-5432', project: 'harbour', host: '127.0.0.1:5432', group: 'db', port: 5432, state: 'ready', generation: 1, backends: [] } as Schemas['Publication']],
    rates: new Map([['shop', 12.4], ['legacy', 48.9], ['report', 0.3]]),
  })
}
