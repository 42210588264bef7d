// What a record says, whether what is shown of it is what it says, and its commitments (docs/reference/ledger.md).
import type { Schemas } from '@/api/client'
import { hex, join, unhex, utf8 } from './bytes'
import { Failure } from './failure'
import { sha256 } from './tree'
import { lineOf } from './tiles'

type Entry = Schemas['LedgerEntry']

const TEXTS = [
  'shard',
  'at',
  'happened',
  'service',
  'kind',
  'outcome',
  'project',
  'object',
  'organisation',
  'actor_kind',
  'actor',
  'credential',
  'address',
  'request',
  'who',
  'what',
] as const
export type LedgerRecord = Record<(typeof TEXTS)[number], string> & { v: number; seq: number }

/** Throws unless it is a record of this version, with all its fields. */
export function parseRecord(line: string): LedgerRecord {
  let read: unknown
  try {
    read = JSON.parse(line)
  } catch {
    throw new Failure('recordMalformed')
  }
  const record = read as Partial<LedgerRecord> | null
  const whole = typeof record === 'object' && record !== null && record.v === 1 && Number.isSafeInteger(record.seq)
  if (!whole || !TEXTS.every((field) => typeof record[field] === 'string')) throw new Failure('recordMalformed')
  return record as LedgerRecord
}

const SHOWN = ['shard', 'at', 'happened', 'service', 'seq', 'kind', 'outcome', 'project', 'object', 'organisation', 'actor_kind', 'actor', 'address', 'request'] as const

/** Throws unless all that the API tells of an entry beside its record is what the record says. */
export function checkShown(entry: Entry, record: LedgerRecord): void {
  for (const field of SHOWN) {
    if (entry[field] !== record[field]) throw new Failure('fieldDiffers', { field, shown: entry[field], record: record[field] })
  }
  // Somebody where the record knows of nobody.
  if (entry.who && record.who === '') throw new Failure('fieldDiffers', { field: 'who', shown: entry.who.id, record: '' })
  if (entry.what && record.what === '') throw new Failure('fieldDiffers', { field: 'what', shown: entry.what.message, record: '' })
}

/** A line of an export's personal file: payloads, and the salts without which nobody can check them. */
export interface Personal {
  position: number
  who: string
  who_salt: string
  what: string
  what_salt: string
}

export function parsePersonal(bytes: Uint8Array): Personal[] {
  const lines = lineOf(bytes).split('\n').filter((line) => line !== '')
  return lines.map((line) => {
    let read: Partial<Personal>
    try {
      read = JSON.parse(line) as Partial<Personal>
    } catch {
      throw new Failure('archiveBroken')
    }
    const texts = [read.who, read.who_salt, read.what, read.what_salt].every((text) => typeof text === 'string')
    if (!texts || !Number.isSafeInteger(read.position)) throw new Failure('archiveBroken')
    return read as Personal
  })
}

async function fits(committed: string, salt: string, payload: string): Promise<boolean> {
  // Nothing is left of it: it was erased, or there never was anything.
  if (payload === '' && salt === '') return true
  const bytes = unhex(salt)
  return bytes !== undefined && hex(await sha256(join(bytes, utf8(payload)))) === committed
}

/** Throws unless these payloads are what the record committed to. */
export async function checkCommitments(record: LedgerRecord, personal: Personal): Promise<void> {
  for (const field of ['who', 'what'] as const) {
    if (!(await fits(record[field], personal[`${field}_salt`], personal[field]))) {
      throw new Failure('commitmentWrong', { field, position: personal.position })
    }
  }
}

function canonical(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(canonical)
  if (typeof value !== 'object' || value === null) return value
  const fields = Object.entries(value as Record<string, unknown>).map(([key, one]) => [key, canonical(one)] as const)
  return Object.fromEntries(fields.sort(([one], [other]) => (one < other ? -1 : 1)))
}

/** Throws unless who and what, as shown, are the payloads that were committed to. */
export function checkShownPersonal(entry: Entry, personal: Personal): void {
  for (const field of ['who', 'what'] as const) {
    const shown = entry[field] ? JSON.stringify(canonical(entry[field])) : ''
    let kept = ''
    try {
      kept = personal[field] === '' ? '' : JSON.stringify(canonical(JSON.parse(personal[field])))
    } catch {
      throw new Failure('archiveBroken')
    }
    if (shown !== kept) throw new Failure('shownDiffers', { field })
  }
}
