// @vitest-environment node
// Roots of certificate-transparency's reference tests; proofs against the definitions of RFC 6962, section 2.1, written down here
// once more and without sharing anything with what is tested.
import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { type Bytes, hex, same, unhex } from './bytes'
import { checkConsistency, checkInclusion, consistencyPath, type Hash, inclusionPath, leafHash, type Nodes, rootOf, rootOfNodes } from './tree'

const LEAVES = ['', '00', '10', '2021', '3031', '40414243', '5051525354555657', '606162636465666768696a6b6c6d6e6f']
const ROOTS = [
  'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
]

const digest = (...parts: Uint8Array[]): Bytes => {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return new Uint8Array(hash.digest())
}
const entry = (index: number): Bytes => new TextEncoder().encode(`entry ${index}`)
const pivot = (size: number): number => 2 ** Math.floor(Math.log2(size - 1))

/** MTH of RFC 6962. */
function head(entries: Bytes[]): Hash {
  const [first] = entries
  if (!first) return digest()
  if (entries.length === 1) return digest(new Uint8Array([0]), first)
  const k = pivot(entries.length)
  return digest(new Uint8Array([1]), head(entries.slice(0, k)), head(entries.slice(k)))
}

/** PATH of RFC 6962. */
function path(m: number, entries: Bytes[]): Hash[] {
  if (entries.length === 1) return []
  const k = pivot(entries.length)
  return m < k ? [...path(m, entries.slice(0, k)), head(entries.slice(k))] : [...path(m - k, entries.slice(k)), head(entries.slice(0, k))]
}

/** SUBPROOF of RFC 6962. */
function subproof(m: number, entries: Bytes[], whole: boolean): Hash[] {
  if (m === entries.length) return whole ? [] : [head(entries)]
  const k = pivot(entries.length)
  if (m <= k) return [...subproof(m, entries.slice(0, k), whole), head(entries.slice(k))]
  return [...subproof(m - k, entries.slice(k), false), head(entries.slice(0, k))]
}

const nodesOver =
  (entries: Bytes[]): Nodes =>
  (level, index) =>
    Promise.resolve(head(entries.slice(index * 2 ** level, (index + 1) * 2 ** level)))

const flip = (hash: Hash): Hash => {
  const other = hash.slice()
  other[7] = (other[7] ?? 0) ^ 1
  return other
}

describe('the tree', () => {
  it('has the roots of the reference', async () => {
    const hashes = await Promise.all(LEAVES.map((leaf) => leafHash(unhex(leaf) ?? new Uint8Array())))
    for (const [size, root] of ROOTS.entries()) expect(hex(await rootOf(hashes.slice(0, size)))).toBe(root)
  })

  it('proves inclusion as RFC 6962 defines it, and nothing else', async () => {
    const all = Array.from({ length: 21 }, (_, index) => entry(index))
    for (let size = 1; size <= all.length; size += 1) {
      const entries = all.slice(0, size)
      const root = head(entries)
      expect(same(await rootOfNodes(size, nodesOver(entries)), root)).toBe(true)
      for (let index = 0; index < size; index += 1) {
        const leaf = await leafHash(entry(index))
        const proof = path(index, entries)
        expect(await inclusionPath(index, size, nodesOver(entries))).toEqual(proof)
        await checkInclusion(leaf, index, size, root, proof)
        await expect(checkInclusion(flip(leaf), index, size, root, proof)).rejects.toMatchObject({ code: 'rootWrong' })
        await expect(checkInclusion(leaf, index, size, flip(root), proof)).rejects.toMatchObject({ code: 'rootWrong' })
        await expect(checkInclusion(leaf, index, size, root, [...proof, root])).rejects.toMatchObject({ code: 'proofLength' })
        for (const [at, hash] of proof.entries()) {
          await expect(checkInclusion(leaf, index, size, root, proof.with(at, flip(hash)))).rejects.toMatchObject({ code: 'rootWrong' })
        }
        if (proof.length > 0) await expect(checkInclusion(leaf, index, size, root, proof.slice(1))).rejects.toThrow()
        if (size > 1) await expect(checkInclusion(leaf, (index + 1) % size, size, root, proof)).rejects.toThrow()
      }
    }
  })

  it('proves consistency as RFC 6962 defines it, and nothing else', async () => {
    const all = Array.from({ length: 17 }, (_, index) => entry(index))
    for (let size = 1; size <= all.length; size += 1) {
      for (let old = 1; old <= size; old += 1) {
        const entries = all.slice(0, size)
        const before = { size: old, root: head(all.slice(0, old)) }
        const now = { size, root: head(entries) }
        const proof = old === size ? [] : subproof(old, entries, true)
        expect(await consistencyPath(old, size, nodesOver(entries))).toEqual(proof)
        await checkConsistency(before, now, proof)
        await expect(checkConsistency({ ...before, root: flip(before.root) }, now, proof)).rejects.toThrow()
        await expect(checkConsistency(before, { ...now, root: flip(now.root) }, proof)).rejects.toThrow()
        if (proof.length > 0) await expect(checkConsistency(before, now, proof.slice(0, -1))).rejects.toThrow()
      }
    }
  })

  it('divides, and does not shift, sizes beyond 32 bits', async () => {
    const size = 2 ** 40 + 5
    const constant: Nodes = (level) => Promise.resolve(digest(new Uint8Array([level])))
    const proof = await inclusionPath(2 ** 39 + 3, size, constant)
    expect(proof.length).toBe(41)
    const leaf = digest(new Uint8Array([0]))
    await expect(checkInclusion(leaf, 2 ** 39 + 3, size, digest(), proof)).rejects.toMatchObject({ code: 'rootWrong' })
  })
})
