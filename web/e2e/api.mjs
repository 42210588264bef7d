// What the API says of what was done on the screen, asked as the person at the page: a click that does nothing shows there.
import assert from 'node:assert/strict'
import { until } from './until.mjs'
import { OWN } from './writes.mjs'

export const PROJECT = '/projects/hello'

/** One call, however it is answered. */
export function call(page, method, path, body) {
  return page.evaluate(
    async ([method, path, body, own]) => {
      const headers = { [own]: '1', ...(body ? { 'content-type': 'application/json', 'idempotency-key': crypto.randomUUID() } : {}) }
      const answer = await fetch(`/api/v1${path}`, { method, headers, body })
      return { status: answer.status, text: await answer.text() }
    },
    [method, path, body && JSON.stringify(body), OWN],
  )
}

/** With what status it is answered. */
export const status = async (page, path) => (await call(page, 'GET', path)).status

/** What it answers. */
export async function ask(page, path) {
  const { status, text } = await call(page, 'GET', path)
  assert.equal(status, 200, `GET ${path}: ${status} ${text}`)
  return JSON.parse(text)
}

/** The one of a list that is looked for. */
export const find = async (page, path, fits) => (await ask(page, path)).items.find(fits)

/** Waits until it says so; gives what it says. */
export async function says(page, path, fits) {
  let last
  return until(() => `${path} is what ${fits} asks: ${last.status} ${last.text.slice(0, 2000)}`, async () => {
    last = await call(page, 'GET', path)
    const told = last.status === 200 && JSON.parse(last.text)
    return told && fits(told) && told
  })
}

/** Waits until it knows nothing there. */
export const gone = (page, path) => until(`${path} is gone`, async () => (await status(page, path)) === 404)

/** Has the platform do what is no screen's: what a step needs to be there. */
export async function tell(page, method, path, body) {
  const answer = await call(page, method, path, body)
  assert.ok(answer.status < 300, `${method} ${path}: ${answer.status} ${answer.text}`)
  return JSON.parse(answer.text)
}
