// Which writes the console can send, by its sources, and which of them a browser has sent.
import assert from 'node:assert/strict'
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const SOURCES = fileURLToPath(new URL('../src', import.meta.url))

/** What a request of the walk's own carries: nobody clicked it. */
export const OWN = 'x-walk'

/** All that is written so in the sources: `METHOD path`, with its places in braces. */
export function known() {
  const found = new Set()
  for (const name of readdirSync(SOURCES, { recursive: true })) {
    if (!/(?<!\.test)\.(vue|ts)$/.test(name) || name.endsWith('.d.ts')) continue
    const text = readFileSync(join(SOURCES, name), 'utf8')
    const constants = Object.fromEntries([...text.matchAll(/const (\w+) = '(\/api\/[^']+)'/g)].map(([, constant, path]) => [constant, path]))
    for (const [, method, plain, template, constant] of text.matchAll(/\bapi\.(POST|PUT|PATCH|DELETE)\((?:'([^']*)'|`([^`]*)`|(\w+))/g)) {
      const path = plain ?? constants[constant] ?? template?.replace(/\$\{(\w+)\}/, (_, inner) => constants[inner])
      assert.match(path ?? '', /^\/api\/v1\//, `${name}: ${method} ${plain ?? template ?? constant}`)
      found.add(`${method} ${path}`)
    }
  }
  return found
}

/** Listens to what the pages of a browser send. */
export function listen(context, sent) {
  context.on('request', (request) => {
    if (!(OWN in request.headers())) sent.add(`${request.method()} ${new URL(request.url()).pathname}`)
  })
}

/** Those that nobody sent. */
export function missed(sent) {
  const all = [...sent]
  return [...known()].filter((write) => {
    const shape = new RegExp(`^${write.replaceAll(/\{\w+\}/g, '[^/]+')}$`)
    return !all.some((one) => shape.test(one))
  })
}
