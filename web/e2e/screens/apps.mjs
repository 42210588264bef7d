// Everything that can be done to apps, and to what they are made of: repositories, secrets and hooks, done by hand in the console.
import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { PROJECT, ask, gone, says } from '../api.mjs'
import { choose, confirm, opened, press, row, seen, send, there, unseen, write } from '../hands.mjs'
import { publicKey } from '../ssh-key.mjs'

async function repositories(walk) {
  const { page } = walk.person
  await page.goto('/projects/hello/apps?tab=repositories')
  await page.getByRole('button', { name: 'New repository' }).click()
  let dialog = await opened(walk, 'New repository')
  await dialog.getByLabel('Name').fill('tide')
  await dialog.getByLabel('Default branch').fill('trunk')
  await dialog.getByLabel('Description').fill('Ebb and flow')
  await press(walk, dialog, 'Create')
  const path = `${PROJECT}/repositories/tide`
  await seen(page.getByRole('heading', { name: 'tide', exact: true }))
  const made = await says(page, path, (it) => it.default_branch === 'trunk' && it.description === 'Ebb and flow')

  const save = page.getByRole('button', { name: 'Save' })
  assert.ok(await save.isDisabled(), 'nothing was changed yet')
  await page.getByRole('button', { name: 'Add a rule' }).click()
  const rule = made.protected.length + 1
  await page.getByLabel(`Branch of rule ${rule}`).fill('release/*')
  await choose(page, 'Who pushes to release/*', 'nobody')
  await page.getByLabel('release/* may be deleted').check()
  await page.getByRole('button', { name: 'Move the rule for release/* up' }).click()
  await page.getByLabel('Description').fill('Ebb, flow and slack')
  await write(page.getByLabel('Largest file (MiB)'), 5)
  await save.click()
  const kept = await says(page, path, (it) => it.description === 'Ebb, flow and slack')
  assert.deepEqual(kept.protected.map((one) => [one.pattern, one.push, one.force ?? false, one.delete ?? false]).at(-2), ['release/*', 'nobody', false, true])
  assert.equal(kept.object_limit, 5 << 20)
  await seen(page.getByText('Ebb, flow and slack').first())
  await page.waitForFunction(() => [...document.querySelectorAll('button')].find((one) => one.textContent === 'Save')?.disabled)
  await walk.look(walk.person, 'a repository')
  await page.getByRole('button', { name: 'Leave out the rule for release/*' }).click()
  await save.click()
  await says(page, path, (it) => it.protected.every((one) => one.pattern !== 'release/*'))

  const line = publicKey()
  await page.getByRole('button', { name: 'Add a key' }).click()
  dialog = await opened(walk, 'Add a deploy key')
  await dialog.getByLabel('Name').fill('robot')
  await dialog.getByLabel('Public key').fill(line)
  await dialog.getByLabel('It may push, too').check()
  await press(walk, dialog, 'Add a key')
  const keys = `${path}/deploy-keys`
  const [key] = (await says(page, keys, ({ items }) => items.length === 1)).items
  assert.deepEqual([key.name, key.access, key.public_key.split(' ')[1]], ['robot', 'write', line.split(' ')[1]])
  await seen(row(page, 'robot').getByText('fetch and push'))
  await page.getByRole('button', { name: 'Remove the key robot' }).click()
  await confirm(walk, 'Remove the key robot?', 'Remove')
  await says(page, keys, ({ items }) => items.length === 0)
  await seen(page.getByText('No deploy key'))

  await page.getByRole('button', { name: 'Delete', exact: true }).click()
  await confirm(walk, 'Delete tide?', 'Delete', 'tide')
  await gone(page, path)
  await seen(page.getByRole('link', { name: 'shop' }))
  await unseen(row(page, 'tide'))
}

async function secrets(walk) {
  const { page } = walk.person
  const [first, second] = ['herring', 'mackerel in brine']
  await page.goto('/projects/hello/apps?tab=secrets')
  await page.getByRole('button', { name: 'New secret' }).click()
  let dialog = await opened(walk, 'New secret')
  await dialog.getByLabel('Name').fill('catch')
  await dialog.getByLabel('Value').fill(first)
  await press(walk, dialog, 'Set')
  await seen(page.getByRole('heading', { name: 'catch' }))
  const path = `${PROJECT}/secrets/catch`
  await says(page, path, (it) => it.current === 1)
  await seen(row(page, '1').getByText('current'))

  await page.getByRole('button', { name: 'New version' }).click()
  dialog = await opened(walk, 'A new value for catch')
  // From a file, to the byte.
  await dialog.locator('input[type=file]').setInputFiles({ name: 'catch.txt', mimeType: 'text/plain', buffer: Buffer.from(second) })
  await seen(dialog.getByText('The file catch.txt'))
  await press(walk, dialog, 'Set')
  await seen(row(page, '2').getByText('current'))
  await says(page, path, (it) => it.current === 2 && it.versions.length === 2)

  for (const [version, value] of [[1, first], [2, second]]) {
    await page.getByRole('button', { name: `Read version ${version}` }).click()
    dialog = await opened(walk, `Read catch, version ${version}`)
    const go = dialog.getByRole('button', { name: 'Read', exact: true })
    assert.ok(await go.isDisabled(), 'nothing is read without a reason')
    await dialog.getByLabel('Reason').fill('the fishmonger asks')
    await send(walk, go, there(dialog.getByText('Shown until you close this')))
    assert.equal(await dialog.getByText(value).count(), 0, 'hidden at first')
    await dialog.getByRole('button', { name: 'Show' }).click()
    await seen(dialog.getByText(value))
    await dialog.getByRole('button', { name: 'Close', exact: true }).last().click()
    await unseen(dialog)
    await says(page, path, (it) => it.versions.find((one) => one.version === version).last_read)
  }
  assert.equal(await page.getByText(second).count(), 0, 'nothing of it stays')

  await page.getByRole('button', { name: 'Destroy version 1' }).click()
  await confirm(walk, 'Destroy version 1 of catch?', 'Destroy', 'catch')
  await says(page, path, (it) => it.versions.find((one) => one.version === 1).state === 'destroyed')
  await seen(row(page, '1').getByText('destroyed'))

  await page.getByRole('button', { name: 'Delete', exact: true }).click()
  await confirm(walk, 'Delete catch?', 'Delete', 'catch')
  await gone(page, path)
  await seen(page.getByText('No secret yet'))
}

const hex = (secret, body) => createHmac('sha256', secret).update(body).digest('hex')
/** Of each system: what the form has for it alone, what the page says of it, and how it shows that a call is its own. None of these calls deploys anything. */
const CALLERS = [
  {
    kind: 'gitlab',
    label: 'GitLab',
    also: (dialog) => dialog.getByLabel('Deploy when a pipeline succeeded').check(),
    keeps: (hook) => hook.pipeline,
    place: 'Settings, Webhooks. The secret as signing token or as secret token.',
    deploys: 'A pipeline of the branch that was a success. Tick pipeline events.',
    why: 'A build that failed (failed).',
    body: { object_kind: 'pipeline', object_attributes: { id: 7, status: 'failed', ref: 'trunk', sha: '0'.repeat(40), source: 'push' }, project: { id: 1, path_with_namespace: 'a/b' } },
    headers: (secret) => ({ 'x-gitlab-event': 'Pipeline Hook', 'x-gitlab-token': secret }),
  },
  {
    kind: 'github',
    label: 'GitHub',
    place: 'Settings, Webhooks. Content type application/json.',
    deploys: 'A push.',
    why: 'A ping, by which the hook is tried.',
    body: { zen: 'Keep it logically awesome.', hook_id: 1 },
    headers: (secret, body) => ({ 'x-github-event': 'ping', 'x-hub-signature-256': `sha256=${hex(secret, body)}` }),
  },
  {
    kind: 'forgejo',
    label: 'Forgejo or Gitea',
    place: 'Settings, Webhooks, Forgejo or Gitea.',
    deploys: 'A push.',
    why: 'Branch “elsewhere” is not the one this hook is for.',
    body: { ref: 'refs/heads/elsewhere', before: '0'.repeat(40), after: '1'.repeat(40), deleted: false, repository: { id: 1, full_name: 'a/b' } },
    headers: (secret, body) => ({ 'x-forgejo-event': 'push', 'x-forgejo-signature': hex(secret, body) }),
  },
  {
    kind: 'jenkins',
    label: 'Jenkins',
    also: (dialog) => dialog.getByLabel('Job').fill('tide'),
    keeps: (hook) => hook.job === 'tide',
    place: 'Notification plugin: format JSON, protocol HTTP. The secret is part of the URL.',
    deploys: 'The end of a build that was a success.',
    why: 'A build that failed (tide #7: FAILURE).',
    body: { name: 'tide', url: 'job/tide/', build: { full_url: 'http://ci.example.org/job/tide/7/', number: 7, phase: 'COMPLETED', status: 'FAILURE', scm: { branch: 'origin/trunk', commit: '1'.repeat(40) } } },
  },
]

async function hooks(walk) {
  const { page } = walk.person
  await page.goto('/projects/hello/apps?tab=hooks')
  for (const caller of CALLERS) await hook(walk, caller)
  await seen(page.getByText('No hook', { exact: true }))
}

async function hook(walk, { kind, label, also, keeps, place, deploys, why, body, headers }) {
  const { page } = walk.person
  const name = `gull-${kind}`
  const path = `${PROJECT}/hooks/${name}`
  await page.getByRole('button', { name: 'New hook' }).click()
  let dialog = await opened(walk, 'New hook')
  await dialog.getByLabel('Name').fill(name)
  // There and back, so that the one that is meant is chosen and not merely left.
  for (const one of [label === 'GitHub' ? 'Jenkins' : 'GitHub', label]) await choose(dialog, 'Who calls', one)
  await dialog.getByLabel('App that is deployed').fill('shop')
  await dialog.getByLabel('Branch').fill('trunk')
  await also?.(dialog)
  await dialog.getByRole('button', { name: 'Create' }).click()
  dialog = await opened(walk, `Hook ${name}`)
  await seen(dialog.getByText('The secret is shown this once.'))
  for (const text of [place, deploys]) await seen(dialog.getByText(text, { exact: true }))
  const made = await says(page, path, (it) => it.kind === kind && it.app === 'shop' && it.branch === 'trunk')
  assert.ok(keeps?.(made) ?? true, `${kind}: ${JSON.stringify(made)}`)

  // What is copied is what opens it, from where no session is.
  const copied = []
  for (const button of await dialog.getByRole('button', { name: /^Copy: / }).all()) {
    await button.click()
    copied.push(await page.evaluate(() => navigator.clipboard.readText()))
  }
  assert.deepEqual(copied, await dialog.locator('.copy-text code').allInnerTexts())
  const [url, secret] = copied
  assert.equal(new URL(url).pathname, made.path)
  assert.equal(new URL(url).searchParams.get('token'), kind === 'jenkins' ? secret : null)
  const call = async (secret) => {
    const text = JSON.stringify(body)
    const to = new URL(url)
    if (kind === 'jenkins') to.searchParams.set('token', secret)
    return (await fetch(to, { method: 'POST', body: text, headers: { 'content-type': 'application/json', ...headers?.(secret, text) } })).status
  }
  assert.deepEqual([await call('wrong'), (await ask(page, path)).called_at], [401, null])
  assert.equal(await call(secret), 200)
  await dialog.getByRole('button', { name: 'I have entered it' }).click()
  await unseen(dialog)

  await page.getByRole('link', { name }).click()
  await seen(page.getByText('The secret was shown when the hook was made.'))
  await seen(page.getByText(why, { exact: true }))
  await seen(page.getByText(place, { exact: true }))
  assert.ok(!(await page.content()).includes(secret), 'the secret is nowhere any more')
  if (kind === 'jenkins') await seen(page.getByText(/\?token=SECRET$/))
  await walk.look(walk.person, `a hook for ${label}`)

  await page.getByRole('button', { name: `End the hook ${name}` }).click()
  await confirm(walk, `End the hook ${name}?`, 'End')
  await gone(page, path)
}

const APP = `${PROJECT}/apps/tide`
const runs = (replicas, release) => (it) => it.state === 'running' && it.processes.length === replicas && it.processes.every((one) => one.state === 'healthy' && one.release === release)
const newest = (page, fits) => says(page, `${APP}/deployments`, ({ items }) => fits(items[0]))

/** Made by the form; deployed by that, since there is something to deploy. */
async function create(walk) {
  const { page } = walk.person
  await page.goto('/projects/hello/apps')
  await page.getByRole('button', { name: 'New app' }).click()
  const dialog = await opened(walk, 'New app')
  await dialog.getByLabel('Name', { exact: true }).fill('tide')
  await dialog.getByRole('textbox', { name: 'Repository' }).or(dialog.getByRole('combobox', { name: 'Repository' })).fill('shop')
  await dialog.getByLabel('Command of a process').fill('./tide')
  await dialog.getByLabel('Cluster or machine').fill('web')
  await write(dialog.getByLabel('First port'), 9100)
  await dialog.getByLabel('Path of the check').fill('/healthz')
  await choose(dialog, 'Strategy', 'blue-green: all at once')
  await dialog.getByRole('button', { name: 'Add a variable' }).click()
  await dialog.getByLabel('Name of variable 1').fill('MOON')
  await dialog.getByLabel('Value of variable 1').fill('new')
  await press(walk, dialog, 'Create')
  await page.waitForURL(/\/apps\/tide$/)
  const made = await says(page, APP, runs(1, 1))
  assert.deepEqual([made.spec.run, made.spec.port, made.spec.strategy, made.spec.env], ['./tide', 9100, 'blue-green', { MOON: 'new' }])
  await seen(page.locator('.page-head').getByText('running'))
}

async function day(walk) {
  const { page } = walk.person
  const deployments = page.getByRole('list', { name: /^Deployments of tide/ }).getByRole('listitem')
  await page.getByRole('button', { name: 'Scale' }).click()
  let dialog = await opened(walk, 'Scale tide')
  await write(dialog.getByLabel('Processes'), 2)
  await press(walk, dialog, 'Scale')
  const scaled = await says(page, APP, runs(2, 1))
  await seen(page.getByText('2 of 2 healthy'))

  await page.getByRole('button', { name: 'Restart' }).click()
  await confirm(walk, 'Restart tide?', 'Restart')
  const old = scaled.processes.map((one) => one.id)
  await says(page, APP, (it) => runs(2, 1)(it) && it.processes.every((one) => !old.includes(one.id)))
  await seen(deployments.first().getByText('Restart'))

  // By hand: the head, and one commit that lies further back.
  await page.getByRole('button', { name: 'Deploy', exact: true }).click()
  await confirm(walk, 'Deploy tide', 'Deploy')
  await newest(page, (it) => it.kind === 'deploy' && it.id === 'd3' && it.state === 'succeeded')
  await seen(deployments.first().getByText('d3', { exact: true }))
  const { items: commits } = await ask(page, `${PROJECT}/repositories/shop/commits?ref=main`)
  await page.getByRole('button', { name: 'Deploy', exact: true }).click()
  dialog = await opened(walk, 'Deploy tide')
  await dialog.getByLabel('One commit').check()
  await dialog.getByLabel('Commit', { exact: true }).fill(commits.at(-1).id)
  await press(walk, dialog, 'Deploy')
  await newest(page, (it) => it.commit === commits.at(-1).id && it.state === 'succeeded')
  await says(page, APP, runs(2, 2))
  await seen(deployments.first().getByText(commits.at(-1).id.slice(0, 10)))

  // Back from the list of releases.
  await page.getByRole('tab', { name: 'Releases' }).click()
  await page.getByRole('button', { name: 'Roll back to release 1' }).click()
  await confirm(walk, 'Roll back tide', 'Go back to release 1')
  await says(page, APP, runs(2, 1))
  await newest(page, (it) => it.kind === 'rollback' && it.release === 1 && it.state === 'succeeded')
  await seen(page.getByRole('row').filter({ hasText: 'serves' }).getByRole('cell', { name: '1', exact: true }))

  await page.getByRole('tab', { name: 'Command' }).click()
  await page.getByLabel('Command', { exact: true }).last().fill('ls -l')
  await page.getByRole('button', { name: 'Run', exact: true }).click()
  await seen(page.getByText('would run: ls -l'))
  await seen(page.getByText('ended with 0'))
}

/** Where no machine takes it, a deployment waits until somebody ends it. */
async function cancelled(walk) {
  const { page } = walk.person
  await page.getByRole('tab', { name: 'Definition' }).click()
  await page.getByRole('button', { name: 'Change', exact: true }).click()
  let dialog = await opened(walk, 'Change tide')
  assert.equal(await dialog.getByLabel('Value of variable 1').inputValue(), 'new')
  await dialog.getByLabel('Cluster or machine').fill('nowhere')
  await dialog.getByLabel('Command of a process').fill('./tide high')
  await press(walk, dialog, 'Save')
  await newest(page, (it) => it.kind === 'configure' && it.state === 'rolling')
  await says(page, APP, (it) => it.spec.on === 'nowhere' && it.state === 'deploying')
  await page.getByRole('tab', { name: 'Deployments' }).click()
  await page.getByRole('button', { name: 'Cancel', exact: true }).click()
  const { items: [{ id }] } = await ask(page, `${APP}/deployments`)
  await confirm(walk, `Cancel ${id}?`, 'Cancel the deployment')
  await newest(page, (it) => it.id === id && it.state === 'cancelled')
  await seen(page.getByRole('listitem').filter({ hasText: id }).getByText('cancelled', { exact: true }))
}

async function end(walk) {
  const { page } = walk.person
  await page.getByRole('button', { name: 'Delete this app' }).click()
  await confirm(walk, 'Delete tide?', 'Delete', 'tide')
  await page.waitForURL(/\/apps$/)
  await gone(page, APP)
  await unseen(page.getByRole('link', { name: 'tide' }))
  await seen(page.getByRole('link', { name: 'shop' }).first())
}

async function apps(walk) {
  for (const part of [create, day, cancelled, end]) await part(walk)
}

export const steps = { repositories, secrets, hooks, apps }
