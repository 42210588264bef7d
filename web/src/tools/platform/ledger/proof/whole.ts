// Checks a shard as a whole: every record of every bundle against the leaves, every tile against those below it, all of it against
// the root that was signed. Knows neither keys nor the network: it is handed a checkpoint that was checked, and a way to read.
import { type Bytes, same } from './bytes'
import { Failure } from './failure'
import { parseRecord } from './record'
import { hashesOf, lineOf, type ReadTile, recordsOf, tileOf, tilePath, WIDTH } from './tiles'
import { emptyRoot, type Hash, leafHash, nodeHash, rootOf } from './tree'

/** More would take a browser too long: `hafen ledger verify` does it. */
export const MOST_ENTRIES = 1_000_000

export interface WholeShard {
  shard: string
  size: number
  root: Hash
}

export interface WholeResult {
  entries: number
  tiles: number
  first: string
  last: string
}

/** One level of tiles while the tree is built: the hashes of the tile that is not full, and how many were. */
interface Row {
  waiting: Hash[]
  full: number
}

class Builder {
  readonly #rows: Row[] = []
  readonly #read: ReadTile
  tiles = 0

  constructor(read: ReadTile) {
    this.#read = read
  }

  /** The tile as it is served must be what the entries make. */
  async #check(level: number, index: number, hashes: Hash[]): Promise<void> {
    const tile = { level, index, width: hashes.length }
    const path = tilePath(tile)
    const served = hashesOf(tile, await this.#read(path))
    served.forEach((hash, at) => {
      const mine = hashes[at]
      if (!mine || !same(hash, mine)) throw new Failure('tileDiffers', { tile: path, at: index * WIDTH + at, level })
    })
    this.tiles += 1
  }

  async push(hash: Hash, level = 0): Promise<void> {
    const row = (this.#rows[level] ??= { waiting: [], full: 0 })
    row.waiting.push(hash)
    if (row.waiting.length < WIDTH) return
    const hashes = row.waiting
    row.waiting = []
    row.full += 1
    await this.#check(level, row.full - 1, hashes)
    await this.push(await rootOf(hashes), level + 1)
  }

  async root(): Promise<Hash> {
    let root: Hash | undefined
    for (const [level, row] of this.#rows.entries()) {
      if (row.waiting.length === 0) continue
      await this.#check(level, row.full, row.waiting)
      // Complete subtrees, right to left, each left of all that came before.
      let end = row.waiting.length
      while (end > 0) {
        const width = end & -end
        const part = await rootOf(row.waiting.slice(end - width, end))
        root = root ? await nodeHash(part, root) : part
        end -= width
      }
    }
    return root ?? emptyRoot()
  }
}

export async function verifyWhole(whole: WholeShard, read: ReadTile, tell: (done: number) => void = () => undefined): Promise<WholeResult> {
  if (whole.size > MOST_ENTRIES) throw new Failure('tooMany', { size: whole.size, most: MOST_ENTRIES })
  const builder = new Builder(read)
  const result: WholeResult = { entries: 0, tiles: 0, first: '', last: '' }
  for (let index = 0; index * WIDTH < whole.size; index += 1) {
    const tile = tileOf(undefined, index, whole.size)
    const records: Bytes[] = recordsOf(tile, await read(tilePath(tile)))
    for (const record of records) {
      const position = result.entries
      const { shard, at } = parseRecord(lineOf(record))
      if (shard !== whole.shard) throw new Failure('fieldDiffers', { field: 'shard', shown: whole.shard, record: shard })
      if (at < result.last) throw new Failure('timeGoesBack', { position, at, before: result.last })
      if (position === 0) result.first = at
      result.last = at
      await builder.push(await leafHash(record))
      result.entries += 1
    }
    tell(result.entries)
  }
  if (!same(await builder.root(), whole.root)) throw new Failure('rootWrong', { position: 0, size: whole.size })
  result.tiles = builder.tiles
  return result
}
