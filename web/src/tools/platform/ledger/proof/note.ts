// Signed notes, checkpoints and cosignatures (C2SP signed-note, tlog-checkpoint, tlog-cosignature v1).
import { base64, type Bytes, decimal, hex, join, same, textOf, unbase64, unhex, utf8 } from './bytes'
import { Failure } from './failure'
import { type Hash, sha256 } from './tree'

const ED25519 = 0x01
const COSIGNATURE = 0x04
/** More than any honest note has; each costs time. */
const MOST_SIGNATURES = 100

/** What it takes to check a signature; written as `name+hash+base64(type ‖ key)`. */
export interface VerifierKey {
  text: string
  name: string
  id: Bytes
  kind: number
  key: Bytes
}

export interface NoteSignature {
  name: string
  id: Bytes
  signature: Bytes
}

export interface Note {
  text: string
  signatures: NoteSignature[]
}

export interface Checkpoint {
  origin: string
  size: number
  root: Hash
}

const isName = (name: string): boolean => name.length > 0 && name.length <= 255 && !/[\s\p{Cc}+]/u.test(name)

export async function parseKey(text: string): Promise<VerifierKey> {
  const whole = text.trim()
  // Base64 may hold a '+', a name may not.
  const [, name = '', hash = '', encoded = ''] = /^([^+]+)\+([0-9a-f]{8})\+(.+)$/.exec(whole) ?? []
  const bytes = unbase64(encoded)
  const kind = bytes?.[0]
  if (!isName(name) || bytes?.length !== 33 || (kind !== ED25519 && kind !== COSIGNATURE)) throw new Failure('keyMalformed')
  const id = (await sha256(join(utf8(`${name}\n`), bytes))).slice(0, 4)
  if (hex(id) !== hash) throw new Failure('keyMalformed')
  return { text: whole, name, id, kind, key: bytes.slice(1) }
}

export function isWitness(key: VerifierKey): boolean {
  return key.kind === COSIGNATURE
}

function parseSignature(line: string): NoteSignature {
  const [, name = '', encoded = ''] = /^— (\S+) (\S+)$/.exec(line) ?? []
  const bytes = unbase64(encoded)
  if (!isName(name) || !bytes || bytes.length < 5) throw new Failure('noteMalformed')
  return { name, id: bytes.slice(0, 4), signature: bytes.slice(4) }
}

export function parseNote(bytes: Uint8Array): Note {
  let whole: string
  try {
    whole = textOf(bytes)
  } catch {
    throw new Failure('noteMalformed')
  }
  // The last empty line: the text may hold others.
  const at = whole.lastIndexOf('\n\n')
  if (at < 0 || !whole.endsWith('\n') || /[^\P{Cc}\n]/u.test(whole)) throw new Failure('noteMalformed')
  const lines = whole.slice(at + 2, -1).split('\n')
  if (lines.length > MOST_SIGNATURES) throw new Failure('noteMalformed')
  return { text: whole.slice(0, at + 1), signatures: lines.map(parseSignature) }
}

/** The public key of RFC 8032, section 7.1, test 1: a browser that takes it knows Ed25519. */
const PROBE = 'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a'
let native: Promise<boolean> | undefined

function knowsEd25519(): Promise<boolean> {
  const probe = unhex(PROBE) ?? new Uint8Array()
  native ??= crypto.subtle.importKey('raw', probe, { name: 'Ed25519' }, false, ['verify']).then(
    () => true,
    () => false,
  )
  return native
}

async function byBrowser(key: Bytes, message: Bytes, signature: Bytes): Promise<boolean> {
  const imported = await crypto.subtle.importKey('raw', key, { name: 'Ed25519' }, false, ['verify'])
  return crypto.subtle.verify({ name: 'Ed25519' }, imported, signature, message)
}

async function byLibrary(key: Bytes, message: Bytes, signature: Bytes): Promise<boolean> {
  const { verifyAsync } = await import('@noble/ed25519')
  // Strict: no signature has a second form that passes, too.
  return verifyAsync(signature, message, key, { zip215: false })
}

/** Ed25519 by the browser itself where it can, else by a library that is loaded then. A key that is none verifies nothing. */
export async function verifyEd25519(key: Bytes, message: Bytes, signature: Bytes, isNative = knowsEd25519()): Promise<boolean> {
  if (signature.length !== 64 || key.length !== 32) return false
  const verify = (await isNative) ? byBrowser : byLibrary
  return verify(key, message, signature).catch(() => false)
}

/** When a witness signed, in Unix seconds, and what. */
function cosigned(text: string, signature: Bytes): { time: number; message: Bytes; signature: Bytes } | undefined {
  if (signature.length !== 72) return undefined
  const time = Number(new DataView(signature.buffer, signature.byteOffset).getBigUint64(0))
  if (!Number.isSafeInteger(time)) return undefined
  return { time, message: utf8(`cosignature/v1\ntime ${time}\n${text}`), signature: signature.slice(8) }
}

const isBy = (key: VerifierKey) => (line: NoteSignature) => line.name === key.name && same(line.id, key.id)

/** Throws unless this key signed it, and each of its signatures fits. */
export async function checkSignature(note: Note, key: VerifierKey): Promise<void> {
  const lines = note.signatures.filter(isBy(key))
  if (lines.length === 0 || isWitness(key)) throw new Failure('unsigned', { key: key.name })
  for (const line of lines) {
    if (!(await verifyEd25519(key.key, utf8(note.text), line.signature))) throw new Failure('signatureWrong', { key: key.name })
  }
}

/** When this witness cosigned it, in Unix seconds; none when it did not. Throws when its line does not fit. */
export async function checkWitness(note: Note, witness: VerifierKey): Promise<number | undefined> {
  let seen: number | undefined
  for (const line of note.signatures.filter(isBy(witness))) {
    const parts = cosigned(note.text, line.signature)
    if (!parts || !(await verifyEd25519(witness.key, parts.message, parts.signature))) {
      throw new Failure('signatureWrong', { key: witness.name })
    }
    seen = parts.time
  }
  return seen
}

/** Extension lines, which C2SP allows and advises against, are refused: who passes over words says more than was checked. */
export function parseCheckpoint(text: string): Checkpoint {
  const [origin = '', size = '', root = '', end, ...more] = text.split('\n')
  const leaves = decimal(size)
  const hash = unbase64(root)
  if (!origin || leaves === undefined || hash?.length !== 32 || end !== '' || more.length > 0) throw new Failure('checkpointMalformed')
  return { origin, size: leaves, root: hash }
}

/** The checkpoint in a note that this key signed. */
export async function readCheckpoint(bytes: Uint8Array, key: VerifierKey): Promise<{ note: Note; head: Checkpoint }> {
  const note = parseNote(bytes)
  await checkSignature(note, key)
  const head = parseCheckpoint(note.text)
  if (head.origin !== key.name) throw new Failure('originWrong', { origin: head.origin, key: key.name })
  return { note, head }
}

export const rootText = (hash: Hash): string => base64(hash)
