// Failures as the API tells them (RFC 9457), and the two that it cannot tell: no connection, and no sense.
import type { components } from './schema'

export type FieldProblem = components['schemas']['FieldProblem']

export class Problem extends Error {
  readonly status: number
  readonly code: string
  readonly requestId: string
  readonly fields: FieldProblem[]

  constructor(status: number, code: string, detail: string, requestId = '', fields: FieldProblem[] = []) {
    super(detail)
    this.name = 'Problem'
    this.status = status
    this.code = code
    this.requestId = requestId
    this.fields = fields
  }

  static offline(): Problem {
    return new Problem(0, 'offline', '')
  }

  static of(body: unknown, status: number): Problem {
    if (typeof body === 'object' && body !== null && 'code' in body && 'detail' in body) {
      const known = body as Partial<components['schemas']['Problem']>
      return new Problem(status, String(known.code), String(known.detail), known.request_id ?? '', known.errors ?? [])
    }
    // A proxy between answered in its own words: they are not for a person.
    return new Problem(status, status === 503 || status === 502 || status === 504 ? 'offline' : 'unexpected', '')
  }

  /** Whatever was thrown. */
  static from(thrown: unknown): Problem {
    return thrown instanceof Problem ? thrown : new Problem(0, 'unexpected', thrown instanceof Error ? thrown.message : String(thrown))
  }

  get isOffline(): boolean {
    return this.code === 'offline'
  }

  get isForbidden(): boolean {
    return this.status === 403
  }

  get isMissing(): boolean {
    return this.status === 404
  }

  /** What is said of one field, by its JSON pointer. */
  field(pointer: string): string | undefined {
    return this.fields.find((field) => field.pointer === pointer)?.message
  }
}

export async function problemOf(answer: Response): Promise<Problem> {
  const body: unknown = await answer.json().catch(() => undefined)
  return Problem.of(body, answer.status)
}
