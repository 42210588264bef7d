// What a person's hands do in dialogs, and how the walk holds what the screen shows against what the platform says.
import assert from 'node:assert/strict'
import { stepUp } from './person.mjs'

/** What the platform answers to the person at the page. */
export async function ask(page, path) {
  const { status, body } = await page.evaluate(async (path) => {
    const answer = await fetch(`/api/v1${path}`)
    return { status: answer.status, body: await answer.text() }
  }, path)
  assert.equal(status, 200, `GET ${path}: ${status} ${body}`)
  return JSON.parse(body)
}

/** Has the platform do what is no screen's: what a step needs to be there. */
export async function tell(page, method, path, body) {
  const answer = await page.evaluate(
    async ([method, path, body]) => {
      const headers = { 'content-type': 'application/json', 'idempotency-key': crypto.randomUUID() }
      const answer = await fetch(`/api/v1${path}`, { method, headers, body: JSON.stringify(body) })
      return { status: answer.status, body: await answer.text() }
    },
    [method, path, body],
  )
  assert.ok(answer.status < 300, `${method} ${path}: ${answer.status} ${answer.body}`)
  return JSON.parse(answer.body)
}

/** The one of a list that is looked for, as the platform tells it. */
export const find = async (page, path, fits) => (await ask(page, path)).items.find(fits)

/** Asks until it holds; what comes of a click may take a moment. */
export async function until(what, holds) {
  const end = Date.now() + 10_000
  for (;;) {
    const found = await holds()
    if (found) return found
    assert(Date.now() < end, `not within ten seconds: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

/** Presses what ends a form or a dialog, proves the second factor where that is asked for, and waits until what is to go has gone, or what is to come is there. */
export async function send({ person: { page }, authenticator }, button, sign, state = 'hidden') {
  await button.click()
  const proof = page.getByRole('dialog', { name: 'Prove it is you' })
  const asked = proof.waitFor({ timeout: 10_000 }).then(() => true)
  const done = sign.waitFor({ state, timeout: 10_000 }).then(() => false)
  // The one that comes second never counts.
  asked.catch(() => undefined)
  done.catch(() => undefined)
  if (!(await Promise.race([asked, done]))) return
  await stepUp(page, authenticator)
  await sign.waitFor({ state })
}

/** Does what is asked about in a dialog, once its name is typed where that is wanted. */
export async function confirm(walk, { title, button, typed, look }) {
  const dialog = walk.person.page.getByRole('dialog', { name: title })
  await dialog.waitFor()
  const go = dialog.getByRole('button', { name: button, exact: true })
  if (typed) {
    assert.ok(await go.isDisabled(), `${title}: nothing happens before ${typed} is typed`)
    await dialog.getByRole('textbox').fill(typed)
  }
  if (look) await walk.look(walk.person, look)
  await send(walk, go, dialog)
}

/** Picks one of a list that opens. */
export async function choose(page, within, label, option) {
  await within.getByRole('combobox', { name: label, exact: true }).click()
  await page.getByRole('option', { name: option }).first().click()
  await page.getByRole('listbox').waitFor({ state: 'hidden' })
}

/** Picks several: each is looked for by its filter. */
export async function chooseMany(page, within, label, options) {
  await within.getByLabel(label, { exact: true }).locator('xpath=ancestor::*[contains(@class,"p-multiselect")]').click()
  const box = page.locator('.p-multiselect-overlay')
  for (const option of options) {
    await box.getByRole('searchbox').or(box.getByRole('textbox')).first().fill(option)
    await box.getByRole('option', { name: option }).first().click()
  }
  await page.keyboard.press('Escape')
  await box.waitFor({ state: 'hidden' })
}

/** Takes what is shown this once. */
export async function once({ person: { page } }, title, shape) {
  const dialog = page.getByRole('dialog', { name: title })
  const secret = await dialog.locator('.copy-text code').innerText()
  assert.match(secret, shape, title)
  await dialog.getByRole('button', { name: 'I have it' }).click()
  await dialog.waitFor({ state: 'hidden' })
  return secret
}

/** Opens a tab by its address. */
export async function tab({ person: { page }, settled }, path) {
  await page.goto(path)
  await settled(page)
}
