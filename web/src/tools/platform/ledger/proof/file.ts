// An inclusion proof as a file (C2SP tlog-proof): what those get who may see an entry and not the whole tree.
import { type Bytes, decimal, textOf, unbase64, utf8 } from './bytes'
import { Failure } from './failure'
import type { Hash } from './tree'

const HEADER = 'c2sp.org/tlog-proof@v1'
/** A tree of 2^63 leaves has paths of 63 hashes. */
const MOST_HASHES = 63

export interface ProofFile {
  record: Bytes
  index: number
  path: Hash[]
  /** The signed note, unread. */
  checkpoint: Bytes
}

export function parseProof(bytes: Uint8Array): ProofFile {
  const broken = (): Failure => new Failure('proofMalformed')
  let text: string
  try {
    text = textOf(bytes)
  } catch {
    throw broken()
  }
  const at = text.indexOf('\n\n')
  if (at < 0) throw broken()
  const [header, extra = '', index = '', ...hashes] = text.slice(0, at).split('\n')
  const record = extra.startsWith('extra ') ? unbase64(extra.slice(6)) : undefined
  const position = index.startsWith('index ') ? decimal(index.slice(6)) : undefined
  if (header !== HEADER || !record || position === undefined || hashes.length > MOST_HASHES) throw broken()
  const path = hashes.map((line) => {
    const hash = unbase64(line)
    if (hash?.length !== 32) throw broken()
    return hash
  })
  return { record, index: position, path, checkpoint: utf8(text.slice(at + 2)) }
}
