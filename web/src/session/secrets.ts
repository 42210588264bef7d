// What people read off, type and keep: pure text.

/** Where the browser keeps the name of the organisation that one signed in to last. */
export const KEPT_ORGANISATION = 'hafen.organisation'

/** What they were handed may be the secret, or the address that holds it. */
export function invitationToken(text: string): string {
  const trimmed = text.trim()
  const at = trimmed.indexOf('#')
  return at >= 0 ? trimmed.slice(at + 1).trim() : trimmed
}

/** In groups of four, to be typed off. */
export const inGroups = (secret: string): string => secret.match(/.{1,4}/g)?.join(' ') ?? ''

/** Digits alone are a one-time code; anything else is meant as a recovery code. */
export function secondFactorOf(typed: string): { totp: string } | { recovery_code: string } {
  const digits = typed.replaceAll(/\s/g, '')
  return /^\d{6,8}$/.test(digits) ? { totp: digits } : { recovery_code: typed.trim() }
}

/** Seconds that a 429 asks to wait; it says so in words only. */
export function secondsIn(detail: string): number | undefined {
  const found = /\b(\d+) s\b/.exec(detail)
  return found ? Number(found[1]) : undefined
}

export function waitText(seconds: number): string {
  const rest = String(seconds % 60).padStart(2, '0')
  return `${Math.floor(seconds / 60)}:${rest}`
}

/** The file of recovery codes, for a drawer or a password manager. */
export function recoveryFile(title: string, codes: readonly string[], at: string): string {
  return [title, at, '', ...codes, ''].join('\n')
}

/** A passkey is bound to a name: WebAuthn knows no IP addresses. */
export const isAddress = (host: string): boolean => /^\d{1,3}(\.\d{1,3}){3}$/.test(host) || host.startsWith('[')

/** A program by the name that people know it by; others than browsers name themselves. */
export const clientName = (agent: string): string => (/^Mozilla\//.test(agent) && deviceName(agent)) || agent

/** A name for a passkey that its owner knows again. */
export function deviceName(agent: string): string {
  const system = (
    [
      [/iPhone/, 'iPhone'],
      [/iPad/, 'iPad'],
      [/Android/, 'Android'],
      [/Windows/, 'Windows'],
      [/Mac OS/, 'Mac'],
      [/CrOS/, 'Chromebook'],
      [/Linux/, 'Linux'],
    ] as const
  ).find(([pattern]) => pattern.test(agent))?.[1]
  const browser = (
    [
      [/Firefox\//, 'Firefox'],
      [/Edg\//, 'Edge'],
      [/Chrom(e|ium)\//, 'Chrome'],
      [/Safari\//, 'Safari'],
    ] as const
  ).find(([pattern]) => pattern.test(agent))?.[1]
  return [system, browser].filter(Boolean).join(' · ')
}
