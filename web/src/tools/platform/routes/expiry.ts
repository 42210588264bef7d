// When a certificate is worth a warning.
import type { Schemas } from '@/api/client'

export type Expiry = 'none' | 'good' | 'soon' | 'over'

const DAY = 86_400_000
const WARN = 14 * DAY

/**
 * Under fourteen days, or under three tenths of its life where that is shorter: certificates of the platform's own authority live
 * thirty days and are renewed after twenty, so that fourteen would cry wolf every month.
 */
export function expiryOf(certificate: Pick<Schemas['Certificate'], 'not_before' | 'not_after'>, now: Date): Expiry {
  if (!certificate.not_after) return 'none'
  const end = new Date(certificate.not_after).getTime()
  const left = end - now.getTime()
  if (left <= 0) return 'over'
  const life = certificate.not_before ? end - new Date(certificate.not_before).getTime() : Number.POSITIVE_INFINITY
  return left < Math.min(WARN, life * 0.3) ? 'soon' : 'good'
}
