// Checks a shard as a whole off the page's own thread. It is told what was signed, and reads the rest by itself.
import { unbase64 } from './proof/bytes'
import { type Facts, Failure, type FailureCode } from './proof/failure'
import { verifyWhole, type WholeResult } from './proof/whole'

export interface WholeAsk {
  shard: string
  size: number
  /** Base64. */
  root: string
}

export type WholeTold =
  | { is: 'progress'; done: number }
  | { is: 'done'; result: WholeResult }
  | { is: 'failed'; code: FailureCode; facts: Facts }

const tell = (told: WholeTold): void => self.postMessage(told)

async function read(shard: string, path: string): Promise<Uint8Array<ArrayBuffer>> {
  const answer = await fetch(`/ledger/${encodeURIComponent(shard)}/${path}`).catch(() => undefined)
  if (!answer?.ok) throw new Failure('unread', { path, status: answer?.status ?? 0 })
  return new Uint8Array(await answer.arrayBuffer())
}

self.addEventListener('message', (event: MessageEvent<WholeAsk>) => {
  const { shard, size, root } = event.data
  const whole = { shard, size, root: unbase64(root) ?? new Uint8Array() }
  verifyWhole(whole, (path) => read(shard, path), (done) => tell({ is: 'progress', done })).then(
    (result) => tell({ is: 'done', result }),
    (thrown: unknown) => {
      const failure = thrown instanceof Failure ? thrown : new Failure('unread', { path: String(thrown), status: 0 })
      tell({ is: 'failed', code: failure.code, facts: failure.facts })
    },
  )
})
