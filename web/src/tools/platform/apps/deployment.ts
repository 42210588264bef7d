// What a deployment is to a person, apart from how it is drawn.
import type { Schemas } from '@/api/client'

type Deployment = Schemas['Deployment']

const UNDER_WAY = new Set(['queued', 'building', 'migrating', 'rolling'])
const NOT_WELL = new Set(['failed', 'rolled_back'])

export const isUnderWay = (deployment: Deployment): boolean => UNDER_WAY.has(deployment.state)
export const hasFailed = (deployment: Deployment): boolean => NOT_WELL.has(deployment.state)

/** From its beginning to its end, or until now. */
export function tookMs(deployment: Pick<Deployment, 'created_at' | 'ended_at'>, now: Date): number {
  const end = deployment.ended_at ? new Date(deployment.ended_at) : now
  return Math.max(0, end.getTime() - new Date(deployment.created_at).getTime())
}

export const short = (commit: string): string => commit.slice(0, 10)

/** `StateTag` knows the tones of the platform's states; these are of apps alone. */
export function toneState(state: string): string {
  if (state === 'rolling') return 'deploying'
  if (state === 'empty') return 'pending'
  return state
}

export function healthy(app: Schemas['App']): { healthy: number; wanted: number } {
  return {
    // Those of an older release that still serve count: they answer, too.
    healthy: app.processes.filter((process) => process.state === 'healthy').length,
    wanted: app.spec.replicas ?? 1,
  }
}

/** The reason of a failure has the probe's answer in a line of its own. */
export function reasonParts(reason: string): { why: string; probe: string } {
  const lines = reason.split('\n')
  const probe = lines.filter((line) => line.startsWith('probe: ')).map((line) => line.slice('probe: '.length))
  return { why: lines.filter((line) => !line.startsWith('probe: ')).join('\n').trim(), probe: probe.join('\n') }
}
