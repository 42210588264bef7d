// @vitest-environment node
// The mock answers as the document says, for what is written by hand and for what is made from schemas.
import Ajv from 'ajv/dist/2020.js'
import { expect, it } from 'vitest'
// @ts-expect-error -- plain modules for node
import { answerOf, document } from './server.mjs'

interface Item {
  responses: Record<string, { content?: Record<string, { schema?: object }> }>
}
const spec = document as { paths: Record<string, Record<string, Item>>; components: object }
const ajv = new Ajv({ strict: false, validateFormats: false })
ajv.addSchema({ $id: 'document', components: spec.components })

/** References of the document, to what was added above. */
const local = (schema: object): object => JSON.parse(JSON.stringify(schema).replaceAll('"#/components', '"document#/components')) as object
const NAMES: Record<string, string> = { project: 'harbour', machine: 'web-1', app: 'shop', deployment: 'd8', host: 'shop.example.org' }

it('every read of the mock fits its schema', () => {
  const wrong: string[] = []
  for (const [path, item] of Object.entries(spec.paths)) {
    const operation = item['get']
    const schema = operation?.responses['200']?.content?.['application/json']?.schema
    if (!schema) continue
    const asked = path.replaceAll(/\{(\w+)\}/g, (_, name: string) => NAMES[name] ?? 'x')
    const { status, body } = (answerOf as (method: string, path: string) => { status: number; body: unknown })('get', asked)
    const valid = ajv.compile(local(schema))
    if (status !== 200 || !valid(body)) wrong.push(`${path}: ${status} ${ajv.errorsText(valid.errors)}`)
  }
  expect(wrong).toEqual([])
}, 60_000)
