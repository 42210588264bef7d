// Makes answers from the schemas of the committed OpenAPI document, the same ones each time.

const words = ['web', 'shop', 'api', 'worker', 'cache', 'search', 'mail', 'report', 'queue', 'files']

/** The schema that a reference leads to. */
export function resolve(document, schema) {
  let found = schema
  while (found?.$ref) found = found.$ref.slice(2).split('/').reduce((at, part) => at?.[part], document)
  return found ?? {}
}

function text(schema, name, n) {
  if (schema.enum) return schema.enum[n % schema.enum.length]
  if (schema.format === 'date-time') return new Date(Date.now() - (n + 1) * 3_600_000).toISOString()
  if (/(^|_)id$/.test(name)) return `x-${String(n).padStart(26, '0')}`
  if (name === 'project') return 'harbour'
  if (name === 'state' || name === 'status') return 'active'
  if (/digest|fingerprint|artifact|commit/.test(name)) return n.toString(16).padStart(4, '0').repeat(10)
  if (name === 'address') return `192.0.2.${(n % 250) + 1}`
  if (name === 'name') return `${words[n % words.length]}-${n + 1}`
  return `${name || 'text'} ${n + 1}`
}

/** A value that fits the schema. `n` varies it. */
export function sample(document, given, name = '', n = 0, depth = 0) {
  const schema = resolve(document, given)
  const variants = schema.oneOf ?? schema.anyOf
  if (variants) return sample(document, variants.find((one) => resolve(document, one).type !== 'null') ?? variants[0], name, n, depth)
  if (schema.allOf) return Object.assign({}, ...schema.allOf.map((one) => sample(document, one, name, n, depth)))
  if (schema.const !== undefined) return schema.const
  const types = [schema.type ?? (schema.properties ? 'object' : undefined)].flat()
  const type = types.find((one) => one !== 'null')
  switch (type) {
    case 'object': {
      if (depth > 6) return {}
      const entries = Object.entries(schema.properties ?? {})
      return Object.fromEntries(entries.map(([key, value]) => [key, key === 'next_page' ? null : sample(document, value, key, n, depth + 1)]))
    }
    case 'array': {
      const count = Math.max(schema.minItems ?? 0, depth > 1 ? 1 : 3)
      return Array.from({ length: depth > 6 ? 0 : count }, (_, index) => sample(document, schema.items ?? {}, name.replace(/s$/, ''), n + index, depth + 1))
    }
    case 'integer':
    case 'number':
      return Math.min(Math.max(schema.minimum ?? 0, n + 1), schema.maximum ?? Number.MAX_SAFE_INTEGER)
    case 'boolean':
      return n % 2 === 0
    case 'string': {
      const made = text(schema, name, n)
      const fits = new RegExp(schema.pattern ?? '', 'u')
      // A pattern that lists words means one of them.
      const listed = /^\^\(([\w|-]+)\)\$$/.exec(schema.pattern ?? '')?.[1]?.split('|') ?? []
      return [made, ...listed, words[n % words.length], '/', '0'].find((one) => fits.test(one)) ?? made
    }
    default:
      return null
  }
}
