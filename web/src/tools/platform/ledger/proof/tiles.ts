// Tiles of C2SP tlog-tiles: 256 hashes of one level in eight, and bundles of entries.
import { type Bytes, textOf } from './bytes'
import { Failure } from './failure'
import { type Hash, type Nodes, rootOf } from './tree'

export const WIDTH = 256

export interface Tile {
  /** Of hashes; none for a bundle of entries. */
  level?: number
  index: number
  /** 1 to 256. */
  width: number
}

/** `1234067` as `x001/x234/067`. */
export function tilePath(tile: Tile): string {
  const groups: string[] = []
  for (let rest = tile.index, first = true; first || rest > 0; rest = Math.floor(rest / 1000), first = false) {
    groups.unshift(`${first ? '' : 'x'}${String(rest % 1000).padStart(3, '0')}`)
  }
  const partial = tile.width < WIDTH ? `.p/${tile.width}` : ''
  return `tile/${tile.level ?? 'entries'}/${groups.join('/')}${partial}`
}

/** The tile of this index as wide as it is in a tree of `size` leaves. */
export function tileOf(level: number | undefined, index: number, size: number): Tile {
  const count = Math.floor(size / WIDTH ** (level ?? 0))
  const width = Math.min(WIDTH, count - index * WIDTH)
  if (width < 1) throw new Failure('outside', { position: index * WIDTH, size })
  return level === undefined ? { index, width } : { level, index, width }
}

export function hashesOf(tile: Tile, bytes: Bytes): Hash[] {
  if (bytes.length !== tile.width * 32) throw new Failure('tileLength', { tile: tilePath(tile), bytes: bytes.length })
  return Array.from({ length: tile.width }, (_, at) => bytes.slice(at * 32, at * 32 + 32))
}

/** The records of a bundle: each after its length in two bytes, big end first. */
export function recordsOf(tile: Tile, bytes: Bytes): Bytes[] {
  const records: Bytes[] = []
  const broken = (): Failure => new Failure('bundleBroken', { tile: tilePath(tile) })
  let at = 0
  while (at < bytes.length) {
    const [high, low] = [bytes[at], bytes[at + 1]]
    if (high === undefined || low === undefined) throw broken()
    const end = at + 2 + high * 256 + low
    if (end > bytes.length) throw broken()
    records.push(bytes.slice(at + 2, end))
    at = end
  }
  if (records.length !== tile.width) throw broken()
  return records
}

/** Reads the content of a tile by its path. */
export type ReadTile = (path: string) => Promise<Bytes>

/** The nodes of the tree of `size` leaves, out of its tiles; each tile is read once. */
export function nodesOf(size: number, read: ReadTile): Nodes {
  const kept = new Map<string, Promise<Hash[]>>()
  return async (level, index) => {
    const above = 2 ** (level % 8)
    const first = index * above
    const tile = tileOf(Math.floor(level / 8), Math.floor(first / WIDTH), size)
    const path = tilePath(tile)
    const hashes = kept.get(path) ?? read(path).then((bytes) => hashesOf(tile, bytes))
    kept.set(path, hashes)
    const start = first % WIDTH
    const part = (await hashes).slice(start, start + above)
    if (part.length !== above) throw new Failure('outside', { position: first, size })
    return rootOf(part)
  }
}

/** The record at a position, to the byte. */
export async function recordAt(position: number, size: number, read: ReadTile): Promise<Bytes> {
  const tile = tileOf(undefined, Math.floor(position / WIDTH), size)
  const record = recordsOf(tile, await read(tilePath(tile)))[position % WIDTH]
  if (!record) throw new Failure('outside', { position, size })
  return record
}

export function lineOf(record: Uint8Array): string {
  try {
    return textOf(record)
  } catch {
    throw new Failure('recordMalformed')
  }
}
