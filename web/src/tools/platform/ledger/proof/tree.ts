// The Merkle tree of RFC 6962, section 2.1, and the checks of RFC 9162, sections 2.1.3.2 and 2.1.4.2. Sizes are beyond 32 bits, so
// they are divided, never shifted.
import { type Bytes, join, same } from './bytes'
import { Failure } from './failure'

export type Hash = Bytes

async function sha256(bytes: Bytes): Promise<Hash> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))
}

const LEAF = new Uint8Array([0])
const NODE = new Uint8Array([1])

export { sha256 }

export function leafHash(data: Uint8Array): Promise<Hash> {
  return sha256(join(LEAF, data))
}

export function nodeHash(left: Hash, right: Hash): Promise<Hash> {
  return sha256(join(NODE, left, right))
}

/** The root of the tree without leaves. */
export function emptyRoot(): Promise<Hash> {
  return sha256(new Uint8Array())
}

const half = (value: number): number => Math.floor(value / 2)
const isOdd = (value: number): boolean => value % 2 === 1

/** The root over these hashes, which stand for subtrees of equal height. */
export async function rootOf(hashes: readonly Hash[]): Promise<Hash> {
  const peaks: { level: number; hash: Hash }[] = []
  for (const hash of hashes) {
    let peak = { level: 0, hash }
    for (let left = peaks.at(-1); left?.level === peak.level; left = peaks.at(-1)) {
      peaks.pop()
      peak = { level: peak.level + 1, hash: await nodeHash(left.hash, peak.hash) }
    }
    peaks.push(peak)
  }
  return fold(peaks.map((peak) => peak.hash))
}

/** Subtrees grow smaller to the right; each joins with what is right of it. */
async function fold(parts: Hash[]): Promise<Hash> {
  let hash = parts.pop()
  if (!hash) return emptyRoot()
  for (let left = parts.pop(); left; left = parts.pop()) hash = await nodeHash(left, hash)
  return hash
}

/** Gives the hash of a complete node: `index` among those of `level`, where 0 are the leaves. */
export type Nodes = (level: number, index: number) => Promise<Hash>

async function range(start: number, end: number, nodes: Nodes): Promise<Hash> {
  const parts: Hash[] = []
  let at = start
  while (at < end) {
    let level = 0
    let width = 1
    while (at % (width * 2) === 0 && at + width * 2 <= end) {
      width *= 2
      level += 1
    }
    parts.push(await nodes(level, at / width))
    at += width
  }
  return fold(parts)
}

export function rootOfNodes(size: number, nodes: Nodes): Promise<Hash> {
  return range(0, size, nodes)
}

/** The largest power of two below `size`, which is at least 2. */
function split(size: number): number {
  let width = 1
  while (width * 2 < size) width *= 2
  return width
}

export async function inclusionPath(index: number, size: number, nodes: Nodes): Promise<Hash[]> {
  if (index >= size) throw new Failure('outside', { position: index, size })
  let [start, end] = [0, size]
  const path: Hash[] = []
  while (end - start > 1) {
    const middle = start + split(end - start)
    if (index < middle) {
      path.push(await range(middle, end, nodes))
      end = middle
    } else {
      path.push(await range(start, middle, nodes))
      start = middle
    }
  }
  return path.reverse()
}

/** That the tree of `old` leaves is the beginning of the one of `size`; empty when `old` is 0 or `size`. */
export async function consistencyPath(old: number, size: number, nodes: Nodes): Promise<Hash[]> {
  if (old > size) throw new Failure('outside', { position: old, size })
  if (old === 0 || old === size) return []
  let [start, end] = [0, size]
  const path: Hash[] = []
  while (end !== old) {
    const middle = start + split(end - start)
    if (old <= middle) {
      path.push(await range(middle, end, nodes))
      end = middle
    } else {
      path.push(await range(start, middle, nodes))
      start = middle
    }
  }
  // Who checks holds the root of the old tree itself, and needs this part only where it is not all of it.
  if (start > 0) path.push(await range(start, end, nodes))
  return path.reverse()
}

/** Throws unless `leaf` stands at `index` in the tree of `size` leaves with this root. */
export async function checkInclusion(leaf: Hash, index: number, size: number, root: Hash, path: readonly Hash[]): Promise<void> {
  if (index >= size) throw new Failure('outside', { position: index, size })
  let [at, last] = [index, size - 1]
  let hash = leaf
  for (const sibling of path) {
    if (last === 0) throw new Failure('proofLength')
    if (isOdd(at) || at === last) {
      hash = await nodeHash(sibling, hash)
      // At the right edge levels without a sibling are skipped.
      while (!isOdd(at) && at !== 0) {
        at = half(at)
        last = half(last)
      }
    } else {
      hash = await nodeHash(hash, sibling)
    }
    at = half(at)
    last = half(last)
  }
  if (last !== 0) throw new Failure('proofLength')
  if (!same(hash, root)) throw new Failure('rootWrong', { position: index, size })
}

interface Head {
  size: number
  root: Hash
}

/** Throws unless the tree of the first head is the beginning of that of the second. */
export async function checkConsistency(old: Head, now: Head, path: readonly Hash[]): Promise<void> {
  const broken = (): Failure => new Failure('historyRewritten', { old: old.size, size: now.size })
  if (old.size > now.size) throw new Failure('outside', { position: old.size, size: now.size })
  if (old.size === 0 || old.size === now.size) {
    if (path.length > 0) throw new Failure('proofLength')
    if (!same(old.root, old.size === 0 ? await emptyRoot() : now.root)) throw broken()
    return
  }
  const rest = [...path]
  // The old tree itself is the first node when it is complete.
  const first = Number.isInteger(Math.log2(old.size)) ? old.root : rest.shift()
  if (!first) throw new Failure('proofLength')
  let [at, last] = [old.size - 1, now.size - 1]
  while (isOdd(at)) {
    at = half(at)
    last = half(last)
  }
  let [ofOld, ofNow] = [first, first]
  for (const sibling of rest) {
    if (last === 0) throw new Failure('proofLength')
    if (isOdd(at) || at === last) {
      ofOld = await nodeHash(sibling, ofOld)
      ofNow = await nodeHash(sibling, ofNow)
      while (!isOdd(at) && at !== 0) {
        at = half(at)
        last = half(last)
      }
    } else {
      ofNow = await nodeHash(ofNow, sibling)
    }
    at = half(at)
    last = half(last)
  }
  if (last !== 0) throw new Failure('proofLength')
  if (!same(ofOld, old.root) || !same(ofNow, now.root)) throw broken()
}
