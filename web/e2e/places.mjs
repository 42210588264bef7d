// Where the mock's project has something to show: the screens by their names, and the tabs in them that have content of their own.
const harbour = '/projects/harbour'

export const SCREENS = {
  home: '/', map: harbour, machines: `${harbour}/machines`, machine: `${harbour}/machines/web-1`, plan: `${harbour}/plan`, apps: `${harbour}/apps`, app: `${harbour}/apps/shop`,
  routes: `${harbour}/routes`, access: '/access', people: '/people', ledger: '/ledger-entries', account: '/account', 'sign-in': '/sign-in',
}

const TABS_OF = {
  machines: ['images', 'networks'],
  machine: ['timeline', 'snapshots', 'integrity', 'instances', 'serial', 'console', 'shell'],
  plan: ['applies', 'drift'],
  apps: ['repositories', 'secrets', 'hooks'],
  app: ['releases', 'processes', 'logs', 'command', 'builds', 'previews', 'definition'],
  routes: ['backends', 'certificates', 'publications'],
  access: ['sessions', 'certificates', 'alerts', 'machines'],
  people: ['teams', 'accounts', 'memberships', 'roles', 'workloads', 'providers', 'clients', 'organisation', 'policy'],
  ledger: ['shards'],
  account: ['signIn', 'sessions', 'tokens', 'ssh', 'looks'],
}
export const TABS = Object.entries(TABS_OF).flatMap(([screen, tabs]) => tabs.map((tab) => `${SCREENS[screen]}?tab=${tab}`))

/** What opens within a tab, and has an address. */
export const DETAILS = [
  `${harbour}/routes?host=shop.example.org`, `${harbour}/apps?tab=repositories&repository=shop`, `${harbour}/apps?tab=secrets&secret=db-password`, `${harbour}/apps?tab=hooks&hook=web-1`,
  `${harbour}/apps/shop?tab=builds&build=b8`, `${harbour}/plan?tab=applies&apply=a-1`, `${SCREENS.ledger}?entry=2026%2F5000`, '/projects/empty', '/projects/empty/plan', '/projects/ten-thousand/machines', '/invitation#hafen_inv_mock',
]
