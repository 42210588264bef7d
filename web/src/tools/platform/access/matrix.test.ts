import { expect, it } from 'vitest'
import type { Schemas } from '@/api/client'
import type { Directory } from '../people/directory'
import { matrixOf } from './matrix'

const actions = [
  { name: 'machine.ssh', group: 'deploy', tells: '', dangerous: false },
  { name: 'machine.reach', group: 'operate', tells: '', dangerous: false },
  { name: 'app.exec', group: 'operate', tells: '', dangerous: false },
]
const person = (id: string, status = 'active'): Schemas['Person'] => ({ id, login: id, name: '', organisation: 'org-1', status, factors: [], generation: 1, created_at: '' })
const held = (subject: string, role: string, scope: string): Schemas['Membership'] => ({ id: `${subject}${scope}`, subject, role, scope, created_at: '' })

it('shows the ways in by role and place, and none of who is suspended', () => {
  const directory: Directory = {
    people: [person('u-dev'), person('u-op'), person('u-gone', 'suspended'), person('u-none')],
    accounts: [],
    workloads: [{ id: 'wi-1', name: 'ci', role: 'developer', scope: 'project/shop', organisation: 'org-1', issuer: '', audience: '', claims: {}, generation: 1, created_at: '' }],
    teams: [],
    owners: [{ project: 'shop', team: 'team-1', organisation: 'org-1', generation: 1, created_at: '' }],
    memberships: [held('u-dev', 'developer', 'project/shop'), held('u-op', 'operator', 'team-1'), held('u-gone', 'owner', 'org-1')],
    roles: [],
  }
  const rows = Object.fromEntries(matrixOf(directory, ['shop', 'other'], actions, 'org-1').map((row) => [row.id, row.ways]))
  expect(rows['u-dev']).toEqual({ shop: ['machine.ssh'], other: [] })
  expect(rows['u-op']).toEqual({ shop: ['machine.ssh', 'machine.reach', 'app.exec'], other: [] })
  expect(rows['u-gone']).toEqual({ shop: [], other: [] })
  expect(rows['u-none']).toEqual({ shop: [], other: [] })
  expect(rows['wi-1']).toEqual({ shop: ['machine.ssh'], other: [] })
})
