// Types of the API from its committed document. They are made at each build and never committed, so that they cannot be old.
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import openapi, { astToString } from 'openapi-typescript'

const from = new URL('../../docs/reference/openapi.json', import.meta.url)
const to = new URL('../src/api/schema.d.ts', import.meta.url)
const age = (url) => statSync(url, { throwIfNoEntry: false })?.mtimeMs ?? 0
if (age(to) < age(from)) {
  const types = await openapi(JSON.parse(readFileSync(from, 'utf8')))
  writeFileSync(to, `// Made by scripts/generate.mjs from docs/reference/openapi.json.\n${astToString(types)}`)
}
