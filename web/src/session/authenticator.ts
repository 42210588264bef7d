// Signing in by passkey: asked for by a button, or offered by the browser where the login is typed (conditional mediation).
import { onScopeDispose } from 'vue'
import { api, good, type Schemas } from '@/api/client'
import { passkeyFailure } from './failures'
import { askPasskey, passkeysWork } from './passkey'
import { isAddress } from './secrets'

/** Why passkeys cannot work here; none when they can. */
export function passkeyObstacle(): 'insecure' | 'address' | undefined {
  if (!passkeysWork()) return 'insecure'
  return isAddress(location.hostname) ? 'address' : undefined
}

const COOKIE = { params: { query: { session: 'cookie' } } } as const
/** The platform forgets what it asked after five minutes. */
const OFFER = 4 * 60_000

async function answer(ceremony: string, credential: unknown): Promise<Schemas['SignInStep']> {
  return good(api.POST('/api/v1/sign-in/passkey', { ...COOKIE, body: { ceremony, credential: credential as Record<string, never> } }))
}

export async function signInByPasskey(): Promise<Schemas['SignInStep']> {
  const { ceremony, options } = await good(api.POST('/api/v1/sign-in/passkey/options'))
  const credential = await askPasskey(options).catch((thrown: unknown) => {
    throw passkeyFailure(thrown)
  })
  return answer(ceremony, credential)
}

export interface Offer {
  /** Stops it, so that another question to the authenticator can begin. */
  stop: () => void
}

/** Offers passkeys in the field whose autocomplete says `webauthn`. Silent unless one is taken. */
export function offerPasskeys(done: (step: Schemas['SignInStep']) => void, failed: (thrown: unknown) => void): Offer {
  let running: AbortController | undefined
  let timer: ReturnType<typeof setTimeout> | undefined

  async function offer(): Promise<void> {
    if (passkeyObstacle() || !(await PublicKeyCredential.isConditionalMediationAvailable?.().catch(() => false))) return
    running?.abort()
    const mine = new AbortController()
    running = mine
    clearTimeout(timer)
    try {
      const { ceremony, options } = await good(api.POST('/api/v1/sign-in/passkey/options'))
      if (mine.signal.aborted) return
      timer = setTimeout(() => void offer(), OFFER)
      const outer = options as Record<string, unknown>
      const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON((outer['publicKey'] ?? outer) as never)
      const credential = (await navigator.credentials.get({ publicKey, mediation: 'conditional', signal: mine.signal })) as PublicKeyCredential | null
      if (!credential || mine.signal.aborted) return
      clearTimeout(timer)
      const step = await answer(ceremony, credential.toJSON()).catch((thrown: unknown) => {
        failed(thrown)
        return undefined
      })
      if (step) done(step)
      else void offer()
    } catch {
      // Nobody asked for it: the button and the password are there.
    }
  }

  function stop(): void {
    clearTimeout(timer)
    running?.abort()
    running = undefined
  }
  void offer()
  onScopeDispose(stop)
  return { stop }
}
