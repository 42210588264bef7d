// The steps of the walk, in order: what the first owner of a platform does, and what a viewer is shown.
import assert from 'node:assert/strict'
import { connect, createServer } from 'node:net'
import { call, find, status, tell } from './api.mjs'
import * as access from './screens/access.mjs'
import * as account from './screens/account.mjs'
import * as apps from './screens/apps.mjs'
import { checkKeyboard, overlayFaults, openers, watchKeyboard } from './keyboard.mjs'
import * as home from './screens/home.mjs'
import * as ledgerByHand from './screens/ledger.mjs'
import * as machines from './screens/machines.mjs'
import { confirm, opened, press, seen, unseen } from './hands.mjs'
import * as people from './screens/people.mjs'
import { accept, acceptByPasskey, carryPasskeys, stepUp } from './person.mjs'
import * as robots from './screens/robots.mjs'
import * as routes from './screens/routes.mjs'
import { missed } from './writes.mjs'

const PROVE = 'Verify in this browser'
const PROVEN = /This entry stands in the log of/
const SCREENS = ['/', '/projects/hello', '/projects/hello/machines', '/projects/hello/machines/web-1', '/projects/hello/plan', '/projects/hello/apps', '/projects/hello/apps/shop', '/projects/hello/routes', '/access', '/people', '/ledger-entries', '/account', '/nowhere']

async function firstOwner(walk) {
  const { person, invitation, look } = walk
  const { page } = person
  await page.goto('/projects/hello/machines')
  await page.waitForURL(/\/sign-in/)
  await look(person, 'sign-in')
  const { authenticator, codes } = await accept(page, invitation, { name: 'Ada Lindqvist', login: process.env.HAFEN_LOGIN ?? 'ada' })
  await look(person, 'recovery codes')
  await page.getByRole('button', { name: 'Continue' }).click()
  await page.waitForURL(/\/$/)
  await seen(page.getByRole('link', { name: 'hello' }).first())
  Object.assign(walk, { authenticator, codes })
  // The secret of the session is out of reach of scripts.
  assert.equal(await page.evaluate(() => document.cookie), '')
}

async function passkey(walk) {
  const { page } = walk.person
  await carryPasskeys(page)
  await page.goto('/account')
  await page.getByRole('tab', { name: 'Signing in' }).click()
  await page.getByRole('button', { name: 'Add a passkey' }).click()
  const dialog = await opened(walk, 'Add a passkey')
  await dialog.getByLabel('Name of the passkey').fill('Laptop')
  await press(walk, dialog, 'Add a passkey')
  await seen(page.getByRole('cell', { name: 'Laptop', exact: true }))
  await walk.look(walk.person, 'account, signing in')
  walk.passkey = true
  // Out, and in again with nothing typed.
  await page.getByRole('button', { name: /^Account/ }).click()
  await page.getByRole('menuitem', { name: 'Sign out' }).click()
  await page.waitForURL(/\/sign-in/)
  // The browser may offer the passkey by itself, before anybody asks.
  await page.getByRole('button', { name: 'Use a passkey' }).click({ timeout: 2000 }).catch(() => undefined)
  await page.waitForURL((url) => url.pathname !== '/sign-in')
  assert.equal(await status(page, '/whoami'), 200)

  // It proves that it is they as well, and so does a code, where that is asked for: said here by the walk, as one that just signed in is not asked.
  const problem = { type: 'about:blank', title: 'Forbidden', status: 403, code: 'step_up_required', detail: 'prove your second factor again', request_id: 'r-walk' }
  const asked = async (prove) => {
    await page.route('**/api/v1/me/totp', (route) => route.fulfill({ status: 403, json: problem, contentType: 'application/problem+json' }), { times: 1 })
    await page.goto('/account?tab=signIn')
    await page.getByRole('button', { name: 'Set up anew' }).click()
    const proof = await opened(walk, 'Prove it is you')
    await prove(proof)
    await unseen(proof)
    await seen(page.getByLabel('Code that the app shows now'))
  }
  await asked((proof) => proof.getByRole('button', { name: 'Use a passkey' }).click())
  await asked(() => stepUp(page, { next: () => walk.codes.shift() }))
}

/** Every screen, in both languages, light and dark, and narrow: nothing serious, nothing from elsewhere, nothing refused by the policy of the page. */
async function everyScreen({ browser, url, person, open, look }) {
  const storage = await person.context.storageState()
  const seen = []
  for (const [language, theme, width] of [['en', 'light', 1280], ['de', 'dark', 1280], ['de', 'light', 420]]) {
    const other = await open(browser, url, { language, theme, width, storage })
    for (const path of SCREENS) {
      await other.page.goto(path)
      await look(other, `${path} ${language} ${theme} ${width}`)
      assert.equal(await other.page.locator('html').getAttribute('lang'), language)
      const wide = await other.page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)
      if (wide > 1) seen.push(`${path} at ${width}: ${wide} pixels too wide`)
    }
    await other.context.close()
  }
  assert.deepEqual(seen, [])
}

async function palette({ person: { page }, settled }) {
  await page.goto('/')
  await settled(page)
  await page.keyboard.press('Control+k')
  await page.getByRole('combobox', { name: 'Go to, or do …' }).fill('hello')
  await page.keyboard.press('Enter')
  await page.waitForURL(/\/projects\/hello$/)
  await page.keyboard.press('Control+k')
  await page.getByRole('combobox', { name: 'Go to, or do …' }).fill('web-2')
  await seen(page.getByRole('option', { name: /web-2/ }))
  await page.keyboard.press('Enter')
  await page.waitForURL(/\/machines\/web-2/)
}

async function machine(walk) {
  const { page } = walk.person
  await page.goto('/projects/hello/machines/web-2')
  await page.getByRole('button', { name: 'Stop', exact: true }).click()
  await confirm(walk, 'Stop web-2?', 'Stop')
  await seen(page.locator('.page-head').getByText('stopped'))
  await page.getByRole('button', { name: 'Start', exact: true }).click()
  await seen(page.locator('.page-head').getByText('running'))
  // The drawer has the operation of both.
  await page.getByRole('button', { name: /^Operations and events/ }).click()
  const drawer = page.locator('.p-drawer')
  await seen(drawer.getByText('Stop a machine').first())
  await drawer.getByRole('tab', { name: 'Events' }).click()
  await seen(drawer.locator('[role=tabpanel]:visible').getByText(/web-2/).first())
  await walk.look(walk.person, 'the drawer')
  await page.keyboard.press('Escape')
  await unseen(drawer)
}

/** A manifest with a mistake is told at its line; mended, planned, approved and watched to its end. */
async function plan(walk) {
  const { page } = walk.person
  await page.goto('/projects/hello/plan')
  await page.locator('.cm-content').click()
  await page.keyboard.press('Control+End')
  await page.keyboard.insertText('\n[machine.extra]\nimagee = "web"\nnetwork = "backend"\n')
  await seen(page.locator('.cm-lintRange-error, .cm-lint-marker-error').first())
  await seen(page.getByText(/did you mean/).first())
  for (let line = 0; line < 2; line += 1) await page.keyboard.press('ArrowUp')
  await page.keyboard.press('Home')
  await page.keyboard.press('Shift+End')
  // Emptied first: Chromium itself styles what it puts in place of styled text, which the policy of the page then refuses it.
  await page.keyboard.press('Delete')
  await page.keyboard.insertText('image = "web"')
  await seen(page.getByText('The manifest is in order.'))
  await page.getByRole('button', { name: 'Plan', exact: true }).click()
  await seen(page.getByRole('heading', { name: /What would happen/ }))
  await seen(page.getByText('machine.extra').or(page.getByText('extra', { exact: true })).first())
  await walk.look(walk.person, 'a plan')
  await page.getByRole('button', { name: 'Approve and apply' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Approve and apply' }).click()
  await seen(page.getByText(/done/).first(), 60_000)
  await page.goto('/projects/hello/machines')
  await seen(page.getByRole('link', { name: 'extra', exact: true }), 30_000)
}

async function rollback(walk) {
  const { page } = walk.person
  await page.goto('/projects/hello/apps/shop')
  await page.getByRole('button', { name: 'Roll back' }).click()
  const dialog = page.getByRole('dialog', { name: /shop/ })
  await walk.look(walk.person, 'the rollback dialog')
  await dialog.getByRole('button', { name: 'Go back to release 1' }).click()
  await unseen(dialog)
  await seen(page.getByText(/rollback|roll(ed)? back/i).nth(1))
  await seen(page.getByText(/release 1/i).first())
}

/** The proof is the browser's own: one bit bent on the way, and it says so. */
async function ledger(walk) {
  const { page } = walk.person
  await page.goto('/ledger-entries')
  await page.getByRole('row').nth(1).getByRole('button').or(page.getByRole('row').nth(1).getByRole('link')).first().click()
  const dialog = page.getByRole('dialog')
  await dialog.getByRole('button', { name: PROVE }).click()
  await seen(dialog.getByText(PROVEN), 30_000)
  await walk.look(walk.person, 'a proof')
  await page.keyboard.press('Escape')
  // On the way between the browser's own request and its page: sent by anybody else it would be nobody's.
  const protocol = await walk.person.context.newCDPSession(page)
  protocol.on('Fetch.requestPaused', async ({ requestId, responseHeaders, responseStatusCode }) => {
    const { body, base64Encoded } = await protocol.send('Fetch.getResponseBody', { requestId })
    const bytes = Buffer.from(body, base64Encoded ? 'base64' : 'utf8')
    // In the newest entry, which is the one that is looked at.
    bytes[bytes.length - 20] ^= 1
    const headers = responseHeaders.filter((one) => !/^content-(encoding|length)$/i.test(one.name))
    await protocol.send('Fetch.fulfillRequest', { requestId, responseCode: responseStatusCode, responseHeaders: headers, body: bytes.toString('base64') })
  })
  await protocol.send('Network.setCacheDisabled', { cacheDisabled: true })
  await protocol.send('Fetch.enable', { patterns: [{ urlPattern: '*/tile/entries/*', requestStage: 'Response' }] })
  await page.goto('/ledger-entries')
  await page.getByRole('row').nth(1).getByRole('button').or(page.getByRole('row').nth(1).getByRole('link')).first().click()
  await page.getByRole('dialog').getByRole('button', { name: PROVE }).click()
  await seen(page.getByText('This does not hold').first(), 30_000)
  await protocol.send('Fetch.disable')
}

/** Everything on every screen is reached by Tab and arrows and seen there; what opens takes the focus and gives it back; the map leads on. */
async function keyboard({ browser, url, open, person, settled }) {
  const { page, context } = await open(browser, url, { storage: await person.context.storageState() })
  await watchKeyboard(context)
  try {
    for (const path of SCREENS.filter((one) => one !== '/nowhere')) {
      await page.goto(path)
      await checkKeyboard(page, path)
    }
    await page.goto('/')
    await settled(page)
    for (const wanted of [/"Go to, or do/, /"Operations and events/, /"Help for this screen/, /"Account/, /"New project/]) {
      const button = (await openers(page)).find((one) => wanted.test(one.name))
      assert.ok(button, `${wanted} is there`)
      assert.deepEqual((await overlayFaults(page, button.index))?.faults, [], `what ${button.name} opens`)
    }
    await page.goto('/projects/hello')
    await page.locator('svg[role=group] a').last().focus()
    await page.keyboard.press('Enter')
    await page.waitForURL((to) => to.pathname !== '/projects/hello')
  } finally {
    await context.close()
  }
}

/** A way to the platform that can be cut, and mended. */
async function wire(url) {
  const sockets = new Set()
  let whole = true
  const server = createServer((near) => {
    if (!whole) return near.destroy()
    const far = connect(Number(new URL(url).port), '127.0.0.1')
    for (const [one, other] of [[near, far], [far, near]]) {
      sockets.add(one)
      one.on('error', () => other.destroy()).on('close', () => (sockets.delete(one), other.destroy()))
      one.pipe(other)
    }
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://localhost:${server.address().port}`,
    cut() {
      whole = false
      for (const socket of sockets) socket.destroy()
    },
    mend() {
      whole = true
    },
    end: () => server.close(),
  }
}

/** What is shown while nothing answers says that it is old, what was never read says why, and both go on by themselves. */
async function offline({ browser, url, open, person }) {
  const way = await wire(url)
  const { page, context } = await open(browser, way.url, { storage: await person.context.storageState() })
  try {
    await page.goto('/projects/hello/machines')
    await seen(page.getByRole('link', { name: 'web-1' }))
    way.cut()
    await seen(page.getByText('Connection lost'))
    await seen(page.getByText(/This may be old/))
    assert.ok(await page.getByRole('link', { name: 'web-1' }).isVisible(), 'what was read stays')
    // A machine that nothing was read of yet.
    await page.getByRole('link', { name: 'web-1' }).click()
    await seen(page.getByText('The platform does not answer').first())
    way.mend()
    await seen(page.locator('.page-head').getByText('running'), 30_000)
    await page.getByText('Connection lost').waitFor({ state: 'detached', timeout: 30_000 })
  } finally {
    await context.close()
    way.end()
  }
}

/** Who may only look is offered nothing else. */
async function viewer({ browser, url, open, look, settled, person, authenticator }) {
  const { page } = person
  await page.goto('/')
  const { id: scope } = await find(page, '/organisations', () => true)
  const wish = { role: 'viewer', scope, login: 'tom' }
  let answer = await call(page, 'POST', '/invitations', wish)
  if (JSON.parse(answer.text).code === 'step_up_required') {
    await tell(page, 'POST', '/step-up', { totp: await authenticator.next() })
    answer = await call(page, 'POST', '/invitations', wish)
  }
  assert.equal(answer.status, 201, answer.text)
  const other = await open(browser, url)
  await acceptByPasskey(other.page, JSON.parse(answer.text).token, 'Tom Hansen')
  const refused = []
  other.page.on('response', (response) => {
    if (response.status() === 403) refused.push(`${response.request().method()} ${new URL(response.url()).pathname}`)
  })
  for (const path of ['/', '/projects/hello', '/projects/hello/machines', '/projects/hello/machines/web-1', '/projects/hello/apps', '/projects/hello/apps/shop', '/projects/hello/routes', '/projects/hello/plan']) {
    await other.page.goto(path)
    await settled(other.page)
    await look(other, `${path} as a viewer`)
  }
  assert.deepEqual(refused, [], 'what a viewer sees asks for nothing that is refused')
  await other.page.goto('/projects/hello/machines/web-1')
  await settled(other.page)
  for (const name of ['Stop', 'Delete', 'Rebuild']) assert.equal(await other.page.getByRole('button', { name, exact: true }).count(), 0, name)
  await other.context.close()
}

/** Whatever the console can change was changed by a click in one of these steps. */
async function everyWrite({ sent }) {
  assert.deepEqual(missed(sent), [], 'writes of the console that no step sends')
}

export const steps = {
  'first owner': Object.assign(firstOwner, { always: true }),
  passkey,
  palette,
  machine,
  plan,
  rollback,
  ledger,
  ...machines.steps,
  ...apps.steps,
  ...routes.steps,
  ...people.steps,
  ...robots.steps,
  ...home.steps,
  ...access.steps,
  ...account.steps,
  ...ledgerByHand.steps,
  viewer,
  'every write': everyWrite,
  offline,
  keyboard,
  screens: everyScreen,
}
