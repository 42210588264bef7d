// What a person's eyes and hands do on a page: look for something, open, choose, write, press, and prove that it is they.
import assert from 'node:assert/strict'
import { stepUp } from './person.mjs'
import { until } from './until.mjs'

/** Whether it is on the screen, and whether it is not: what `send` and `proven` wait for. */
export const there = (locator) => () => locator.isVisible()
export const away = (locator) => async () => !(await locator.isVisible())

/** Is on the screen. */
export const seen = (locator, timeout) => until(`${locator} is to be seen`, there(locator), timeout)

/** Is on the screen no more. */
export async function unseen(locator, timeout) {
  await until(`${locator} is to be seen no more`, away(locator), timeout)
  // Nothing is seen of a page on its way to another: then it counts once that one is there.
  await locator.waitFor({ state: 'hidden' })
}

/** The row of a table that has a cell of this name. */
export const row = (page, name) => page.getByRole('row').filter({ has: page.getByRole('cell', { name, exact: true }) })

/** Opens a screen, or a tab of it, by its address. */
export async function tab({ person: { page }, settled }, path) {
  await page.goto(path)
  await settled(page)
}

/** A dialog that was just opened; each is looked at once, and all are given the time to come to rest: focus is theirs until then. */
export async function opened(walk, name) {
  const { page } = walk.person
  const dialog = page.getByRole('dialog', { name, exact: true })
  await seen(dialog)
  walk.looked ??= new Set()
  if (walk.looked.has(`${name}`)) await walk.settled(page)
  else await walk.look(walk.person, `the dialog ${name}`)
  walk.looked.add(`${name}`)
  return dialog
}

/** Waits for what comes of a click, and proves the second factor where that is asked for first. */
export async function proven({ person: { page }, authenticator }, outcome) {
  const proof = page.getByRole('dialog', { name: 'Prove it is you' })
  const first = await until('something comes of a click', async () => ((await proof.isVisible()) ? 'asked' : (await outcome()) && 'over'))
  if (first === 'over') return
  // The next code may be half a minute away.
  await stepUp(page, authenticator)
  await until('something comes of a proof', outcome)
}

/** Presses what sends something, until what is to come of it has come. */
export async function send(walk, button, outcome) {
  await button.click()
  await proven(walk, outcome)
}

/** Presses what sends a request of this path; gives what it sent, and the status that it was answered with. */
export async function posts(page, path, button) {
  const wanted = (request) => request.method() === 'POST' && new URL(request.url()).pathname === `/api/v1${path}`
  const [request] = await Promise.all([page.waitForRequest(wanted), button.click()])
  return { sent: request.postDataJSON(), status: (await request.response()).status() }
}

/** Presses what ends a dialog, and sees it go. */
export async function press(walk, dialog, button) {
  await send(walk, dialog.getByRole('button', { name: button, exact: true }), away(dialog))
}

/** What is wrong with a field stands at it, and is read out with it. */
export async function told(field, text) {
  const says = (input, text) =>
    input.getAttribute('aria-invalid') === 'true' &&
    (input.getAttribute('aria-describedby') ?? '').split(' ').some((id) => document.getElementById(id)?.textContent.includes(text))
  await until(`${field} says ${text}`, () => field.evaluate(says, text))
}

/** Writes the name that has to be typed before something is lost for good. */
export async function typed(dialog, name, button) {
  assert.ok(await dialog.getByRole('button', { name: button, exact: true }).isDisabled(), `nothing is lost before ${name} was typed`)
  await dialog.getByLabel(`Type ${name} to go on`).fill(name)
}

/** Does what a dialog asks about, once the name is typed where that is wanted. */
export async function confirm(walk, title, button, name = undefined) {
  const dialog = await opened(walk, title)
  if (name) await typed(dialog, name, button)
  await press(walk, dialog, button)
}

/** Takes what is shown this once. */
export async function once(walk, title, shape) {
  const dialog = await opened(walk, title)
  const secret = await dialog.locator('.copy-text code').innerText()
  assert.match(secret, shape, `${title}`)
  await dialog.getByRole('button', { name: 'I have it' }).click()
  await unseen(dialog)
  return secret
}

const pageOf = (within) => within.page?.() ?? within

/** Opens the list of a field, and takes one of it. */
export async function choose(within, field, option) {
  await within.getByRole('combobox', { name: field, exact: true }).click()
  await take(within, option)
}

/** Takes one of the list that is open. */
export async function take(within, option) {
  const one = pageOf(within).getByRole('option', { name: option, exact: true })
  await one.click()
  await unseen(one)
}

/** Takes several of the list of a field: each is looked for by its filter. */
export async function chooseMany(within, field, options) {
  const page = pageOf(within)
  await within.getByLabel(field, { exact: true }).locator('xpath=ancestor::*[contains(@class,"p-multiselect")]').click()
  const box = page.locator('.p-multiselect-overlay')
  for (const option of options) {
    await box.getByRole('searchbox').or(box.getByRole('textbox')).first().fill(option)
    await box.getByRole('option', { name: option }).first().click()
  }
  await page.keyboard.press('Escape')
  await unseen(box)
}

/** Writes over a number, and leaves the field: it counts from then on. */
export async function write(field, value) {
  await field.press('Control+a')
  await field.pressSequentially(String(value))
  await field.press('Tab')
}

/** Writes into a list that takes other names as well, and closes it. */
export async function writeName(field, value) {
  await field.fill(value)
  await field.press('Escape')
  // Not before then is the focus another's.
  await unseen(field.page().getByRole('listbox'))
}
