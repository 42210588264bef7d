// What the hands of a person do at each form and question, and what the API says of it afterwards: a click that does nothing shows there.
import assert from 'node:assert/strict'
import { stepUp } from './person.mjs'

export const PROJECT = '/api/v1/projects/hello'

/** What the API answers the person who looks at this page. */
export function read(page, path) {
  return page.evaluate(async (path) => {
    const answer = await fetch(path, { headers: { accept: 'application/json' } })
    return { status: answer.status, body: answer.ok ? await answer.json() : undefined }
  }, path)
}

/** Looks again and again until it holds, more often than the browser's own waiting does: there are many such looks. */
async function until(page, told, holds, timeout = 15_000) {
  const end = Date.now() + timeout
  while (!(await holds())) {
    assert.ok(Date.now() < end, await told())
    await page.waitForTimeout(20)
  }
}

/** Waits until the API says so of it; gives what it says. Pages read anew within the same time. */
export async function says(page, path, fits) {
  let last
  const told = () => `${path} did not become what ${fits} asks: ${JSON.stringify(last).slice(0, 2000)}`
  await until(page, told, async () => {
    last = await read(page, path)
    return last.status === 200 && fits(last.body)
  })
  return last.body
}

export async function gone(page, path) {
  await until(page, () => `${path} is still there`, async () => (await read(page, path)).status === 404)
}

/** Is on the screen. */
export async function seen(locator, timeout = undefined) {
  await until(locator.page(), () => `${locator} is not to be seen`, () => locator.isVisible(), timeout)
}

/** Is on the screen no more. */
export async function unseen(locator, timeout = undefined) {
  await until(locator.page(), () => `${locator} is still to be seen`, async () => !(await locator.isVisible()), timeout)
}

/** A dialog that was just opened; each is looked at once, and all are given the time to come to rest: focus is theirs until then. */
export async function opened(walk, name) {
  const { page } = walk.person
  const dialog = page.getByRole('dialog', { name })
  await seen(dialog)
  walk.looked ??= new Set()
  if (walk.looked.has(name)) await walk.settled(page)
  else await walk.look(walk.person, `the dialog ${name}`, '[role=dialog]')
  walk.looked.add(name)
  return dialog
}

/** Waits for what comes of a click, and proves the second factor where that is asked for first. */
export async function proven(walk, outcome) {
  const { page } = walk.person
  const asked = page.getByRole('dialog', { name: 'Prove it is you' })
  let first
  await until(page, () => 'nothing came of a click', async () => (first = (await asked.isVisible()) ? 'asked' : (await outcome()) ? 'over' : undefined))
  if (first === 'over') return
  // The next code may be half a minute away.
  await stepUp(page, walk.authenticator)
  await until(page, () => 'nothing came of a proof', outcome)
}

/** Presses what ends a dialog, and sees it go. */
export async function press(walk, dialog, button) {
  await dialog.getByRole('button', { name: button, exact: true }).click()
  await proven(walk, async () => !(await dialog.isVisible()))
}

/** Writes the name that has to be typed before something is lost for good. */
export async function typed(dialog, name, button) {
  assert.ok(await dialog.getByRole('button', { name: button, exact: true }).isDisabled(), 'nothing is lost before its name was typed')
  await dialog.getByLabel(`Type ${name} to go on`).fill(name)
}

/** Opens the list of a field, and takes one of it. */
export async function choose(page, field, option) {
  await field.click()
  await page.getByRole('option', { name: option, exact: true }).click()
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
