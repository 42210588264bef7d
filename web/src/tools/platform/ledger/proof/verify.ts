// Verification in the reader's own browser. Nothing the server says is believed: it hands over bytes, and what they prove is computed
// here, from the key and the last checkpoint that this browser keeps (`memory`).
import type { Schemas } from '@/api/client'
import { type Bytes, base64, same, utf8 } from './bytes'
import { type Facts, Failure, type FailureCode } from './failure'
import { parseProof } from './file'
import { checkHistory, type History, type Memory, type PinnedKey } from './memory'
import { type Checkpoint, checkWitness, type Note, readCheckpoint, type VerifierKey } from './note'
import { checkCommitments, checkShown, checkShownPersonal, parseRecord, type Personal } from './record'
import { lineOf, nodesOf, type ReadTile, recordAt } from './tiles'
import { checkInclusion, inclusionPath, leafHash, type Nodes } from './tree'

type Entry = Schemas['LedgerEntry']

/** How bytes are got; the server's side of it. */
export interface Source {
  /** Of the shard, below `/ledger/SHARD/`: `checkpoint`, `tile/…`. None where the reader may not see the whole tree. */
  read: ((path: string) => Promise<Bytes>) | undefined
  /** The proof of an entry as a file. */
  proof: (position: number) => Promise<Bytes>
}

export type StepName = 'key' | 'signature' | 'witnesses' | 'history' | 'record' | 'inclusion' | 'shown' | 'personal'
export type Outcome = 'proven' | 'failed' | 'open'

export interface Step {
  name: StepName
  outcome: Outcome
  /** Which of the outcomes: `first`, `given`, `grown`, … */
  how: string
  facts: Facts
  code?: FailureCode
}

export interface Report {
  shard: string
  position?: number
  at: Date
  head?: Checkpoint
  key?: string
  steps: Step[]
}

export function holds(report: Report): boolean {
  return report.steps.length > 0 && report.steps.every((step) => step.outcome !== 'failed')
}

/** Runs steps until one fails: what follows would rest on it. */
class Steps {
  readonly list: Step[] = []

  async run(name: StepName, act: () => Promise<{ how: string; facts?: Facts; outcome?: Outcome }>): Promise<boolean> {
    try {
      const { how, facts = {}, outcome = 'proven' } = await act()
      this.list.push({ name, outcome, how, facts })
      return true
    } catch (thrown) {
      if (!(thrown instanceof Failure)) throw thrown
      this.list.push({ name, outcome: 'failed', how: 'failed', facts: thrown.facts, code: thrown.code })
      return false
    }
  }
}

interface Head {
  key: VerifierKey
  pinned: PinnedKey
  note: Note
  head: Checkpoint
  nodes: Nodes | undefined
}

/** Key, signature, witnesses and history of a checkpoint. Only what holds is remembered. */
async function checkHead(
  steps: Steps,
  shard: { name: string; key: string },
  memory: Memory,
  fetchNote: () => Promise<Bytes>,
  nodesAt: (size: number) => Nodes | undefined,
): Promise<Head | undefined> {
  const got: Partial<Head> = {}
  const steady = await steps.run('key', async () => {
    const { key, pinned, isNew } = await memory.keyFor(shard.name, shard.key)
    Object.assign(got, { key, pinned })
    // A key that only the server vouched for a moment ago proves that the tree holds together, not whose it is.
    const how = isNew ? 'first' : pinned.by === 'given' ? 'given' : 'kept'
    return { how, facts: { key: key.text, since: pinned.since }, outcome: isNew ? 'open' : 'proven' }
  })
  const { key, pinned } = got
  if (!steady || !key || !pinned) return undefined
  const signed = await steps.run('signature', async () => {
    const { note, head } = await readCheckpoint(await fetchNote(), key)
    Object.assign(got, { note, head, nodes: nodesAt(head.size) })
    return { how: 'signed', facts: { origin: head.origin, size: head.size, root: base64(head.root) } }
  })
  const { note, head, nodes } = got
  if (!signed || !note || !head) return undefined
  const witnesses = await memory.witnesses()
  const others = note.signatures.filter((line) => line.name !== key.name).map((line) => line.name)
  if (witnesses.length > 0 || others.length > 0) {
    const seen = await steps.run('witnesses', async () => {
      const names: string[] = []
      for (const witness of witnesses) if ((await checkWitness(note, witness)) !== undefined) names.push(witness.name)
      if (names.length > 0) return { how: 'seen', facts: { names: names.join(', ') } }
      return { how: witnesses.length > 0 ? 'missing' : 'unknown', facts: { names: others.join(', ') || '–' }, outcome: 'open' }
    })
    if (!seen) return undefined
  }
  const before = memory.head(shard.name)
  const told = await steps.run('history', async () => {
    const history: History = await checkHistory(before, head.size, head.root, nodes)
    const facts = { size: head.size, ...(before ? { old: before.size, at: before.at } : {}) }
    return { how: history, facts, outcome: history === 'open' || history === 'first' ? 'open' : 'proven' }
  })
  if (!told) return undefined
  memory.pin(shard.name, pinned)
  // A head whose history could not be checked does not take the place of one that was.
  if (!before || nodes) memory.remember(shard.name, head.size, head.root)
  return { key, pinned, note, head, nodes }
}

/** Checks the checkpoint of a shard alone. */
export async function verifyHead(shard: { name: string; key: string }, source: Source, memory: Memory): Promise<Report> {
  const steps = new Steps()
  const { read } = source
  const found = read ? await checkHead(steps, shard, memory, () => read('checkpoint'), (size) => nodesOf(size, read)) : undefined
  return { shard: shard.name, at: new Date(), steps: steps.list, ...(found ? { head: found.head, key: found.key.text } : {}) }
}

/** Checks one entry: that it stands in the tree that was signed, and that it is what is shown. */
export async function verifyEntry(entry: Entry, shard: { name: string; key: string }, source: Source, memory: Memory): Promise<Report> {
  const steps = new Steps()
  const { read } = source
  const file = read ? undefined : await source.proof(entry.position)
  const report: Report = { shard: shard.name, position: entry.position, at: new Date(), steps: steps.list }
  const note = (): Promise<Bytes> => (read ? read('checkpoint') : Promise.resolve(file ?? new Uint8Array()).then((bytes) => parseProof(bytes).checkpoint))
  const found = await checkHead(steps, shard, memory, note, (size) => (read ? nodesOf(size, read) : undefined))
  if (!found) return report
  const { head, nodes } = found
  report.head = head
  report.key = found.key.text

  let record: Bytes = new Uint8Array()
  const whole = await steps.run('record', async () => {
    record = read ? await recordAt(entry.position, head.size, read as ReadTile) : parseProof(file ?? new Uint8Array()).record
    if (!same(record, utf8(entry.record))) throw new Failure('recordDiffers', { position: entry.position })
    return { how: read ? 'bundle' : 'file', facts: { bytes: record.length } }
  })
  if (!whole) return report
  const included = await steps.run('inclusion', async () => {
    const leaf = await leafHash(record)
    const proof = nodes ? undefined : parseProof(file ?? new Uint8Array())
    if (proof && proof.index !== entry.position) throw new Failure('outside', { position: proof.index, size: head.size })
    const path = nodes ? await inclusionPath(entry.position, head.size, nodes) : (proof?.path ?? [])
    await checkInclusion(leaf, entry.position, head.size, head.root, path)
    return { how: nodes ? 'tiles' : 'file', facts: { position: entry.position, size: head.size, hashes: path.length, leaf: base64(leaf) } }
  })
  if (!included) return report
  await steps.run('shown', async () => {
    checkShown(entry, parseRecord(lineOf(record)))
    if (entry.shard !== shard.name) throw new Failure('fieldDiffers', { field: 'shard', shown: entry.shard, record: shard.name })
    return Promise.resolve({ how: 'fields' })
  })
  return report
}

/** Checks who and what of an entry against the commitments of its record, which was proven before. */
export async function verifyPersonal(entry: Entry, personal: Personal | undefined): Promise<Step> {
  const steps = new Steps()
  await steps.run('personal', async () => {
    const record = parseRecord(entry.record)
    if (!personal) {
      // Something shown with nothing kept behind it would be made up.
      if (entry.who || entry.what) throw new Failure('shownDiffers', { field: entry.who ? 'who' : 'what' })
      return { how: record.who || record.what ? 'erased' : 'none', outcome: record.who || record.what ? 'open' : 'proven' }
    }
    await checkCommitments(record, personal)
    checkShownPersonal(entry, personal)
    return { how: 'committed' }
  })
  return steps.list[0] as Step
}
