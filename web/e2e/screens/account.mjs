// One's own account: tokens, sessions, factors and certificates, each changed by hand. The owner can prove themselves afterwards.
import assert from 'node:assert/strict'
import { ask, find, says, status } from '../api.mjs'
import { chooseMany, confirm, once, opened, press, seen, send, tab, there, unseen, write } from '../hands.mjs'
import { Authenticator, PASSWORD } from '../person.mjs'
import { publicKey } from '../ssh-key.mjs'
import { until } from '../until.mjs'

const LOGIN = process.env.HAFEN_LOGIN ?? 'ada'
const TOKEN = /^hafen_pat_\w{49}$/

async function tokens(walk) {
  const { page } = walk.person
  await tab(walk, '/account?tab=tokens')
  await page.getByRole('button', { name: 'New token' }).click()
  const form = await opened(walk, 'New token')
  await form.getByLabel('Name', { exact: true }).fill('backup')
  await write(form.getByLabel('Valid for days'), 10)
  await chooseMany(form, 'Limited to actions', ['machine.read'])
  await chooseMany(form, 'Limited to projects', ['hello'])
  await walk.look(walk.person, 'a token of my own')
  await press(walk, form, 'Create')
  const first = await once(walk, 'The new token', TOKEN)
  const mine = (fits) => find(page, '/tokens', (one) => one.name === 'backup' && fits(one))
  const made = await mine(() => true)
  assert.deepEqual([made.scopes, made.projects, made.status], [['machine.read'], ['hello'], 'active'])
  const opens = async (secret, path) => (await fetch(`${walk.url}/api/v1${path}`, { headers: { authorization: `Bearer ${secret}` } })).status
  assert.deepEqual([await opens(first, '/projects/hello/machines'), await opens(first, '/people')], [200, 403], 'it opens what it is limited to')

  await page.getByRole('button', { name: 'Rotate: backup' }).click()
  const rotate = await opened(walk, 'Replace this token: backup')
  await press(walk, rotate, 'Rotate')
  const second = await once(walk, 'The new token', TOKEN)
  assert.deepEqual([await opens(first, '/projects/hello/machines'), await opens(second, '/projects/hello/machines')], [401, 200])
  // Refused just now, and so proven to be over.
  await until('the old one was seen to fail', () => mine((one) => one.status === 'ended'))
  await page.getByRole('row', { name: /backup active/ }).getByRole('button', { name: 'End: backup' }).click()
  await confirm(walk, 'End this token?', 'End')
  assert.equal(await opens(second, '/projects/hello/machines'), 401)
  await page.getByLabel('Show ended ones').check()
  await seen(page.getByRole('row', { name: /backup ended seen to fail: presented and refused/ }))
  await seen(page.getByRole('row', { name: /backup revoked/ }))
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
/** Whether a browser is signed in. */
const whoami = ({ page }) => status(page, '/whoami')

async function sessions(walk) {
  const { page } = walk.person
  const [first, second] = [await elsewhere(walk, PASSWORD), await elsewhere(walk, PASSWORD)]
  await tab(walk, '/account?tab=sessions')
  const before = (await ask(page, '/sessions')).items.length
  const are = (count) => says(page, '/sessions', ({ items }) => items.length === count)
  await page.getByRole('table', { name: 'Your sessions' }).getByRole('button', { name: /^End: / }).first().click()
  await confirm(walk, 'End this session?', 'End')
  await are(before - 1)
  const left = [await whoami(first), await whoami(second)]
  assert.deepEqual(left.toSorted(), [200, 401], 'one of both is signed out')
  await page.getByRole('button', { name: 'End all others' }).click()
  await confirm(walk, 'End all others', 'End all others')
  await are(1)
  assert.deepEqual([await whoami(first), await whoami(second), await whoami(walk.person)], [401, 401, 200])
  await unseen(page.getByRole('button', { name: 'End all others' }))
  await Promise.all([first.context.close(), second.context.close()])
}

async function factors(walk) {
  const { page } = walk.person
  await tab(walk, '/account?tab=signIn')
  // New recovery codes, shown once.
  await page.getByRole('button', { name: 'Make new codes' }).click()
  await confirm(walk, 'Make new recovery codes?', 'Make new codes')
  await page.getByLabel('I have kept these codes').check()
  const codes = await page.locator('.paper li').allInnerTexts()
  assert.ok(codes.length >= 8 && !codes.includes(walk.codes[0]), 'they are new')
  walk.codes = codes
  await page.getByRole('button', { name: 'Continue' }).click()
  await seen(page.getByRole('button', { name: 'Make new codes' }))

  // A new secret for the app: what was there counts until its first code is right.
  const again = page.getByRole('button', { name: 'Set up anew' })
  const code = page.getByLabel('Code that the app shows now')
  await send(walk, again, there(code))
  const secret = (await page.locator('form .copy-text code').first().innerText()).replaceAll(/\s/g, '')
  const authenticator = new Authenticator(secret)
  await code.fill('000000')
  await page.getByRole('button', { name: 'Confirm' }).click()
  await seen(page.getByRole('alert').first())
  await walk.look(walk.person, 'one-time codes anew')
  await code.fill(await authenticator.next())
  await page.getByRole('button', { name: 'Confirm' }).click()
  await seen(page.getByText('The new one-time codes count.'))
  walk.authenticator = authenticator

  // The password, at last: it ends every other session.
  const other = await elsewhere(walk, PASSWORD)
  const form = page.locator('form').filter({ has: page.getByRole('heading', { name: 'Password' }) })
  const fresh = `${PASSWORD}, anew`
  const change = form.getByRole('button', { name: 'Change password' })
  await form.getByLabel('Current password').fill('not this one')
  await form.getByLabel('New password').fill(fresh)
  await change.click()
  await seen(form.getByText('This is not your current password.'))
  await form.getByLabel('Current password').fill(PASSWORD)
  await change.click()
  await seen(form.getByText('The password is changed.'))
  await walk.look(walk.person, 'a new password')
  assert.equal(await whoami(other), 401, 'all other sessions are over')
  await other.context.close()
  await (await elsewhere(walk, fresh)).context.close()
  const laptop = page.getByRole('button', { name: 'Remove: Laptop' })
  if (walk.passkey) {
    await laptop.click()
    await confirm(walk, 'Remove this passkey?', 'Remove')
    await unseen(laptop)
    assert.deepEqual((await ask(page, '/me/passkeys')).items, [])
  }
}

async function grant(walk) {
  const { page } = walk.person
  await tab(walk, '/account?tab=ssh')
  await page.getByLabel('Public key').fill('ssh-rsa no')
  const get = page.getByRole('button', { name: 'Get certificates' })
  await get.click()
  await seen(page.getByRole('alert').first())
  await page.getByLabel('Public key').fill(publicKey())
  await write(page.getByLabel('Valid for minutes'), 5)
  await get.click()
  await seen(page.getByRole('heading', { name: 'For the machines' }))
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
  await seen(row.getByText('good', { exact: true }), 20_000)
  await row.getByRole('button', { name: `Revoke: ${serials[0]}` }).click()
  await confirm(walk, `Revoke certificate ${serials[0]}?`, 'Revoke')
  await seen(row.getByText('revoked', { exact: true }))
  const mine = (await ask(page, '/me/ssh-certificates')).items
  assert.deepEqual(serials.map((serial) => mine.find((one) => one.serial === serial).revoked_at === null), [false, true])
}

export const steps = { 'own tokens': tokens, 'own sessions': sessions, 'own factors': factors, 'own certificates': grant }
