// A tar (ustar) read while it arrives, one file at a time: an export may be larger than memory.
import { type Bytes, join, textOf } from './bytes'
import { Failure } from './failure'

const BLOCK = 512

export interface ArchiveFile {
  path: string
  bytes: Bytes
}

function field(block: Uint8Array, start: number, length: number): string {
  const bytes = block.subarray(start, start + length)
  const end = bytes.indexOf(0)
  return textOf(end < 0 ? bytes : bytes.subarray(0, end))
}

export async function* filesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<ArchiveFile> {
  const reader = stream.getReader()
  let waiting: Bytes[] = []
  let held = 0
  async function take(length: number): Promise<Bytes> {
    while (held < length) {
      const { done, value } = await reader.read()
      if (done) throw new Failure('archiveBroken')
      waiting.push(new Uint8Array(value))
      held += value.length
    }
    const all = waiting.length === 1 && waiting[0] ? waiting[0] : join(...waiting)
    waiting = [all.subarray(length)]
    held = all.length - length
    return all.slice(0, length)
  }
  try {
    for (;;) {
      const head = await take(BLOCK)
      if (head.every((byte) => byte === 0)) return
      const digits = field(head, 124, 12).trim()
      const size = Number.parseInt(digits, 8)
      if (!/^[0-7]+$/.test(digits) || !Number.isSafeInteger(size)) throw new Failure('archiveBroken')
      const prefix = field(head, 345, 155)
      const bytes = await take(Math.ceil(size / BLOCK) * BLOCK)
      yield { path: `${prefix ? `${prefix}/` : ''}${field(head, 0, 100)}`, bytes: bytes.slice(0, size) }
    }
  } finally {
    await reader.cancel().catch(() => undefined)
  }
}
