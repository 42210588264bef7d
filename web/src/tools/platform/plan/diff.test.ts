import { describe, expect, it } from 'vitest'
import { groupsOf, isSize, namesText, rowsOf, takenAway, verbOf, type ResourceChange } from './diff'

function change(type: string, name: string, part: Partial<ResourceChange['change']>): ResourceChange {
  return {
    address: `${type}.${name}`,
    type,
    name,
    change: { actions: ['update'], before: null, after: null, after_unknown: {}, before_sensitive: {}, after_sensitive: {}, ...part },
  }
}

describe('an attribute', () => {
  const of = (part: Partial<ResourceChange['change']>, type = 'machine') => Object.fromEntries(rowsOf(change(type, 'a', part)).map((row) => [row.path, row]))

  it('shows what it was and what it will be', () => {
    const rows = of({ before: { cpus: 1, metadata: { a: 'x', b: 'y' } }, after: { cpus: 2, metadata: { a: 'x' } } })
    expect(rows['cpus']).toMatchObject({ before: { value: 1 }, after: { value: 2 }, same: false })
    expect(rows['metadata.a']?.same).toBe(true)
    expect(rows['metadata.b']).toMatchObject({ after: { kind: 'none' }, same: false })
  })

  it('is known later, or sensitive, or forces a replacement', () => {
    const rows = of({
      actions: ['create', 'delete'],
      before: { id: 'm-1', user_data: 'sha256:a', disk: 2 },
      after: { user_data: 'sha256:b', disk: 1 },
      after_unknown: { image_digest: true },
      before_sensitive: { user_data: true },
      after_sensitive: { user_data: true },
      replace_paths: [['disk']],
    })
    expect(rows['image_digest']?.after.kind).toBe('unknown')
    expect(rows['user_data']?.after).toEqual({ kind: 'sensitive', value: 'sha256:b' })
    expect(rows['user_data']?.same).toBe(false)
    expect(rows['disk']?.forces).toBe(true)
  })

  it('stays, where a manifest never speaks of it', () => {
    const rows = of({ before: { id: 'n-1', state: 'ready', subnet: '10.64.0.0/18', egress: 'none' }, after: { subnet: null, egress: 'logged' } }, 'network')
    expect([rows['id']?.same, rows['state']?.same, rows['subnet']?.same, rows['egress']?.same]).toEqual([true, true, true, false])
  })

  it('of a table in an array has a path of its own', () => {
    const rows = of({ before: { publish: [{ port: 80 }] }, after: { publish: [{ port: 81 }], packages: ['a', 'b'] } })
    expect(rows['publish.1.port']?.same).toBe(false)
    const moved = of({ before: { endpoints: [{ id: 'a', port: 1 }, { id: 'b', port: 2 }] }, after: { endpoints: [{ id: 'b', port: 2 }] } })
    expect(Object.keys(moved).filter((path) => !moved[path]?.same)).toEqual(['endpoints.a.id', 'endpoints.a.port'])
    expect(rows['packages']?.after).toEqual({ kind: 'value', value: ['a', 'b'] })
  })
})

describe('a plan', () => {
  const machine = (name: string, cpus: number, verb: 'create' | 'delete' = 'create') =>
    change('machine', name, { actions: [verb], [verb === 'create' ? 'after' : 'before']: { name, cpus } })

  it('tells the same of several machines once, and names each', () => {
    const groups = groupsOf([change('route', 'a.b', {}), machine('web-1', 1), machine('web-2', 1), machine('db', 2)])
    expect(groups.map((group) => [group.kind, group.size])).toEqual([['machine', 3], ['route', 1]])
    expect(groups[0]?.told.map((told) => told.names)).toEqual([['web-1', 'web-2'], ['db']])
    expect(groups[0]?.told[0]?.rows.find((row) => row.path === 'name')?.after.kind).toBe('differs')
  })

  it('names what it takes away', () => {
    const replaced = change('machine', 'db', { actions: ['delete', 'create'] })
    expect(takenAway([machine('web-1', 1), machine('web-2', 1, 'delete'), replaced])).toEqual({ deleted: ['machine.web-2'], replaced: ['machine.db'] })
    expect(verbOf(change('machine', 'a', { actions: ['no-op'] }))).toBe('unchanged')
  })
})

it('shortens names that are numbered without a gap', () => {
  expect(namesText(['web-2', 'web-1', 'web-3'])).toBe('web-1 … web-3')
  expect(namesText(['web-1', 'web-3', 'web-4'])).toBe('web-1, web-3, web-4')
  expect(namesText(['web-1', 'web-2'])).toBe('web-1, web-2')
  expect(isSize('quota.memory') && !isSize('metadata.cpus')).toBe(true)
})
