import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { happened } from './happened'
import { englishOfTerse, german, operations, telling } from './happenings'

const root = join(import.meta.dirname, '../../..')

function sources(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) return entry.name === 'tests' ? [] : sources(path)
    return entry.name.endsWith('.rs') ? [readFileSync(path, 'utf8').split('#[cfg(test)]')[0] ?? ''] : []
  })
}

/** Written like a kind in the services, and none: background work, a call in the ledger, files, what is only handed on. */
const NONE = /^(ledger\.|apply\.step$|ssh\.|repository\.push$|e\.|\w+\.(rs|json|toml|pem|pub|sock|key|log|img|sh|git|pl|hafen)$)/

/** Every text of the services that has the form of a kind and is no action of the policy alone. */
function kinds(): string[] {
  const actions = new Set([...readFileSync(join(root, 'crates/policy/src/actions.rs'), 'utf8').matchAll(/(?:action|danger)\("([a-z_.]+)"/g)].map((found) => found[1]))
  const texts = readdirSync(join(root, 'services')).flatMap((service) => sources(join(root, 'services', service, 'src')))
  const all = new Set(texts.flatMap((text) => [...text.matchAll(/"([a-z_]+\.[a-z_]+)"/g)].map((found) => found[1] ?? '')))
  return [...all].filter((one) => !NONE.test(one) && (!actions.has(one) || one in german) && !(one in operations)).sort()
}

describe('what happened', () => {
  it('has a German sentence for each kind that the services tell', () => {
    const found = kinds()
    expect(found.length).toBeGreaterThan(100)
    expect(found.filter((kind) => !(kind in german))).toEqual([])
  })

  it('knows no kinds that no service tells', () => {
    const found = new Set([...kinds(), ...Object.keys(operations)])
    expect(Object.keys(german).filter((kind) => !found.has(kind))).toEqual([])
    expect([...Object.keys(englishOfTerse), ...telling].filter((kind) => !(kind in german))).toEqual([])
  })

  it('is told in German, with what the platform says besides', () => {
    const event = { kind: 'machine.failed', object: 'machine/web-1', message: 'machine web-1 failed: no room' }
    expect(happened(event, 'de')).toEqual({ text: 'Maschine web-1 ist gescheitert', besides: event.message })
    expect(happened(event, 'en')).toEqual({ text: event.message, besides: '' })
    expect(happened({ kind: 'team.created', object: 'team/t-1', message: '$& {name}' }, 'de').text).toBe('Team angelegt: $& {name}')
    expect(happened({ kind: 'team.created', object: 'team/t-1', message: 'web' }, 'en').text).toBe('Team made: web')
  })

  it('is told as the platform has it where its kind is not known', () => {
    expect(happened({ kind: 'mail.sent', message: 'sent' }, 'de')).toEqual({ text: 'sent', besides: '' })
  })
})
