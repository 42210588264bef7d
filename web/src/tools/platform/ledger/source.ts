// Where the bytes of the ledger come from. What they prove is not decided here.
import { raw } from '@/api/client'
import { Problem } from '@/api/problem'
import type { Bytes } from './proof/bytes'
import type { Personal } from './proof/record'
import { parsePersonal } from './proof/record'
import { filesOf } from './proof/tar'
import { tileOf, tilePath, WIDTH } from './proof/tiles'
import type { Source } from './proof/verify'

async function bytes(path: string): Promise<Bytes> {
  return new Uint8Array(await (await raw(path)).arrayBuffer())
}

/** The tree of a shard; for those who may not see it, proofs alone. */
export async function sourceOf(shard: string): Promise<Source> {
  const base = `/ledger/${encodeURIComponent(shard)}`
  const proof = (position: number): Promise<Bytes> => bytes(`/api/v1/ledger/entries/${encodeURIComponent(shard)}/${position}/proof`)
  try {
    // One checkpoint for all that is checked at once: it may grow meanwhile.
    const checkpoint = await bytes(`${base}/checkpoint`)
    return { read: (path) => (path === 'checkpoint' ? Promise.resolve(checkpoint) : bytes(`${base}/${path}`)), proof }
  } catch (thrown) {
    if (Problem.from(thrown).isForbidden) return { read: undefined, proof }
    throw thrown
  }
}

/** What lies beside the record of an entry, with its salts: out of the export, which is read no further than that. */
export async function personalOf(shard: string, position: number, size: number): Promise<Personal | undefined> {
  const query = new URLSearchParams({ shard, personal: 'true' })
  const answer = await raw(`/api/v1/ledger/export?${query.toString()}`)
  if (!answer.body) return undefined
  const index = Math.floor(position / WIDTH)
  // The export may be of a later checkpoint, and its last bundle wider.
  const beginning = tilePath(tileOf(undefined, index, size)).replace('tile/entries/', 'personal/').replace(/\.p\/.*/, '')
  for await (const file of filesOf(answer.body)) {
    if (file.path === beginning || file.path.startsWith(`${beginning}.p/`)) {
      return parsePersonal(file.bytes).find((line) => line.position === position)
    }
  }
  return undefined
}
