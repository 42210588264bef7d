import { describe, expect, it } from 'vitest'
import { covers, givable, permits, rolesThatPermit, scopesAt } from './rights'

const ssh = { name: 'machine.ssh', group: 'deploy' }
const reach = { name: 'machine.reach', group: 'operate' }
const ledger = { name: 'ledger.read', group: 'audit' }
const found = { name: 'people.write', group: 'own' }
const custom = [{ name: 'on-call', permissions: ['machine.*', 'read'] }]

describe('roles', () => {
  it('stand on one another as in the policy', () => {
    const may = (action: { name: string; group: string }): string[] =>
      ['owner', 'maintainer', 'operator', 'developer', 'auditor', 'viewer'].filter((role) => permits(role, action, []))
    expect(may(ssh)).toEqual(['owner', 'maintainer', 'operator', 'developer'])
    expect(may(reach)).toEqual(['owner', 'maintainer', 'operator'])
    expect(may(ledger)).toEqual(['owner', 'auditor'])
    expect(may(found)).toEqual(['owner'])
  })

  it('of an organisation cover by name, kind, group and star', () => {
    expect(permits('on-call', ssh, custom)).toBe(true)
    expect(permits('on-call', ledger, custom)).toBe(false)
    expect(permits('unheard-of', ssh, custom)).toBe(false)
    expect(covers('mach.*', ssh)).toBe(false)
    expect(covers('deploy', ssh)).toBe(true)
    expect(covers('*', found)).toBe(true)
  })

  it('count where they are held: organisation, team and project', () => {
    const scopes = scopesAt('shop', { team: 'team-1', organisation: 'org-1' }, 'org-1')
    const held = [
      { subject: 'u-1', role: 'viewer', scope: 'org-1' },
      { subject: 'u-1', role: 'operator', scope: 'team-1' },
      { subject: 'u-1', role: 'owner', scope: 'project/other' },
      { subject: 'u-2', role: 'owner', scope: 'org-1' },
    ]
    expect(rolesThatPermit(held, 'u-1', scopes, reach, [])).toEqual([held[1]])
    expect(scopesAt('old', undefined, 'org-1')).toEqual(['org-1', 'project/old'])
  })

  it('are given by those above them', () => {
    expect(givable(false, custom)).not.toContain('owner')
    expect(givable(false, custom)).not.toContain('on-call')
    expect(givable(true, custom)).toContain('on-call')
  })
})
