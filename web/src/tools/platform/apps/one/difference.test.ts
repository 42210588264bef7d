import { expect, it } from 'vitest'
import { differences } from './difference'

const spec = { on: 'web', source: { repository: 'shop' }, run: './shop', env: { LOG: 'info', DB: { secret: 'db' } }, build: { image: 'b', run: ['make'] } }

it('says what came, went and changed, and nothing of what did not', () => {
  const after = { ...spec, run: null, static: 'dist', env: { LOG: 'debug', DB: { secret: 'db' }, NEW: '1' }, build: { image: 'b', run: ['make', 'make test'] } }
  expect(differences(spec, after)).toEqual([
    { field: 'build.run', before: 'make', after: 'make\nmake test' },
    { field: 'env.LOG', before: 'info', after: 'debug' },
    { field: 'env.NEW', before: undefined, after: '1' },
    { field: 'run', before: './shop', after: undefined },
    { field: 'static', before: undefined, after: 'dist' },
  ])
})

it('takes an absent field and a null for the same, and leaves the number of processes out', () => {
  expect(differences(spec, { ...spec, migrate: null, replicas: 9 })).toEqual([])
})
