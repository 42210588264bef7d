// The API as its document describes it, without a platform: for work on the console. What is shown is in `harbour.mjs`, or made
// from the schemas; nothing is kept. `node mock/server.mjs [PORT]` serves the built console beside it, under the policy of the real one.
//
// Beside its answers it can fail on purpose: a query `?mock=offline|403|404|500|empty|slow` in the page's address reaches here as the
// referrer, so that each state of a screen can be looked at.
import { createHash, randomBytes } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { extname } from 'node:path'
import { answers, change } from './harbour.mjs'
import { resolve, sample } from './sample.mjs'

const document = JSON.parse(readFileSync(new URL('../../docs/reference/openapi.json', import.meta.url), 'utf8'))
const METHODS = ['get', 'post', 'put', 'patch', 'delete']
const routes = Object.entries(document.paths).map(([path, item]) => ({
  path,
  item,
  pattern: new RegExp(`^${path.replaceAll(/[.]/g, '\\.').replaceAll(/\{(\w+)\}/g, '(?<$1>[^/]+)')}$`),
}))
// What is literal is found before what is not.
routes.sort((a, b) => (a.path.match(/\{/g)?.length ?? 0) - (b.path.match(/\{/g)?.length ?? 0))

export function answerOf(method, path, query = new URLSearchParams()) {
  const route = routes.find((one) => one.pattern.test(path) && one.item[method])
  if (!route) return { status: 404, body: problem(404, 'not_found', 'there is no such path') }
  const parts = Object.fromEntries(Object.entries(route.pattern.exec(path)?.groups ?? {}).map(([key, value]) => [key, decodeURIComponent(value)]))
  const [status, response] = Object.entries(route.item[method].responses).find(([code]) => code.startsWith('2')) ?? ['204', {}]
  const content = resolve(document, response).content ?? {}
  const schema = content['application/json']?.schema
  const special = method === 'get' || method === 'post' ? answers[route.path] : undefined
  if (route.path === '/api/v1/policy/permitted') return { status: 200, body: { place: query.get('project') ? `project/${query.get('project')}` : 'organisation', actions: actions(), step_up: [] } }
  if (route.path === '/api/v1/policy/actions') return { status: 200, body: { items: known } }
  if (special && (method === 'get' || route.path.endsWith('/plans'))) {
    const value = special(parts, query)
    if (value === undefined) return { status: 404, body: problem(404, 'not_found', 'there is nothing of that name') }
    return { status: Number(status), body: Array.isArray(value) ? page(value, query) : value }
  }
  if (!schema) return { status: Number(status), body: undefined, text: content['text/plain'] || content['application/octet-stream'] ? 'make dist\ncc -O2 shop.c\nlinked dist/shop\n' : undefined }
  return { status: Number(status), body: sample(document, schema, '', 0) }
}

function page(items, query) {
  const limit = Number(query.get('limit') ?? 100)
  const from = Number(query.get('page') ?? 0)
  const state = query.get('state')
  const group = query.get('group')
  const fitting = items.filter((one) => (!state || one.state === state) && (!group || one.group === group))
  return { items: fitting.slice(from, from + limit), next_page: from + limit < fitting.length ? String(from + limit) : null }
}

const source = readFileSync(new URL('../../crates/policy/src/actions.rs', import.meta.url), 'utf8')
const known = [...source.matchAll(/^\s+(action|danger)\("([\w.]+)", "(\w+)", "([^"]+)"/gm)].map(([, kind, name, group, tells]) => ({ name, group, dangerous: kind === 'danger', tells }))
const actions = () => known.map(({ name }) => name)
const problem = (status, code, detail) => ({ type: 'about:blank', title: code, status, code, detail, request_id: 'req-mock', errors: [] })

function failure(kind) {
  const kinds = { 403: problem(403, 'forbidden', 'machine.read is not permitted. A viewer may look at everything in the project but secrets.'), 404: problem(404, 'not_found', 'there is nothing of that name'), 500: problem(500, 'internal', '') }
  return kinds[kind]
}

const dist = new URL('../dist/', import.meta.url)
const TYPES = { '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.html': 'text/html; charset=utf-8', '.json': 'application/json' }

/** The console as it was built, with the policy that the platform gives it. */
function consolePage(url, response) {
  const file = /^\/(assets\/[\w.-]+|icon\.svg)$/.exec(url.pathname)?.[1] ?? 'index.html'
  const path = new URL(file, dist)
  if (!existsSync(path)) return response.writeHead(404).end(`${file}: run npm run build first`)
  const nonce = randomBytes(16).toString('base64')
  const policy = `default-src 'none'; script-src 'self'; style-src 'self' 'nonce-${nonce}'; img-src 'self' data:; font-src 'self'; connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'`
  response.writeHead(200, { 'content-type': TYPES[extname(file)] ?? 'application/octet-stream', ...(file === 'index.html' ? { 'content-security-policy': policy } : {}) })
  response.end(file === 'index.html' ? readFileSync(path, 'utf8').replaceAll('__NONCE__', nonce) : readFileSync(path))
}

function serve(request, response) {
  const url = new URL(request.url ?? '/', 'http://mock')
  if (request.method === 'GET' && !/^\/(api|oauth|ledger|health|\.well-known)(\/|$)/.test(url.pathname)) return consolePage(url, response)
  const wish = new URL(request.headers.referer ?? 'http://mock', 'http://mock').searchParams.get('mock')
  const ours = ['/api/v1/whoami', '/api/v1/policy/permitted', '/api/v1/projects', '/api/v1/operations'].includes(url.pathname)
  if (url.pathname === '/api/v1/changes' && request.headers.accept?.includes('text/event-stream')) {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
    response.write(': live\n\n')
    let n = 0
    const timer = setInterval(() => response.write(`event: change\ndata: ${JSON.stringify({ ...change(n), at: new Date().toISOString(), seq: 2000 + n++ })}\n\n`), 10_000)
    request.on('close', () => clearInterval(timer))
    return
  }
  const reply = (status, body, type = 'application/json') => {
    response.writeHead(status, { 'content-type': status >= 400 ? 'application/problem+json' : type, etag: body?.generation ? `"g${body.generation}"` : '"g1"' })
    response.end(body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body))
  }
  if (!ours && wish === 'offline') return request.socket.destroy()
  if (!ours && failure(wish)) return reply(Number(wish), failure(wish))
  const { status, body, text } = answerOf((request.method ?? 'GET').toLowerCase(), url.pathname, url.searchParams)
  const shown = !ours && wish === 'empty' && Array.isArray(body?.items) ? { ...body, items: [] } : body
  if (text) return reply(status, text, 'text/plain')
  if (wish === 'slow' && !ours) return setTimeout(() => reply(status, shown), 5000)
  reply(status, status === 204 ? undefined : shown)
}

/** A terminal that says how it is, and nothing to what is typed (RFC 6455, sections 4.2.2 and 5.2). */
function terminal(request, socket) {
  const accept = createHash('sha1').update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`)
  const text = Buffer.from('Debian GNU/Linux 13 web-1 ttyS0\r\n\r\nhafen@web-1:~$ uptime\r\n 10:24:31 up 9 days,  2:11,  1 user,  load average: 0.08, 0.03, 0.01\r\nhafen@web-1:~$ ')
  socket.write(Buffer.concat([Buffer.from(text.length < 126 ? [0x82, text.length] : [0x82, 126, text.length >> 8, text.length & 0xff]), text]))
  socket.on('data', (frame) => (frame[0] & 0x0f) === 8 && socket.end(Buffer.from([0x88, 0]))).on('error', () => socket.destroy())
}

if (process.argv[1]?.endsWith('server.mjs')) {
  const port = Number(process.argv[2] ?? 4791)
  createServer((request, response) => {
    request.resume()
    try {
      serve(request, response)
    } catch (error) {
      console.error(error)
      response.writeHead(500).end()
    }
  }).on('upgrade', terminal).listen(port, '127.0.0.1', () => console.log(`the mock of the API answers at http://127.0.0.1:${port}`))
}

export { document, METHODS }
