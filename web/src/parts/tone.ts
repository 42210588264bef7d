// What a state means to a person, whatever it is a state of.
export type Tone = 'good' | 'bad' | 'busy' | 'idle'

const TONES: Record<Exclude<Tone, 'idle'>, readonly string[]> = {
  good: ['ok', 'started', 'running', 'ready', 'succeeded', 'healthy', 'active', 'valid', 'done', 'serving', 'current', 'issued', 'applied'],
  bad: ['failed', 'degraded', 'unhealthy', 'expired', 'revoked', 'rolled_back', 'changed', 'refused'],
  busy: ['creating', 'starting', 'stopping', 'updating', 'destroying', 'building', 'pending', 'deploying', 'draining', 'ordering', 'queued', 'checking', 'migrating', 'rolling'],
}

export function toneOf(state: string): Tone {
  for (const [tone, states] of Object.entries(TONES)) if (states.includes(state)) return tone as Tone
  return 'idle'
}
