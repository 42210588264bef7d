// The ETag that goes with what was read, to be sent back as If-Match.
import { good } from '@/api/client'

export interface Tagged<T> {
  value: T
  tag: string
}

export async function tagged<T>(outcome: Promise<{ data?: T; response: Response }>): Promise<Tagged<NonNullable<T>>> {
  const answer = await outcome
  return { value: await good(Promise.resolve(answer)), tag: answer.response.headers.get('etag') ?? '' }
}

export const ifMatch = (tag: string): { 'if-match'?: string } => (tag ? { 'if-match': tag } : {})
