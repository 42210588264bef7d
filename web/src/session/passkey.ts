// WebAuthn between the API's JSON and the browser's buffers (W3C WebAuthn level 3, section 5.1).

type Json = Record<string, unknown>

function publicKeyOf(options: unknown): Json {
  const outer = options as Json
  return (outer['publicKey'] ?? outer) as Json
}

export const passkeysWork = (): boolean => typeof PublicKeyCredential === 'function' && globalThis.isSecureContext

/** Asks the browser for a passkey to sign in with; what it gives is sent to the API as it is. */
export async function askPasskey(options: unknown): Promise<Json> {
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(publicKeyOf(options) as never)
  const credential = (await navigator.credentials.get({ publicKey })) as PublicKeyCredential
  return credential.toJSON() as unknown as Json
}

/** Has the browser make a passkey. */
export async function makePasskey(options: unknown): Promise<Json> {
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(publicKeyOf(options) as never)
  const credential = (await navigator.credentials.create({ publicKey })) as PublicKeyCredential
  return credential.toJSON() as unknown as Json
}
