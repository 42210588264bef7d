// Who can reach what: explained, ended and revoked by hand, and what the platform has of it afterwards.
import assert from 'node:assert/strict'
import { PROJECT, ask, says, tell } from '../api.mjs'
import { away, choose, opened, posts, seen, send, tab, unseen } from '../hands.mjs'
import { publicKey } from '../ssh-key.mjs'
import { until } from '../until.mjs'

async function matrix(walk) {
  const { page } = walk.person
  await tab(walk, '/access')
  const cell = page.getByRole('button', { name: /^Ada Lindqvist in hello: SSH · Ports · Apps/ })
  await page.getByLabel('Show only names with').fill('nobody is called so')
  await unseen(cell)
  await page.getByLabel('Show only names with').fill('ada')
  await cell.click()
  const dialog = page.getByRole('dialog', { name: 'Ada Lindqvist in hello' })
  await seen(dialog.getByText('Yes, Ada Lindqvist may:').nth(2))
  await opened(walk, 'Ada Lindqvist in hello')
  for (const action of ['machine.ssh', 'machine.reach', 'app.exec']) assert.ok((await ask(page, `/policy/explain?who=me&action=${action}&place=project/hello`)).allowed)
  await page.keyboard.press('Escape')
}

/** Fills what revokes, and sees it done. */
async function revoke(walk, { what, field, value, count, look }) {
  const dialog = await opened(walk, 'Revoke SSH access')
  const go = dialog.getByRole('button', { name: 'Revoke', exact: true })
  if (what) await choose(dialog, 'What', what)
  if (field) {
    await dialog.getByLabel('Reason').fill('the walk')
    assert.ok(await go.isDisabled(), `${what}: not before ${field} is said`)
    await dialog.getByLabel(field).fill(value)
  }
  await dialog.getByLabel('Reason').fill('')
  assert.ok(await go.isDisabled(), 'not without a reason')
  await dialog.getByLabel('Reason').fill('the walk')
  if (look) await walk.look(walk.person, look)
  await send(walk, go, away(go))
  await seen(dialog.getByText(`${count} certificates are good no more.`))
  await dialog.getByRole('button', { name: 'Close' }).last().click()
  await unseen(dialog)
}

async function session(walk) {
  const { page, context } = walk.person
  const other = await context.newPage()
  await other.goto('/projects/hello/machines/web-1?tab=shell')
  await seen(other.getByText('connected', { exact: true }))
  await tab(walk, '/access?tab=sessions')
  const end = page.getByRole('button', { name: /^End the session of Ada Lindqvist to web-1/ })
  await seen(end)
  const [begun] = (await ask(page, '/access/sessions')).items
  assert.equal(begun.ended_at ?? null, null)
  await end.click()
  await revoke(walk, { count: 1, look: 'ending a session' })
  await unseen(end)
  const over = ({ items }) => items.find((one) => one.id === begun.id && one.ended_at)
  assert.equal(over(await says(page, '/access/sessions', over)).end_reason, 'revoked')
  await seen(page.getByRole('row', { name: /web-1/ }).getByText('revoked'))
  await seen(other.getByText('not connected', { exact: true }))
  await other.close()
  await page.getByLabel('Filter').fill('nothing is called so')
  await seen(page.getByText('Nothing fits the filter.'))
  await alerts(walk)
}

async function certificates(walk) {
  const { page } = walk.person
  await tab(walk, '/access?tab=certificates')
  const issue = () => tell(page, 'POST', '/access/grants', { public_key: publicKey(), ttl: 600 })
  const rowOf = (grant, place) => page.getByRole('row', { name: new RegExp(`^${grant[place].serial} `) })
  const revoked = async (object) => {
    const { items } = await ask(page, '/access/events?limit=1000')
    const event = items.findLast((one) => one.kind === 'access.revoked')
    assert.deepEqual([event.object, event.data.reason], [object, 'the walk'])
  }
  const first = await issue()
  await seen(rowOf(first, 'machine').getByText('valid until'))
  await rowOf(first, 'bastion').getByRole('button', { name: 'Revoke' }).click()
  await revoke(walk, { count: 1, look: 'revoking a certificate' })
  await seen(rowOf(first, 'bastion').getByText('revoked'))
  assert.ok(await rowOf(first, 'machine').getByText('valid until').isVisible(), 'the other one stays')
  await revoked(`certificate/${first.bastion.serial}`)
  await walk.look(walk.person, 'certificates')

  const open = page.getByRole('button', { name: 'Revoke', exact: true }).first()
  const { id: me } = await ask(page, '/whoami')
  await open.click()
  await revoke(walk, { what: 'All of a person', field: 'Id of the person', value: me, count: 1, look: 'revoking all of a person' })
  await seen(rowOf(first, 'machine').getByText('revoked'))
  await revoked(`person/${me}`)
  const second = await issue()
  await seen(rowOf(second, 'machine').getByText('valid until'))
  await open.click()
  await revoke(walk, { what: 'Everything there is', field: 'Type everything to go on', value: 'everything', count: 2, look: 'revoking everything' })
  await seen(rowOf(second, 'machine').getByText('revoked'))
  await revoked('certificate/*')
}

/** What was new about the session: where it came from, and by which client. */
async function alerts(walk) {
  const { page } = walk.person
  await tab(walk, '/access?tab=alerts')
  const { items } = await ask(page, '/access/alerts?limit=1000')
  const rows = page.getByRole('table', { name: 'Alerts' }).locator('tbody tr').filter({ has: page.locator('time, td:nth-child(2)') })
  for (const [kind, label] of [['first_seen', 'seen for the first time'], ['machine_changed', 'machine changed']]) {
    await choose(page, 'Kind', label)
    const expected = items.filter((one) => one.kind === `alert.${kind}`).length
    assert.equal(expected > 0, kind === 'first_seen', `${expected} alerts: ${label}`)
    await until(`${expected} alerts: ${label}`, async () => (await rows.count()) === expected)
  }
}

/** Simulated machines are not checked, which the screen says; what it offers of those that are is clicked with an answer of the walk's own. */
async function integrity(walk) {
  const { page } = walk.person
  await tab(walk, '/access?tab=machines')
  await page.getByRole('button', { name: 'web-1', exact: true }).click()
  const dialog = await opened(walk, 'Ways into web-1')
  await seen(dialog.getByText('not checked'))
  assert.equal(await dialog.getByRole('button', { name: 'Check now' }).count(), 0)
  const changed = {
    ...(await ask(page, `${PROJECT}/machines/web-1/integrity`)),
    state: 'changed',
    report: 'a-report',
    findings: [{ kind: 'added', subject: '/etc/sudoers.d/x', message: 'is new' }],
  }
  const path = '**/api/v1/projects/hello/machines/web-1/integrity'
  await page.route(path, (route) => route.fulfill({ json: changed }))
  await page.reload()
  await page.getByRole('button', { name: 'web-1', exact: true }).click()
  await seen(dialog.getByText('/etc/sudoers.d/x'))
  await posts(page, `${PROJECT}/machines/web-1/integrity/check`, dialog.getByRole('button', { name: 'Check now' }))
  await seen(dialog.getByText(/this platform checks no machines/))
  await dialog.getByLabel('Why this is meant so').fill('a new administrator')
  await walk.look(walk.person, 'what changed on a machine')
  const { sent } = await posts(page, `${PROJECT}/machines/web-1/integrity/accept`, dialog.getByRole('button', { name: 'Accept what was found' }))
  assert.deepEqual(sent, { reason: 'a new administrator', report: 'a-report' })
  await seen(dialog.getByText(/was not checked yet|this platform checks no machines/).nth(1))
  await page.unroute(path)
}

export const steps = { matrix, 'ssh sessions': session, 'ssh certificates': certificates, 'ways into machines': integrity }
