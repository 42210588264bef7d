// Everything that can be done to routes and to what they lead to, done by hand in the console.
import assert from 'node:assert/strict'
import { PROJECT, ask, gone, says } from '../api.mjs'
import { choose, confirm, opened, press, row, seen, unseen, write, writeName } from '../hands.mjs'

const ROUTE = `${PROJECT}/routes/tide.localhost`
const weights = (path, ...list) => (it) => JSON.stringify(it.paths[path]?.map((one) => [one.backend, one.weight])) === JSON.stringify(list)
/** An editable list. */
const backend = (page, n, path) => page.getByRole('combobox', { name: `Backend ${n} of ${path}` })

async function backends(walk) {
  const { page } = walk.person
  await page.goto('/projects/hello/routes?tab=backends')
  await page.getByRole('button', { name: 'New backend' }).click()
  let dialog = await opened(walk, 'New backend')
  await dialog.getByLabel('Name').fill('mirror')
  await dialog.getByRole('button', { name: 'Add an endpoint' }).click()
  await dialog.getByLabel('Machine and port of endpoint 1').fill('web-1:8080')
  await dialog.getByLabel('Ask each endpoint how it is').check()
  await dialog.getByLabel('Path').fill('/alive')
  await write(dialog.getByLabel('Every (ms)'), 5000)
  await press(walk, dialog, 'Save')
  const path = `${PROJECT}/backends/mirror`
  const made = await says(page, path, (it) => it.endpoints.length === 1)
  assert.deepEqual([made.endpoints[0].machine, made.endpoints[0].port, made.health.path, made.health.interval_ms], ['web-1', 8080, '/alive', 5000])
  const card = page.locator('section.card').filter({ has: page.getByRole('heading', { name: 'mirror' }) })
  await seen(card.getByText('Checked at /alive every 5'))

  await page.getByRole('button', { name: 'Change mirror' }).click()
  dialog = await opened(walk, 'Change mirror')
  await dialog.getByLabel('drains').check()
  await dialog.getByRole('button', { name: 'Add an endpoint' }).click()
  await dialog.getByLabel('Machine and port of endpoint 2').fill('web-2:8080')
  await press(walk, dialog, 'Save')
  await says(page, path, (it) => it.endpoints.length === 2 && it.endpoints.some((one) => one.machine === 'web-1' && one.state === 'draining'))
  await seen(card.getByText('draining'))
  // What an app's deployments write is nobody else's to change.
  assert.equal(await page.getByRole('button', { name: 'Change shop' }).count(), 0)
}

async function backendEnds(walk) {
  const { page } = walk.person
  await page.goto('/projects/hello/routes?tab=backends')
  await page.getByRole('button', { name: 'Delete the backend mirror' }).click()
  await confirm(walk, 'Delete the backend mirror?', 'Delete', 'mirror')
  await gone(page, `${PROJECT}/backends/mirror`)
  await unseen(page.getByRole('heading', { name: 'mirror' }))
}

async function create(walk) {
  const { page } = walk.person
  await page.goto('/projects/hello/routes')
  await page.getByRole('button', { name: 'New route' }).click()
  await page.getByLabel('Host', { exact: true }).fill('tide.localhost')
  await writeName(backend(page, 1, '/'), 'shop')
  await page.getByRole('button', { name: 'Add a path' }).click()
  await page.getByLabel('Path', { exact: true }).last().fill('/mirror')
  await writeName(backend(page, 1, '/mirror'), 'mirror')
  await walk.look(walk.person, 'a new route')
  await page.getByRole('button', { name: 'Create' }).click()
  await seen(page.getByRole('heading', { name: 'tide.localhost' }))
  const made = await says(page, ROUTE, weights('/', ['shop', 100]))
  assert.ok(weights('/mirror', ['mirror', 100])(made))
  assert.deepEqual([made.redirect_https, made.hsts, made.max_body, made.rate, made.maintenance], [true, 31_536_000, 0, 0, false])
}

/** Shares are moved by keyboard alone; what one sees adds up, and is what the edge is told. */
async function shares(walk) {
  const { page } = walk.person
  const save = page.getByRole('button', { name: 'Save' })
  await page.getByRole('button', { name: 'Add a backend' }).first().click()
  await writeName(backend(page, 2, '/'), 'mirror')
  const slider = page.getByRole('slider', { name: 'Share of mirror at /, in per cent' })
  await slider.focus()
  for (let step = 0; step < 7; step += 1) await page.keyboard.press('ArrowRight')
  assert.equal(await slider.getAttribute('aria-valuenow'), '7')
  assert.equal(await page.getByRole('slider', { name: 'Share of shop at /, in per cent' }).getAttribute('aria-valuenow'), '93')
  await seen(page.getByText('Together 100 %'))
  assert.ok(weights('/', ['shop', 100])(await ask(page, ROUTE)), 'nothing changes for visitors before it is saved')
  await page.keyboard.press('ArrowLeft')
  await save.click()
  await says(page, ROUTE, weights('/', ['shop', 94], ['mirror', 6]))
  await unseen(page.getByText('Not saved yet'))

  await write(page.getByLabel('Share of shop at / as a number'), 40)
  assert.equal(await slider.getAttribute('aria-valuenow'), '60')
  await save.click()
  await says(page, ROUTE, weights('/', ['shop', 40], ['mirror', 60]))
  await unseen(page.getByText('Not saved yet'))
  await slider.focus()
  await page.keyboard.press('End')
  assert.equal(await slider.getAttribute('aria-valuenow'), '100')
  await page.getByRole('button', { name: 'Discard' }).click()
  await unseen(page.getByText('Not saved yet'))
  assert.equal(await slider.getAttribute('aria-valuenow'), '60')
  await walk.look(walk.person, 'a route with shares')
}

async function limits(walk) {
  const { page } = walk.person
  await page.getByLabel(/http.*https/i).first().uncheck()
  await choose(page, /HSTS/i, '30 days')
  await write(page.getByLabel('Largest body (bytes)'), 1_048_576)
  await write(page.getByLabel('Requests a second'), 25)
  await page.getByRole('button', { name: 'Leave out mirror' }).first().click()
  await page.getByRole('button', { name: 'Leave out the path /mirror' }).click()
  await page.getByRole('button', { name: 'Save' }).click()
  const kept = await says(page, ROUTE, (it) => it.rate === 25)
  assert.deepEqual([kept.redirect_https, kept.hsts, kept.max_body], [false, 30 * 86_400, 1_048_576])
  assert.deepEqual(kept.paths, { '/': [{ backend: 'shop', weight: 100 }] })
  await unseen(page.getByText('Not saved yet'))

  for (const [button, on] of [['Begin maintenance', true], ['End maintenance', false]]) {
    await page.getByRole('button', { name: button }).click()
    await confirm(walk, `${button} of tide.localhost?`, button)
    await says(page, ROUTE, (it) => it.maintenance === on && it.rate === 25)
    await (on ? seen : unseen)(page.getByText('In maintenance: every request'))
  }
}

/** Somebody else writes in between: nothing of theirs is lost without being asked. */
async function between(walk) {
  const { page } = walk.person
  const elsewhere = (rate) =>
    page.evaluate(async ([route, rate]) => {
      const path = `/api/v1${route}`
      const answer = await fetch(path)
      const { paths, maintenance, redirect_https, hsts, max_body } = await answer.json()
      const headers = { 'content-type': 'application/json', 'if-match': answer.headers.get('etag') }
      return (await fetch(path, { method: 'PUT', headers, body: JSON.stringify({ paths, maintenance, redirect_https, hsts, max_body, rate }) })).status
    }, [ROUTE, rate])
  await write(page.getByLabel('Largest body (bytes)'), 2048)
  assert.equal(await elsewhere(50), 200)
  await seen(page.getByText('Somebody changed this route while you edit it.'))
  await page.getByRole('button', { name: 'Save' }).click()
  await seen(page.getByText('nothing was saved'))
  assert.deepEqual([(await ask(page, ROUTE)).rate, (await ask(page, ROUTE)).max_body], [50, 1_048_576])
  await page.getByRole('button', { name: 'Put mine over it' }).click()
  await says(page, ROUTE, (it) => it.rate === 25 && it.max_body === 2048)
  await unseen(page.getByText('nothing was saved'))
}

async function certificates(walk) {
  const { page } = walk.person
  const path = `${PROJECT}/certificates/tide.localhost`
  await page.goto('/projects/hello/routes?tab=certificates')
  const before = await says(page, path, (it) => it.state === 'ready')
  await page.getByRole('button', { name: 'Renew now: certificate of tide.localhost' }).click()
  const after = await says(page, path, (it) => it.state === 'ready' && it.serial !== before.serial)
  await seen(page.getByText(after.fingerprint.slice(0, 16)))
  const download = page.waitForEvent('download')
  await page.getByRole('button', { name: 'Download the root' }).click()
  assert.equal((await download).suggestedFilename(), 'hafen-root.pem')
}

async function publications(walk) {
  const { page } = walk.person
  const path = `${PROJECT}/publications/mole`
  await page.goto('/projects/hello/routes?tab=publications')
  await page.getByRole('button', { name: 'Publish a port' }).click()
  let dialog = await opened(walk, 'Publish a port')
  await dialog.getByLabel('Name').fill('mole')
  await dialog.getByLabel('Address of the host').fill('127.0.0.1:18081')
  await dialog.getByLabel('Cluster').fill('web')
  await write(dialog.getByLabel('Port inside the machines'), 5432)
  await press(walk, dialog, 'Save')
  await says(page, path, (it) => it.state === 'ready' && it.host === '127.0.0.1:18081' && it.group === 'web' && it.port === 5432 && it.backends.length === 2)
  await seen(row(page, 'mole').getByText('web:5432'))
  await page.getByRole('button', { name: 'Change the published port mole' }).click()
  dialog = await opened(walk, 'Change the published port mole')
  await write(dialog.getByLabel('Port inside the machines'), 5433)
  await press(walk, dialog, 'Save')
  await says(page, path, (it) => it.port === 5433)
  await seen(row(page, 'mole').getByText('web:5433'))
  await page.getByRole('button', { name: 'Take back the published port mole' }).click()
  await confirm(walk, 'Take back mole?', 'Take back')
  await gone(page, path)
  await seen(page.getByText('No port is published'))
}

async function end(walk) {
  const { page } = walk.person
  await page.goto('/projects/hello/routes?host=tide.localhost')
  await page.getByRole('button', { name: 'Delete', exact: true }).click()
  await confirm(walk, 'Delete the route tide.localhost?', 'Delete', 'tide.localhost')
  await gone(page, ROUTE)
  await unseen(page.getByRole('heading', { name: 'tide.localhost' }))
  await unseen(page.getByRole('link', { name: 'tide.localhost' }))
}

async function routes(walk) {
  for (const part of [backends, create, shares, limits, between, certificates, end, backendEnds]) await part(walk)
}

export const steps = { routes, publications }
