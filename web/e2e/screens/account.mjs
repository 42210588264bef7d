// One's own account: tokens, sessions, factors and certificates, each changed by hand. The owner can prove themselves afterwards.
import assert from 'node:assert/strict'
import { publicKey } from './access.mjs'
import { write } from '../forms.mjs'
import { ask, chooseMany, confirm, find, once, send, tab, until } from '../hands.mjs'
import { Authenticator, PASSWORD } from '../person.mjs'

const LOGIN = process.env.HAFEN_LOGIN ?? 'ada'
const TOKEN = /^hafen_pat_\w{49}$/

async function tokens(walk) {
  const { page } = walk.person
  await tab(walk, '/account?tab=tokens')
  await page.getByRole('button', { name: 'New token' }).click()
  const form = page.getByRole('dialog', { name: 'New token', exact: true })
  await form.getByLabel('Name', { exact: true }).fill('backup')
  await write(form.getByLabel('Valid for days'), 10)
  await chooseMany(page, form, 'Limited to actions', ['machine.read'])
  await chooseMany(page, form, 'Limited to projects', ['hello'])
  await walk.look(walk.person, 'a token of my own')
  await send(walk, form.getByRole('button', { name: 'Create' }), form)
  const first = await once(walk, 'The new token', TOKEN)
  const mine = (fits) => find(page, '/tokens', (one) => one.name === 'backup' && fits(one))
  const made = await mine(() => true)
  assert.deepEqual([made.scopes, made.projects, made.status], [['machine.read'], ['hello'], 'active'])
  const opens = async (secret, path) => (await fetch(`${walk.url}/api/v1${path}`, { headers: { authorization: `Bearer ${secret}` } })).status
  assert.deepEqual([await opens(first, '/projects/hello/machines'), await opens(first, '/people')], [200, 403], 'it opens what it is limited to')

  await page.getByRole('button', { name: 'Rotate: backup' }).click()
  const rotate = page.getByRole('dialog', { name: 'Replace this token: backup' })
  await walk.look(walk.person, 'replacing a token of my own')
  await send(walk, rotate.getByRole('button', { name: 'Rotate' }), rotate)
  const second = await once(walk, 'The new token', TOKEN)
  assert.deepEqual([await opens(first, '/projects/hello/machines'), await opens(second, '/projects/hello/machines')], [401, 200])
  // Refused just now, and so proven to be over.
  await until('the old one was seen to fail', () => mine((one) => one.status === 'ended'))
  await page.getByRole('row', { name: /backup active/ }).getByRole('button', { name: 'End: backup' }).click()
  await confirm(walk, { title: 'End this token?', button: 'End', look: 'ending a token' })
  assert.equal(await opens(second, '/projects/hello/machines'), 401)
  await page.getByLabel('Show ended ones').check()
  await page.getByRole('row', { name: /backup ended seen to fail: presented and refused/ }).waitFor()
  await page.getByRole('row', { name: /backup revoked/ }).waitFor()
  assert.ok(await mine((one) => one.status === 'revoked'))
}

/** Signs in in another browser, by password and a recovery code, which leaves the codes of the app alone. */
async function elsewhere(walk, password) {
  const other = await walk.open(walk.browser, walk.url)
  await other.page.goto('/sign-in')
  await other.page.getByLabel('Login', { exact: true }).fill(LOGIN)
  await other.page.getByLabel('Password', { exact: true }).fill(password)
  await other.page.getByRole('button', { name: 'Continue' }).click()
  await other.page.getByLabel('One-time code or recovery code').fill(walk.codes.shift())
  await other.page.getByRole('button', { name: 'Sign in' }).click()
  await other.page.waitForURL((url) => url.pathname === '/')
  return other
}
const status = ({ page }) => page.evaluate(async () => (await fetch('/api/v1/whoami')).status)

async function sessions(walk) {
  const { page } = walk.person
  const [first, second] = [await elsewhere(walk, PASSWORD), await elsewhere(walk, PASSWORD)]
  await tab(walk, '/account?tab=sessions')
  const all = async () => (await ask(page, '/sessions')).items
  const before = (await all()).length
  await page.getByRole('table', { name: 'Your sessions' }).getByRole('button', { name: /^End: / }).first().click()
  await confirm(walk, { title: 'End this session?', button: 'End', look: 'ending a session of mine' })
  await until('one session less', async () => (await all()).length === before - 1)
  const left = [await status(first), await status(second)]
  assert.deepEqual(left.toSorted(), [200, 401], 'one of both is signed out')
  await page.getByRole('button', { name: 'End all others' }).click()
  await confirm(walk, { title: 'End all others', button: 'End all others', look: 'ending all others' })
  await until('one session is left', async () => (await all()).length === 1)
  assert.deepEqual([await status(first), await status(second), await status(walk.person)], [401, 401, 200])
  await page.getByRole('button', { name: 'End all others' }).waitFor({ state: 'hidden' })
  await Promise.all([first.context.close(), second.context.close()])
}

async function factors(walk) {
  const { page } = walk.person
  await tab(walk, '/account?tab=signIn')
  // New recovery codes, shown once.
  await page.getByRole('button', { name: 'Make new codes' }).click()
  await confirm(walk, { title: 'Make new recovery codes?', button: 'Make new codes', look: 'making new recovery codes' })
  await page.getByLabel('I have kept these codes').check()
  const codes = await page.locator('.paper li').allInnerTexts()
  assert.ok(codes.length >= 8 && !codes.includes(walk.codes[0]), 'they are new')
  walk.codes = codes
  await page.getByRole('button', { name: 'Continue' }).click()
  await page.getByRole('button', { name: 'Make new codes' }).waitFor()

  // A new secret for the app: what was there counts until its first code is right.
  const again = page.getByRole('button', { name: 'Set up anew' })
  await send(walk, again, again)
  const secret = (await page.locator('form .copy-text code').first().innerText()).replaceAll(/\s/g, '')
  const authenticator = new Authenticator(secret)
  const code = page.getByLabel('Code that the app shows now')
  await code.fill('000000')
  await page.getByRole('button', { name: 'Confirm' }).click()
  await page.getByRole('alert').first().waitFor()
  await walk.look(walk.person, 'one-time codes anew')
  await code.fill(await authenticator.next())
  await page.getByRole('button', { name: 'Confirm' }).click()
  await page.getByText('The new one-time codes count.').waitFor()
  walk.authenticator = authenticator

  // The password, at last: it ends every other session.
  const other = await elsewhere(walk, PASSWORD)
  const form = page.locator('form').filter({ has: page.getByRole('heading', { name: 'Password' }) })
  const fresh = `${PASSWORD}, anew`
  const change = form.getByRole('button', { name: 'Change password' })
  await form.getByLabel('Current password').fill('not this one')
  await form.getByLabel('New password').fill(fresh)
  await change.click()
  await form.getByText('This is not your current password.').waitFor()
  await form.getByLabel('Current password').fill(PASSWORD)
  await change.click()
  await form.getByText('The password is changed.').waitFor()
  await walk.look(walk.person, 'a new password')
  assert.equal(await status(other), 401, 'all other sessions are over')
  await other.context.close()
  await (await elsewhere(walk, fresh)).context.close()
  const laptop = page.getByRole('button', { name: 'Remove: Laptop' })
  if (walk.passkey) {
    await laptop.click()
    await confirm(walk, { title: 'Remove this passkey?', button: 'Remove', look: 'removing a passkey' })
    await laptop.waitFor({ state: 'hidden' })
    assert.deepEqual((await ask(page, '/me/passkeys')).items, [])
  }
}

async function grant(walk) {
  const { page } = walk.person
  await tab(walk, '/account?tab=ssh')
  await page.getByLabel('Public key').fill('ssh-rsa no')
  const get = page.getByRole('button', { name: 'Get certificates' })
  await get.click()
  await page.getByRole('alert').first().waitFor()
  await page.getByLabel('Public key').fill(publicKey())
  await write(page.getByLabel('Valid for minutes'), 5)
  await get.click()
  await page.getByRole('heading', { name: 'For the machines' }).waitFor()
  await walk.look(walk.person, 'certificates for a key of my own')
  const serials = await page.locator('.made dd code').allInnerTexts()
  assert.equal(serials.length, 2)
  const { items } = await ask(page, '/access/events?limit=1000')
  for (const serial of serials) {
    const issued = items.find((one) => one.kind === 'access.certificate_issued' && one.data.serial === serial)
    const minutes = (new Date(issued.data.valid_before) - new Date(issued.at)) / 60_000
    assert.ok(minutes > 4 && minutes < 6, `${serial} is valid for five minutes: ${minutes}`)
  }
  // One's own are listed, and revoked by oneself.
  const row = page.getByRole('row').filter({ hasText: serials[0] })
  await row.getByText('good', { exact: true }).waitFor({ timeout: 20_000 })
  await row.getByRole('button', { name: `Revoke: ${serials[0]}` }).click()
  await confirm(walk, { title: `Revoke certificate ${serials[0]}?`, button: 'Revoke', look: 'revoking a certificate of my own' })
  await row.getByText('revoked', { exact: true }).waitFor()
  const mine = (await ask(page, '/me/ssh-certificates')).items
  assert.deepEqual(serials.map((serial) => mine.find((one) => one.serial === serial).revoked_at === null), [false, true])
}

export const steps = { 'own tokens': tokens, 'own sessions': sessions, 'own factors': factors, 'own certificates': grant }
