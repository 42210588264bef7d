// What this browser knows of the ledger by itself: the key of each shard, as it was seen first or given by the reader, and the last
// checkpoint that held. A server that shows another history to this reader than before contradicts it.
import { base64, unbase64 } from './bytes'
import { Failure } from './failure'
import { isWitness, parseKey, type VerifierKey } from './note'
import { checkConsistency, consistencyPath, type Hash, type Nodes } from './tree'

const KEY = 'hafen.ledger'

/** How the key came: by the server when this browser first asked, or by the reader. */
export type Origin = 'first' | 'given'

export interface PinnedKey {
  key: string
  by: Origin
  since: string
}

export interface SeenHead {
  size: number
  /** Base64. */
  root: string
  at: string
}

interface Kept {
  keys: Record<string, PinnedKey>
  heads: Record<string, SeenHead>
  /** Keys of witnesses that the reader gave. */
  witnesses: string[]
}

export type Store = Pick<Storage, 'getItem' | 'setItem'>

export class Memory {
  readonly #store: Store
  readonly #now: () => Date

  constructor(store: Store = localStorage, now: () => Date = () => new Date()) {
    this.#store = store
    this.#now = now
  }

  #read(): Kept {
    try {
      const kept = JSON.parse(this.#store.getItem(KEY) ?? '{}') as Partial<Kept>
      return { keys: kept.keys ?? {}, heads: kept.heads ?? {}, witnesses: kept.witnesses ?? [] }
    } catch {
      return { keys: {}, heads: {}, witnesses: [] }
    }
  }

  #write(change: (kept: Kept) => void): void {
    const kept = this.#read()
    change(kept)
    this.#store.setItem(KEY, JSON.stringify(kept))
  }

  pinned(shard: string): PinnedKey | undefined {
    return this.#read().keys[shard]
  }

  shards(): string[] {
    return Object.keys(this.#read().keys)
  }

  head(shard: string): SeenHead | undefined {
    return this.#read().heads[shard]
  }

  async witnesses(): Promise<VerifierKey[]> {
    return Promise.all(this.#read().witnesses.map(parseKey))
  }

  /** Keeps a key that the reader has from elsewhere; of a witness, or of a shard, in place of what was kept. */
  async give(shard: string, text: string): Promise<VerifierKey> {
    const key = await parseKey(text)
    if (isWitness(key)) {
      this.#write((kept) => {
        if (!kept.witnesses.includes(key.text)) kept.witnesses.push(key.text)
      })
      return key
    }
    this.#write((kept) => {
      kept.keys[shard] = { key: key.text, by: 'given', since: this.#now().toISOString() }
    })
    return key
  }

  /** The key to check with. The server's word counts once, where this browser knows none; later it only may agree. */
  async keyFor(shard: string, offered: string): Promise<{ key: VerifierKey; pinned: PinnedKey; isNew: boolean }> {
    const kept = this.pinned(shard)
    if (kept) {
      if (kept.key !== offered.trim()) throw new Failure('keyChanged', { shard, kept: kept.key, offered: offered.trim() })
      return { key: await parseKey(kept.key), pinned: kept, isNew: false }
    }
    const key = await parseKey(offered)
    if (isWitness(key)) throw new Failure('keyMalformed')
    // One seed signs all shards, under their names: another key for a new shard is another signer.
    for (const other of Object.values(this.#read().keys)) {
      if (base64((await parseKey(other.key)).key) !== base64(key.key)) {
        throw new Failure('keyChanged', { shard, kept: other.key, offered: key.text })
      }
    }
    return { key, pinned: { key: key.text, by: 'first', since: this.#now().toISOString() }, isNew: true }
  }

  pin(shard: string, pinned: PinnedKey): void {
    this.#write((kept) => {
      kept.keys[shard] ??= pinned
    })
  }

  /** Forgets key and checkpoint of a shard, where the reader knows why they changed. */
  forget(shard: string): void {
    this.#write((kept) => {
      delete kept.keys[shard]
      delete kept.heads[shard]
    })
  }

  remember(shard: string, size: number, root: Hash): void {
    this.#write((kept) => {
      kept.heads[shard] = { size, root: base64(root), at: this.#now().toISOString() }
    })
  }
}

/** `first`: nothing was seen before; `same`: the same tree; `grown`: it continues what was seen; `open`: cannot be told without nodes. */
export type History = 'first' | 'same' | 'grown' | 'open'

/** Throws when a head contradicts the one that was seen before. */
export async function checkHistory(seen: SeenHead | undefined, size: number, root: Hash, nodes: Nodes | undefined): Promise<History> {
  if (!seen) return 'first'
  if (size < seen.size) throw new Failure('rolledBack', { old: seen.size, size, at: seen.at })
  if (size === seen.size) {
    if (seen.root !== base64(root)) throw new Failure('forked', { size, at: seen.at })
    return 'same'
  }
  if (!nodes) return 'open'
  const old = unbase64(seen.root)
  if (!old) throw new Failure('historyRewritten', { old: seen.size, size })
  const path = await consistencyPath(seen.size, size, nodes)
  await checkConsistency({ size: seen.size, root: old }, { size, root }, path)
  return 'grown'
}
