// A hint while one types a new password. The platform decides: by length and by a list of common ones (NIST SP 800-63B-4), with
// no rules of composition; this only says beforehand what it would say, and what is better than the least.

export type Strength = 'empty' | 'short' | 'weak' | 'fair' | 'good'

const SHORTEST = 8

/** `names` are words that anybody would try for this person. */
export function strengthOf(password: string, names: readonly string[] = []): Strength {
  const text = password.normalize('NFKC')
  const length = [...text].length
  if (length === 0) return 'empty'
  if (length < SHORTEST) return 'short'
  let rest = text.toLowerCase()
  for (const name of names.flatMap((one) => one.toLowerCase().split(/[^\p{L}\p{N}]+/u))) {
    if (name.length >= 3) rest = rest.replaceAll(name, '')
  }
  const left = new Set(rest).size
  if (left < 5 || !/\p{L}/u.test(rest) || isRow(rest)) return 'weak'
  return length >= 15 ? 'good' : 'fair'
}

/** Keys or letters one after the other, for most of it. */
function isRow(text: string): boolean {
  let near = 0
  for (let i = 1; i < text.length; i += 1) {
    const step = (text.codePointAt(i) ?? 0) - (text.codePointAt(i - 1) ?? 0)
    const keys = ROWS.some((row) => row.includes(text.slice(i - 1, i + 1)))
    if (Math.abs(step) <= 1 || keys) near += 1
  }
  return near >= (text.length - 1) * 0.75
}

const ROWS = ['qwertyuiop', 'qwertzuiopü', 'asdfghjklöä', 'zxcvbnm', 'yxcvbnm', '1234567890']
