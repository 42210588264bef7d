// The one way to the API: typed by its own document, with the browser's session cookie, and one shape of failure.
import createClient, { type Middleware } from 'openapi-fetch'
import type { components, paths } from './schema'
import { Problem, problemOf } from './problem'

export type Schemas = components['schemas']

/** Asked when the API wants the second factor again; true when it was proven. The session's dialog sets it. */
let proveAgain: () => Promise<boolean> = () => Promise.resolve(false)
/** Told when the session is over. */
let sessionOver: () => void = () => undefined

export function onStepUp(prove: () => Promise<boolean>): void {
  proveAgain = prove
}

export function onSessionOver(over: () => void): void {
  sessionOver = over
}

/** A request that failed before there was an answer throws a `Problem`, too: nothing else leaves this module. */
async function send(request: Request): Promise<Response> {
  const again = request.clone()
  const answer = await fetch(request).catch((cause: unknown) => {
    throw request.signal.aborted ? cause : Problem.offline()
  })
  if (answer.status === 403) {
    const problem = await problemOf(answer.clone())
    // Repeated as it was, with its idempotency key: it acts once whatever became of the first.
    if (problem.code === 'step_up_required' && (await proveAgain())) return fetch(again)
  }
  if (answer.status === 401 && !new URL(request.url).pathname.startsWith('/api/v1/sign-in/')) sessionOver()
  return answer
}

const client = createClient<paths>({ fetch: send, baseUrl: globalThis.location?.origin ?? '' })

const repeatable: Middleware = {
  onRequest({ request }) {
    if (request.method === 'POST') request.headers.set('idempotency-key', crypto.randomUUID())
    return request
  },
}
client.use(repeatable)

export const api = client

interface Outcome<T> {
  data?: T
  response: Response
}

/** Where an endpoint answers with an object or with a stream of text, as it is asked, the object is meant. */
type Body<T> = [Exclude<NonNullable<T>, string>] extends [never] ? NonNullable<T> : Exclude<NonNullable<T>, string>

/** The body of a good answer; throws a `Problem` otherwise. */
export async function good<T>(outcome: Promise<Outcome<T>>): Promise<Body<T>> {
  const { data, response, ...rest } = (await outcome) as Outcome<T> & { error?: unknown }
  if (!response.ok) throw Problem.of(rest.error, response.status)
  return data as Body<T>
}

interface Page<T> {
  items: T[]
  next_page?: string | null
}

/** All pages of a list, a thousand at a time. `most` bounds what a screen holds. */
export async function all<T>(
  read: (page: { limit: number; page?: string }) => Promise<Outcome<Page<T>>>,
  most = 50_000,
): Promise<T[]> {
  const items: T[] = []
  let next: string | null | undefined
  do {
    const page = await good<Page<T>>(read(next ? { limit: 1000, page: next } : { limit: 1000 }))
    items.push(...page.items)
    next = page.next_page
  } while (next && items.length < most)
  return items
}

/** Reads what is not in the document's types, such as logs and tiles; as `good`. */
export async function raw(path: string, init: RequestInit = {}): Promise<Response> {
  const answer = await send(new Request(new URL(path, location.origin), init))
  if (!answer.ok) throw await problemOf(answer)
  return answer
}
