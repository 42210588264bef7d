// What needs a person, out of what was read: each with the place where it is mended.
import type { Schemas } from '@/api/client'
import type { ProjectHealth } from './health'

export interface Item {
  id: string
  /** Broken now, or will be. */
  weight: 'bad' | 'warn'
  /** Word of it below `needs`. */
  word: string
  named: Record<string, string | number>
  /** In the platform's own words. */
  detail: string
  /** Where it is mended; none where that is outside the console. */
  to?: string
  project?: string
  /** When it began, where that is known. */
  at?: string
}

const DAY = 24 * 60 * 60_000
/** More of one kind in one project become one line. */
const EACH = 3

/**
 * A certificate is renewed when a third of its life is left. One with less than a fifth, and less than two weeks, was not: something
 * keeps it from that.
 */
export function runsOut(certificate: Schemas['Certificate'], now: Date): boolean {
  if (!certificate.not_after) return false
  const end = Date.parse(certificate.not_after)
  const life = certificate.not_before ? end - Date.parse(certificate.not_before) : 90 * DAY
  return end - now.getTime() < Math.min(14 * DAY, life / 5)
}

function eachOrAll<T>(found: readonly T[], one: (of: T) => Item, all: () => Item): Item[] {
  return found.length > EACH ? [all()] : found.map(one)
}

function ofMachines(name: string, machines: ProjectHealth['machines']): Item[] {
  const page = `/projects/${name}/machines`
  const lines = (found: Schemas['Machine'][], word: string, many: string, weight: Item['weight'], query: string, more = false): Item[] =>
    eachOrAll(
      found,
      (machine) => ({
        id: `${word}/${name}/${machine.name}`,
        weight,
        word,
        named: { name: machine.name },
        detail: machine.reason ?? '',
        to: `${page}/${machine.name}`,
        project: name,
        at: machine.updated_at,
      }),
      () => ({
        id: `${many}/${name}`,
        weight,
        word: many,
        named: { n: `${found.length}${more ? '+' : ''}` },
        detail: found.slice(0, EACH).map((machine) => machine.name).join(', ') + ' …',
        to: `${page}?${query}`,
        project: name,
      }),
    )
  return [
    ...lines(machines.failed, 'machineFailed', 'machinesFailed', 'bad', 'state=failed', machines.failedMore),
    ...lines(machines.unhealthy, 'machineUnhealthy', 'machinesUnhealthy', 'warn', 'health=unhealthy'),
  ]
}

function ofApp(app: Schemas['App']): Item[] {
  if (app.state !== 'failed' && app.state !== 'degraded') return []
  const failed = app.state === 'failed'
  return [
    {
      id: `app/${app.project}/${app.name}`,
      weight: failed ? 'bad' : 'warn',
      word: failed ? 'appFailed' : 'appDegraded',
      named: { name: app.name },
      detail: app.reason ?? '',
      to: `/projects/${app.project}/apps/${app.name}`,
      project: app.project,
      at: app.updated_at,
    },
  ]
}

function ofCertificate(name: string, certificate: Schemas['Certificate'], now: Date): Item[] {
  const failed = certificate.state === 'failed'
  if (!failed && !runsOut(certificate, now)) return []
  const over = certificate.not_after && Date.parse(certificate.not_after) <= now.getTime()
  return [
    {
      id: `certificate/${name}/${certificate.host}`,
      weight: over || (failed && !certificate.not_after) ? 'bad' : 'warn',
      word: over ? 'certificateOver' : failed ? 'certificateFailed' : 'certificateEnds',
      named: { name: certificate.host },
      detail: certificate.reason ?? '',
      to: `/projects/${name}/routes`,
      project: name,
      ...(certificate.not_after ? { at: certificate.not_after } : {}),
    },
  ]
}

export function ofProject(health: ProjectHealth, now: Date): Item[] {
  const { name, machines, apps, certificates, drift } = health
  return [
    ...ofMachines(name, machines),
    ...(apps ?? []).flatMap(ofApp),
    ...(certificates ?? []).flatMap((certificate) => ofCertificate(name, certificate, now)),
    ...(drift && drift.length > 0
      ? [
          {
            id: `drift/${name}`,
            weight: 'warn' as const,
            word: 'drift',
            named: { n: drift.length },
            detail: drift.slice(0, EACH).join(', ') + (drift.length > EACH ? ' …' : ''),
            to: `/projects/${name}/plan`,
            project: name,
          },
        ]
      : []),
  ]
}

export function ofStatus(status: Schemas['Status']): Item[] {
  return status.services
    .filter((service) => service.status !== 'ok')
    .map((service) => ({ id: `service/${service.name}`, weight: 'bad', word: 'service', named: { name: service.name }, detail: service.detail ?? '' }))
}

/** Those of the last week, one line for each kind. */
export function ofAlerts(alerts: readonly Schemas['Event'][], now: Date): Item[] {
  const kinds = new Map<string, Schemas['Event'][]>()
  for (const alert of alerts) {
    if (now.getTime() - Date.parse(alert.at) > 7 * DAY) continue
    kinds.set(alert.kind, [...(kinds.get(alert.kind) ?? []), alert])
  }
  return [...kinds].flatMap(([kind, found]): Item[] => {
    const last = found.at(-1)
    if (!last) return []
    const changed = kind === 'alert.machine_changed'
    return [
      {
        id: kind,
        weight: changed ? 'bad' : 'warn',
        word: 'alert',
        named: { n: found.length },
        detail: last.message,
        to: '/access?tab=alerts',
        at: last.at,
      },
    ]
  })
}

/** A password alone opens their account to whoever finds it out. */
export function ofPeople(people: readonly Schemas['Person'][]): Item[] {
  const weak = people.filter((person) => person.status === 'active' && person.factors.length > 0 && !['totp', 'passkey'].some((factor) => person.factors.includes(factor)))
  if (weak.length === 0) return []
  const names = weak.slice(0, EACH).map((person) => person.name)
  return [
    {
      id: 'people',
      weight: 'warn',
      word: 'people',
      named: { n: weak.length },
      detail: names.join(', ') + (weak.length > EACH ? ' …' : ''),
      to: '/people',
    },
  ]
}

/** Of oneself, as far as it is told: whoever lost the phone needs the codes. */
export function ofOneself(factors: readonly string[] | undefined): Item[] {
  if (!factors || factors.length === 0) return []
  const item = (word: string): Item => ({ id: word, weight: 'warn', word, named: {}, detail: '', to: '/account?tab=signIn' })
  const second = ['totp', 'passkey'].some((factor) => factors.includes(factor))
  return [...(second ? [] : [item('ownSecond')]), ...(factors.includes('recovery_codes') ? [] : [item('ownCodes')])]
}

/** What is broken first; then what is newest. */
export function inOrder(items: readonly Item[]): Item[] {
  return [...items].sort((a, b) => Number(a.weight === 'warn') - Number(b.weight === 'warn') || (b.at ?? '').localeCompare(a.at ?? ''))
}
