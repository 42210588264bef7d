// What goes wrong while proving who one is, in the person's language: the API says it in English, and here people may not know it yet.
// Other folders' components use it, too, beside words of their own; hence no `useWords`.
import { Problem } from '@/api/problem'
import { i18n } from '@/i18n'
import type { Words } from '@/i18n/words'
import type { passkeyObstacle } from './authenticator'
import { messages } from './messages'

const KNOWN = new Set([
  'sign_in_failed',
  'second_factor_missing',
  'ceremony_over',
  'invitation_over',
  'password_common',
  'passkeys_need_a_name',
  'passkey_refused',
  'passkey_cancelled',
  'passkey_known',
  'last_factor',
])

function t(key: string): string {
  let at: string | Words | undefined = messages[i18n.global.locale.value as 'de' | 'en'] as Words
  for (const part of key.split('.')) at = typeof at === 'object' ? at[part] : undefined
  return typeof at === 'string' ? at : key
}

/** The same failure, in words of `failed`; `code` for a wrong code where a wrong password would be said the same. */
export function told(problem: Problem | undefined, asked: 'password' | 'code' = 'password'): Problem | undefined {
  if (!problem || !KNOWN.has(problem.code)) return problem
  const key = problem.code === 'sign_in_failed' && asked === 'code' ? 'code_wrong' : problem.code
  const fields = problem.code === 'password_common' ? [] : problem.fields
  return new Problem(problem.status, problem.code, t(`failed.${key}`), problem.requestId, fields)
}

/** Why passkeys cannot work here, in words. */
export const obstacleText = (obstacle: ReturnType<typeof passkeyObstacle>): string =>
  obstacle === 'insecure' ? t('passkeyInsecure') : t('failed.passkeys_need_a_name')

/** What the browser throws of passkeys, as a failure of ours. */
export function passkeyFailure(thrown: unknown): unknown {
  if (!(thrown instanceof DOMException)) return thrown
  if (thrown.name === 'InvalidStateError') return new Problem(0, 'passkey_known', thrown.message)
  if (thrown.name === 'NotAllowedError' || thrown.name === 'AbortError') return new Problem(0, 'passkey_cancelled', thrown.message)
  // Not this host's to use, so WebAuthn says; the platform's public URL is another.
  if (thrown.name === 'SecurityError') return new Problem(0, 'passkey_refused', thrown.message)
  return thrown
}
