import { expect, it } from 'vitest'
import { usesOf } from './quota'

it('says how much of the quota is used', () => {
  const quota = { machines: 4, cpus: 0, memory: 1024, disk: 3 }
  const uses = usesOf({ quota, usage: { machines: 1, cpus: 0, memory: 2048, disk: 1 } })
  expect(uses.map((use) => use.percent)).toEqual([25, 100, 100, 33])
  expect(uses.map((use) => use.bytes)).toEqual([false, false, true, true])
})
