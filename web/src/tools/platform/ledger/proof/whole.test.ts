// @vitest-environment node
// Trees of several tiles, which the platform's own vectors are too small for; tiles made by the definition, not by what is tested.
import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { type Bytes, join, utf8 } from './bytes'
import { checkInclusion, inclusionPath, rootOfNodes } from './tree'
import { nodesOf, recordAt } from './tiles'
import { verifyWhole } from './whole'

const digest = (...parts: Uint8Array[]): Bytes => new Uint8Array(createHash('sha256').update(join(...parts)).digest())
const node = (left: Bytes, right: Bytes): Bytes => digest(new Uint8Array([1]), left, right)
const SIZE = 66_000
const texts = ['happened', 'service', 'kind', 'outcome', 'project', 'object', 'organisation', 'actor_kind', 'actor', 'credential', 'address', 'request', 'who', 'what']
const record = (index: number): Bytes => {
  const at = new Date(1_700_000_000_000 + index * 1000).toISOString()
  return utf8(JSON.stringify({ v: 1, shard: '2026', at, seq: index, ...Object.fromEntries(texts.map((field) => [field, ''])) }))
}

/** MTH over hashes of leaves. */
function head(hashes: Bytes[]): Bytes {
  const [first] = hashes
  if (!first) return digest()
  if (hashes.length === 1) return first
  const k = 2 ** Math.floor(Math.log2(hashes.length - 1))
  return node(head(hashes.slice(0, k)), head(hashes.slice(k)))
}

const records = Array.from({ length: SIZE }, (_, index) => record(index))
const leaves = records.map((one) => digest(new Uint8Array([0]), one))
const name = (index: number): string => (index < 1000 ? String(index).padStart(3, '0') : `x${String(Math.floor(index / 1000)).padStart(3, '0')}/${String(index % 1000).padStart(3, '0')}`)
const files = new Map<string, Bytes>()
let row = leaves
for (let level = 0; row.length > 0; level += 1) {
  const above: Bytes[] = []
  for (let at = 0; at * 256 < row.length; at += 1) {
    const hashes = row.slice(at * 256, at * 256 + 256)
    const partial = hashes.length < 256 ? `.p/${hashes.length}` : ''
    files.set(`tile/${level}/${name(at)}${partial}`, join(...hashes))
    if (level === 0) {
      const bundle = records.slice(at * 256, at * 256 + 256).flatMap((one) => [new Uint8Array([one.length >> 8, one.length & 255]), one])
      files.set(`tile/entries/${name(at)}${partial}`, join(...bundle))
    }
    if (!partial) above.push(head(hashes))
  }
  row = above
}
const root = head(leaves)
const read = (path: string): Promise<Bytes> => {
  const bytes = files.get(path)
  return bytes ? Promise.resolve(bytes) : Promise.reject(new Error(`nothing at ${path}`))
}

describe('a tree of three levels of tiles', () => {
  it('gives root, records and proofs out of its tiles', async () => {
    const nodes = nodesOf(SIZE, read)
    expect(await rootOfNodes(SIZE, nodes)).toEqual(root)
    for (const position of [0, 255, 256, 65_535, 65_536, SIZE - 1]) {
      expect(await recordAt(position, SIZE, read)).toEqual(records[position])
      await checkInclusion(leaves[position] ?? new Uint8Array(), position, SIZE, root, await inclusionPath(position, SIZE, nodes))
    }
  })

  it('is checked as a whole, every tile of it', async () => {
    const result = await verifyWhole({ shard: '2026', size: SIZE, root }, read)
    expect(result.entries).toBe(SIZE)
    expect(result.tiles).toBe([...files.keys()].filter((path) => !path.startsWith('tile/entries')).length)
    const bent = (path: string) => async (asked: string) => {
      const bytes = (await read(asked)).slice()
      if (asked === path) bytes[40] = (bytes[40] ?? 0) ^ 1
      return bytes
    }
    await expect(verifyWhole({ shard: '2026', size: SIZE, root }, bent('tile/1/000'))).rejects.toMatchObject({ code: 'tileDiffers', facts: { tile: 'tile/1/000' } })
  }, 60_000)
})
