// A project full of things, so that screens have something to show: whatever is not here is made from the schema. A test holds
// each of these against the document.

const ago = (minutes) => new Date(Date.now() - minutes * 60_000).toISOString()
const ahead = (days) => new Date(Date.now() + days * 86_400_000).toISOString()
const id = (letter, n) => `${letter}-${String(n).padStart(26, '0')}`
const hash = (n) => n.toString(16).padStart(8, '0').repeat(8)
const GIB = 2 ** 30
const MIB = 2 ** 20

const PEOPLE = ['Ada Lindqvist', 'Jonas Weber', 'Mira Kovač', 'Tom Hansen']

export function machine(project, group, n, state = 'started', over = {}) {
  return {
    address: `10.80.0.${(n % 240) + 10}`, boot_id: hash(n).slice(0, 36), cordoned: false, created_at: ago(60 * 24 * 9 + n), generation: 3, group,
    health: { healthy_after: 2, http: '/', interval_ms: 2000, port: 80, timeout_ms: 1000 }, healthy: state === 'started', id: id('m', n),
    image_digest: `sha256:${hash(7)}`, instance_id: id('i', n), mac: '52:54:00:12:34:56', metadata: { team: 'shop', 'data.categories': 'customers' },
    name: `${group}-${n}`, observed_generation: 3, operation: null, project, reason: state === 'failed' ? 'the disk of the host is full: 0 bytes left of 200 GiB' : '',
    restarts: n % 3, spec: { address: null, cpus: 1 + (n % 2), disk: 8 * GIB, image: 'web', memory: 512 * MIB, network: n % 5 === 0 ? 'data' : 'backend', user_data: null },
    ssh_host_key: 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK', state, updated_at: ago(n * 7), wanted_state: state === 'stopped' ? 'stopped' : 'started', ...over,
  }
}

const machines = [
  machine('harbour', 'web', 1), machine('harbour', 'web', 2), machine('harbour', 'web', 3, 'updating'), machine('harbour', 'web', 4, 'started', { cordoned: true }),
  machine('harbour', 'db', 5), machine('harbour', 'db', 10, 'failed'), machine('harbour', 'worker', 7, 'stopped'),
]
const many = Array.from({ length: 10_000 }, (_, n) => machine('ten-thousand', ['web', 'db', 'worker', 'cache'][n % 4], n + 1, n % 97 === 0 ? 'failed' : n % 13 === 0 ? 'stopped' : 'started'))

const process = (n, release, state = 'healthy') => ({ id: `web-${n}-d8-0`, machine: `web-${n}`, port: 8080, reason: state === 'healthy' ? '' : 'exit status 1', release, restarts: n - 1, started_at: ago(n * 11), state })
const spec = {
  source: { repository: 'shop', branch: 'main' }, build: { image: 'builder', run: ['make dist'], output: 'dist', cache: ['target'], timeout_ms: 600_000 }, on: 'web',
  run: './shop --port $PORT', port: 8080, replicas: 3, health: { path: '/healthz', healthy_after: 2, interval_ms: 2000, timeout_ms: 1000 }, strategy: 'rolling',
  migrate: './shop migrate', env: { LOG: 'info', DB_PASSWORD: { secret: 'db-password' } }, preview: { branches: ['feature/*'], domain: 'preview.example.org', expires_ms: 7 * 86_400_000 },
}
const app = (name, state, release, over = {}) => ({
  created_at: ago(90_000), deployment: state === 'deploying' ? 'd9' : null, generation: 4, name, observed_generation: 4, processes: [process(1, release), process(2, release), process(3, release, state === 'failed' ? 'unhealthy' : 'healthy')],
  project: 'harbour', reason: state === 'failed' ? 'web-3-d8-0 ended three times' : '', release, spec, state, updated_at: ago(12), ...over,
})
const repository = (name, n) => ({
  created_at: ago(90_000), default_branch: 'main', description: n === 0 ? 'The shop and its workers' : '', generation: 2, id: id('r', n), name, object_limit: 64 * MIB, path: `/git/harbour/${name}.git`, project: 'harbour',
  protected: [{ delete: false, force: false, pattern: 'main', push: 'maintainer' }], pushed_at: ago(45 + n * 900), size: 37 * MIB, size_limit: 512 * MIB,
})
const deployment = (n, state, over = {}) => ({
  app: 'shop', build: `b${n}`, commit: hash(n * 77).slice(0, 40), created_at: ago(40 + (9 - n) * 400), created_by: PEOPLE[n % 4], ended_at: ago(38 + (9 - n) * 400), id: `d${n}`, kind: 'deploy', previous_release: n - 1,
  reason: '', ref: 'main', release: n, state, ...over,
})
const deployments = [
  deployment(9, 'rolling', { ended_at: null }),
  deployment(8, 'succeeded'),
  deployment(7, 'rolled_back', { reason: 'web-2-d7-0 at port 8082 of web-2 did not become healthy within 120 s\nprobe: GET /healthz answered "HTTP/1.1 503 Service Unavailable": no database' }),
  deployment(6, 'succeeded', { kind: 'rollback', build: null }),
  deployment(5, 'superseded'),
  deployment(4, 'succeeded'),
]
const build = (n, state = 'succeeded') => ({ app: 'shop', artifact: state === 'succeeded' ? `sha256:${hash(n)}` : null, commit: hash(n * 77).slice(0, 40), created_at: ago(45 + n), ended_at: state === 'running' ? null : ago(40 + n), id: `b${n}`, image_digest: `sha256:${hash(7)}`, reason: '', size: 3 * MIB, started_at: ago(44 + n), state })
const endpoint = (n, over = {}) => ({ address: null, ejected: false, healthy: true, id: `web-${n}-d8-0`, in_flight: n, machine: `web-${n}`, port: 8080, reason: '', requests: 1000 * n + Math.floor((Date.now() / 40) % 100_000), state: 'active', ...over })
const kinds = [['machine.started', 'machine/web-3', 'web-3 runs'], ['machine.failed', 'machine/db-10', 'db-10 failed: the disk of the host is full'], ['deployment.succeeded', 'deployment/shop/d8', 'd8 of shop is done: release 8 serves'], ['deployment.rolled_back', 'deployment/shop/d7', 'd7 of shop was rolled back'], ['certificate.issued', 'certificate/shop.example.org', 'shop.example.org has a certificate until February'], ['route.changed', 'route/shop.example.org', 'shop.example.org: /api/orders leads to shop with 20 %']]
export const change = (n) => {
  const [kind, object, message] = kinds[n % kinds.length]
  return { service: kind.startsWith('machine') ? 'machines' : kind.startsWith('deployment') ? 'delivery' : 'edge', seq: 1000 - n, kind, message, project: 'harbour', object, at: ago(n * 9), actor: PEOPLE[n % 4] }
}
const operation = (n, status, over = {}) => ({ created_at: ago(n * 6), error: status === 'failed' ? 'the disk of the host is full: 0 bytes left of 200 GiB' : '', id: id('o', n), kind: 'machine.update', may_cancel: status === 'running', percent: status === 'running' ? 40 : null, progress: status === 'running' ? 'image 40 %' : '', project: 'harbour', resources: [`machine/web-${n}`], status, status_code: status === 'running' ? 103 : status === 'failed' ? 400 : 200, updated_at: ago(n), ...over })
const entry = (n) => {
  const [kind, object, message] = kinds[n % kinds.length]
  const at = ago(n * 9)
  return { actor: `p-${hash(n).slice(0, 32)}`, actor_kind: 'person', address: '', at, happened: at, kind, object, organisation: 'default', outcome: 'done', position: 5000 - n, project: 'harbour', record: '{}', request: '', seq: 1000 - n, service: 'machines', shard: '2026', what: { data: null, message, reason: '' }, who: { address: '192.0.2.7', credential: 'session/s-1', id: id('p', n % 4), name: PEOPLE[n % 4] } }
}
const routes = [
    { certificate: 'ready', created_at: ago(9000), generation: 2, host: 'shop.example.org', hsts: 31_536_000, maintenance: false, max_body: 10 * MIB, paths: { '/': [{ backend: 'legacy', weight: 100 }], '/api/orders': [{ backend: 'shop', weight: 20 }, { backend: 'legacy', weight: 80 }] }, project: 'harbour', rate: 0, redirect_https: true },
    { certificate: 'failed', created_at: ago(90), generation: 1, host: 'new.example.org', hsts: 0, maintenance: true, max_body: 10 * MIB, paths: { '/': [{ backend: 'report', weight: 100 }] }, project: 'harbour', rate: 100, redirect_https: true },
  ]
const quota = { cpus: 64, disk: 1024 * GIB, machines: 20_000, memory: 128 * GIB }
const project = (name, usage) => ({ created_at: ago(200_000), generation: 1, name, quota, usage })

const projects = () => [project('harbour', { cpus: 9, disk: 56 * GIB, machines: 7, memory: 4 * GIB }),
  project('ten-thousand', { cpus: 60, disk: 900 * GIB, machines: 10_000, memory: 120 * GIB }),
  project('empty', { cpus: 0, disk: 0, machines: 0, memory: 0 })]

export const who = { credential: 'session/s-1', id: id('p', 0), kind: 'person', name: PEOPLE[0], organisation: 'default', projects: [], roles: [{ role: 'owner', scope: 'organisation' }], scopes: [], step_up_until: null, strong: true }

/** Answers by path, as the document names it; a function gets the path's parts and the query. */
export const answers = {
  '/api/v1/whoami': () => who,
  '/api/v1/projects': () => projects(),
  '/api/v1/projects/{project}': ({ project: name }) => projects().find((one) => one.name === name),
  '/api/v1/projects/{project}/machines': ({ project: name }) => (name === 'ten-thousand' ? many : name === 'empty' ? [] : machines),
  '/api/v1/projects/{project}/machines/{machine}': ({ project: name, machine: key }) => [...machines, ...many].find((one) => one.project === name && (one.name === key || one.id === key)),
  '/api/v1/projects/{project}/networks': ({ project: name }) => (name === 'empty' ? [] : ['backend', 'data'].map((network, n) => ({ created_at: ago(90_000), egress: n === 0 ? 'logged' : 'none', generation: 1, id: id('n', n), name: network, observed_generation: 1, project: name, reason: '', state: 'ready', subnet: `10.8${n}.0.0/24` }))),
  '/api/v1/projects/{project}/apps': ({ project: name }) => (name === 'harbour' ? [app('shop', 'deploying', 8), app('legacy', 'running', 3), app('report', 'failed', 2)] : []),
  '/api/v1/projects/{project}/apps/{app}': ({ app: name }) => app(name, name === 'report' ? 'failed' : 'deploying', 8),
  '/api/v1/projects/{project}/apps/{app}/deployments': () => deployments,
  '/api/v1/projects/{project}/apps/{app}/deployments/{deployment}': ({ deployment: key }) => deployments.find((one) => one.id === key),
  '/api/v1/projects/{project}/apps/{app}/builds': () => [build(9, 'running'), build(8), build(7), build(5)],
  '/api/v1/projects/{project}/apps/{app}/releases': () => [8, 7, 6, 5, 4].map((number) => ({ app: 'shop', artifact: `sha256:${hash(number)}`, build: `b${number}`, commit: hash(number * 77).slice(0, 40), created_at: ago((9 - number) * 400), created_by: PEOPLE[number % 4], kept: true, number, spec })),
  '/api/v1/projects/{project}/repositories': ({ project: name }) => (name === 'harbour' ? ['shop', 'legacy'].map(repository) : []),
  '/api/v1/projects/{project}/repositories/{repository}': ({ repository: name }) => repository(name, 0),
  '/api/v1/projects/{project}/routes': ({ project: name }) => (name === 'harbour' ? routes : []),
  '/api/v1/projects/{project}/routes/{host}': ({ host }) => routes.find((one) => one.host === host),
  '/api/v1/projects/{project}/backends': ({ project: name }) => (name === 'harbour' ? ['shop', 'legacy', 'report'].map((backend, n) => ({ endpoints: [endpoint(1), endpoint(2), endpoint(3, n === 2 ? { healthy: false, ejected: true, reason: 'no connection' } : {})], generation: 1, health: null, name: backend, project: 'harbour', writer_generation: 1 })) : []),
  '/api/v1/projects/{project}/certificates': ({ project: name }) => name !== 'harbour' ? [] : [
    { attempts: 1, fingerprint: hash(3), host: 'shop.example.org', issuer: 'acme', next_try: null, not_after: ahead(9), not_before: ago(100_000), project: 'harbour', reason: '', serial: '03a1', state: 'ready' },
    { attempts: 4, fingerprint: null, host: 'new.example.org', issuer: 'acme', next_try: ahead(0.1), not_after: null, not_before: null, project: 'harbour', reason: 'the authority could not reach http://new.example.org: connection refused', serial: null, state: 'failed' },
  ],
  '/api/v1/changes': () => Array.from({ length: 40 }, (_, n) => change(n)),
  '/api/v1/operations': () => [operation(3, 'running'), operation(10, 'failed'), operation(1, 'succeeded'), operation(2, 'cancelled')],
  '/api/v1/ledger/entries': () => Array.from({ length: 200 }, (_, n) => entry(n)),
  '/api/v1/people': () => PEOPLE.map((name, n) => ({ created_at: ago(300_000), factors: n === 3 ? ['password'] : ['password', 'totp', ...(n === 0 ? ['passkey'] : [])], generation: 1, id: id('p', n), login: name.split(' ')[0].toLowerCase(), name, organisation: id('org', 1), status: n === 2 ? 'suspended' : 'active' })),
  '/api/v1/memberships': () => [['owner', id('org', 1)], ['maintainer', 'project/harbour'], ['developer', 'project/harbour'], ['viewer', 'project/ten-thousand']].map(([role, scope], n) => ({ created_at: ago(300_000), id: id('ms', n), role, scope, subject: id('p', n) })),
  '/api/v1/teams': () => ['shop', 'platform'].map((name, n) => ({ created_at: ago(300_000), generation: 1, id: id('t', n), name, organisation: id('org', 1), title: name })),
  '/api/v1/status': () => ({ engine: 'qemu', engine_detail: 'QEMU 10.0, KVM', pid: 4711, services: ['machines', 'stacks', 'identity', 'access', 'ledger', 'delivery', 'vault', 'edge'].map((name) => ({ name, status: name === 'edge' ? 'degraded' : 'ok', detail: name === 'edge' ? 'certificates: new.example.org failed 4 times' : '' })), started_at: ago(3000), status: 'degraded', url: 'http://127.0.0.1:4750', version: '0.1.0' }),
  '/api/v1/projects/{project}/stack': ({ project: name }) => (name === 'harbour' ? { apply: 'a-1', project: name, serial: 4, source: { file: 'hafen.toml', locks: {}, manifest: MANIFEST, sources: {} }, updated_at: ago(300) } : undefined),
  '/api/v1/projects/{project}/plans': () => PLAN,
  '/api/v1/projects/{project}/drift': ({ project: name }) => ({ project: name, resource_drift: [PLAN.resource_changes[1]], serial: 4 }),
}

const MANIFEST = `project = "harbour"

[network.backend]
egress = "logged"

[image.web]
distribution = "debian"
release = "trixie"
packages = ["nginx-light"]

[machine.web]
count = 4
image = "web"
cpus = 1
memory = "512 MiB"
disk = "8 GiB"
network = "backend"
health = { http = "/", interval = "2s" }
`
const changed = (address, actions, before, after, over = {}) => ({ action_reason: null, address, change: { actions, before, after, after_unknown: {}, before_sensitive: {}, after_sensitive: {}, replace_paths: [] }, name: address.split('.').slice(1).join('.'), type: address.split('.')[0], ...over })
const PLAN = {
  counts: { create: 1, delete: 1, replace: 1, unchanged: 12, update: 1 }, destroy: false, format_version: '1.0', problems: [], project: 'harbour', reality: hash(1), serial: 4,
  source: { file: 'hafen.toml', locks: {}, manifest: MANIFEST, sources: {} }, warnings: ['network.data is used by no machine'],
  resource_changes: [
    changed('machine.web-5', ['create'], null, { cpus: 1, memory: 512 * MIB, image: 'web', network: 'backend' }),
    changed('machine.web-1', ['update'], { cpus: 1, memory: 512 * MIB }, { cpus: 2, memory: 512 * MIB }),
    changed('machine.db-5', ['delete', 'create'], { disk: 8 * GIB }, { disk: 4 * GIB }, { action_reason: 'a disk cannot shrink', change: { actions: ['delete', 'create'], before: { disk: 8 * GIB }, after: { disk: 4 * GIB }, after_unknown: { address: true }, before_sensitive: {}, after_sensitive: {}, replace_paths: [['disk']] } }),
    changed('machine.worker-7', ['delete'], { cpus: 2, image: 'web' }, null),
  ],
  resource_drift: [],
}
