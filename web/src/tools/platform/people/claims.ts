// Conditions on the claims of a job's token, as lines `name = value` that a person writes.

/** None when a line is no condition, or a name stands twice. */
export function parseClaims(text: string): Record<string, string> | undefined {
  const claims: Record<string, string> = {}
  for (const line of text.split('\n').map((one) => one.trim()).filter((one) => one !== '')) {
    const [, name, value] = /^([^=\s]+)\s*=\s*(.+)$/.exec(line) ?? []
    if (!name || !value || Object.hasOwn(claims, name)) return undefined
    claims[name] = value
  }
  return Object.keys(claims).length > 0 ? claims : undefined
}

/** None when it is no set of keys; undefined for nothing at all. */
export function parseKeys(text: string): { given: boolean; keys?: Record<string, unknown> } {
  if (text.trim() === '') return { given: false }
  try {
    const read: unknown = JSON.parse(text)
    if (typeof read === 'object' && read !== null && Array.isArray((read as { keys?: unknown }).keys)) return { given: true, keys: read as Record<string, unknown> }
  } catch {
    // Not even JSON.
  }
  return { given: true }
}
