// Service accounts and their tokens, workload identities, OAuth clients and identity providers: made, changed and ended by hand.
import assert from 'node:assert/strict'
import { ask, find, says } from '../api.mjs'
import { away, choose, chooseMany, confirm, once, opened, press, seen, send, tab, unseen, write } from '../hands.mjs'
import { crew } from './people.mjs'

const TOKEN = /^hafen_sat_\w{49}$/
/** A key of an issuer that nobody can reach from here. */
const KEYS = '{"keys":[{"kty":"EC","crv":"P-256","kid":"walk","use":"sig","alg":"ES256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}'

async function account(walk) {
  const { page } = walk.person
  await crew(walk)
  await tab(walk, '/people?tab=accounts')
  await page.getByRole('button', { name: 'New service account' }).click()
  let dialog = await opened(walk, 'New service account')
  await dialog.getByLabel('Name', { exact: true }).fill('crane')
  await dialog.getByLabel('Description').fill('Lifts what CI made')
  await walk.look(walk.person, 'a new service account')
  await press(walk, dialog, 'Create')
  await page.getByRole('button', { name: 'crane', exact: true }).click()
  const { id } = await find(page, '/service-accounts', (one) => one.name === 'crane')
  const robot = () => ask(page, `/service-accounts/${id}`)
  assert.equal((await robot()).description, 'Lifts what CI made')

  dialog = await opened(walk, 'crane')
  await dialog.getByLabel('Description').fill('Lifts releases')
  await dialog.getByRole('button', { name: 'Save' }).click()
  await says(page, `/service-accounts/${id}`, (one) => one.description === 'Lifts releases')
  await dialog.getByRole('button', { name: 'New token' }).click()
  const form = await opened(walk, 'New token')
  await form.getByLabel('Name', { exact: true }).fill('pipeline')
  await write(form.getByLabel('Good for (days)'), 30)
  await chooseMany(form, 'Only these actions', ['machine.read'])
  await chooseMany(form, 'Only these projects', ['hello'])
  await walk.look(walk.person, 'a token for a service account')
  await press(walk, form, 'Create')
  const secret = await once(walk, 'The new token', TOKEN)
  const tokens = async () => (await ask(page, `/tokens?subject=${id}`)).items
  const [made] = await tokens()
  assert.deepEqual([made.name, made.scopes, made.projects], ['pipeline', ['machine.read'], ['hello']])
  assert.equal(Math.round((new Date(made.expires_at) - new Date(made.created_at)) / 86_400_000), 30)
  /** What the robot is answered, from outside of the browser's session. */
  const opens = async (secret) => (await fetch(`${walk.url}/api/v1/projects/hello/machines`, { headers: { authorization: `Bearer ${secret}` } })).status
  assert.equal(await opens(secret), 404, 'a project is not there for whom holds no role in it')

  await dialog.getByRole('button', { name: /^Rotate/ }).click()
  const rotate = await opened(walk, 'Rotate pipeline')
  await write(rotate.getByLabel('The old one still opens for (minutes)'), 0)
  await walk.look(walk.person, 'rotating a token')
  await press(walk, rotate, 'Rotate')
  const second = await once(walk, 'The new token', TOKEN)
  assert.notEqual(second, secret)
  assert.equal(await opens(secret), 401, 'what was rotated without overlap opens nothing')
  const replaced = dialog.getByRole('row').filter({ hasText: /not yet seen to fail|ended, seen to fail/ })
  await seen(replaced)
  await dialog.getByRole('row', { name: /^pipeline active/ }).getByRole('button', { name: /Revoke token pipeline/ }).click()
  await confirm(walk, 'Revoke token pipeline?', 'Revoke')
  await seen(dialog.getByRole('cell', { name: 'revoked' }))
  assert.equal(await opens(second), 401)
  assert.ok((await tokens()).every((one) => one.status !== 'active'))

  await dialog.getByRole('button', { name: 'Suspend' }).click()
  await confirm(walk, 'Suspend crane?', 'Suspend')
  await seen(dialog.getByRole('button', { name: 'Activate' }))
  assert.equal((await robot()).status, 'suspended')
  await walk.look(walk.person, 'a service account')
  await dialog.getByRole('button', { name: 'Activate' }).click()
  await confirm(walk, 'Activate crane again?', 'Activate')
  await seen(dialog.getByRole('button', { name: 'Suspend' }))
  assert.equal((await robot()).status, 'active')
}

async function workload(walk) {
  const { page } = walk.person
  await crew(walk)
  await tab(walk, '/people?tab=workloads')
  await page.getByRole('button', { name: 'New workload identity' }).click()
  const dialog = await opened(walk, 'New workload identity')
  const create = dialog.getByRole('button', { name: 'Create' })
  await dialog.getByLabel('Name', { exact: true }).fill('shop-ci')
  await dialog.getByLabel('Issuer', { exact: true }).fill('https://ci.invalid')
  await dialog.getByLabel('Audience').fill('hafen')
  await dialog.getByLabel('Conditions').fill('no condition')
  await seen(dialog.getByText('Each line is name = value'))
  assert.ok(await create.isDisabled())
  await dialog.getByLabel('Conditions').fill('project_path = acme/shop\nref = main')
  await choose(dialog, 'Where', 'Project hello')
  await chooseMany(dialog, 'Only these actions', ['app.deploy'])
  await dialog.getByLabel('Keys of the issuer').fill(KEYS)
  await walk.look(walk.person, 'a new workload identity')
  await press(walk, dialog, 'Create')
  const card = page.getByRole('region', { name: 'shop-ci' })
  await seen(card.getByText('ref = main'))
  const there = () => find(page, '/workload-identities', (one) => one.name === 'shop-ci')
  const made = await there()
  assert.deepEqual([made.claims, made.scope, made.scopes, made.issuer], [{ project_path: 'acme/shop', ref: 'main' }, 'project/hello', ['app.deploy'], 'https://ci.invalid'])
  await card.getByRole('button', { name: 'Delete' }).click()
  await confirm(walk, 'Delete shop-ci?', 'Delete', 'shop-ci')
  await unseen(card)
  assert.equal(await there(), undefined)
}

async function provider(walk) {
  const { page } = walk.person
  await tab(walk, '/people?tab=providers')
  await page.getByRole('button', { name: 'New identity provider' }).click()
  const dialog = await opened(walk, 'New identity provider')
  await dialog.getByLabel('Name', { exact: true }).fill('Town')
  await dialog.getByLabel('Issuer').fill('https://login.invalid')
  await dialog.getByLabel('Client id').fill('hafen')
  await dialog.getByLabel('Client secret').fill('kept by the town')
  await walk.look(walk.person, 'a new identity provider')
  await press(walk, dialog, 'Create')
  const row = page.getByRole('row', { name: /^Town/ })
  await seen(row)
  const there = () => find(page, '/identity-providers', (one) => one.name === 'Town')
  assert.deepEqual([(await there()).issuer, (await there()).client_id], ['https://login.invalid', 'hafen'])
  // Whose account is to be linked proves the second factor here, and is then led there.
  const mine = await walk.person.context.newPage()
  await mine.goto('/account?tab=signIn')
  const link = mine.getByRole('button', { name: 'Link an account' })
  await send({ ...walk, person: { page: mine } }, link, away(link))
  assert.match(await mine.getByRole('link', { name: 'To Town' }).getAttribute('href'), /^\/oauth\/external\?provider=[\w-]+&link=1&return_to=%2Faccount%3Ftab%3DsignIn$/)
  await mine.close()
  // Nobody who is signed in, yet: the page offers it, for the organisation that one belongs to.
  const stranger = await walk.open(walk.browser, walk.url)
  await stranger.page.goto('/sign-in?to=/projects/hello')
  const way = stranger.page.getByRole('link', { name: 'Sign in with Town' })
  assert.equal(await way.getAttribute('href'), `/oauth/external?provider=${(await there()).id}&return_to=%2Fprojects%2Fhello`)
  await walk.look(stranger, 'sign-in with an account elsewhere')
  await stranger.page.getByRole('button', { name: 'Another organisation' }).click()
  await stranger.page.getByLabel('Organisation', { exact: true }).fill('nobody')
  await unseen(way)
  await stranger.context.close()
  await row.getByRole('button', { name: 'Delete Town?' }).click()
  await confirm(walk, 'Delete Town?', 'Delete', 'Town')
  await unseen(row)
  assert.equal(await there(), undefined)
}

async function client(walk) {
  const { page } = walk.person
  await tab(walk, '/people?tab=clients')
  const make = async (name, uris, secret) => {
    await page.getByRole('button', { name: 'New client' }).click()
    const dialog = await opened(walk, 'New client')
    assert.equal(await dialog.getByLabel('Name', { exact: true }).inputValue(), '', 'a new one begins empty')
    await dialog.getByLabel('Name', { exact: true }).fill(name)
    await dialog.getByLabel('Redirect URIs').fill(uris.join('\n'))
    await dialog.getByLabel(/can keep a secret/).setChecked(secret)
    if (secret) await walk.look(walk.person, 'a new client')
    await press(walk, dialog, 'Create')
    if (secret) await once(walk, 'Client secret', /^\S{20,}$/)
    await seen(page.getByRole('row', { name: new RegExp(`^${name} `) }))
  }
  const uris = ['https://wiki.invalid/back', 'https://wiki.invalid/again']
  await make('wiki', uris, true)
  await make('desk', ['http://127.0.0.1/back'], false)
  const there = (name) => find(page, '/oauth-clients', (one) => one.name === name)
  const { redirect_uris, confidential } = await there('wiki')
  assert.deepEqual([redirect_uris, confidential, (await there('desk')).confidential], [uris, true, false])
  for (const name of ['wiki', 'desk']) {
    const row = page.getByRole('row', { name: new RegExp(`^${name} `) })
    await row.getByRole('button', { name: /^Delete client/ }).click()
    await confirm(walk, `Delete client ${name}?`, 'Delete', name)
    await unseen(row)
    assert.equal(await there(name), undefined)
  }
}

export const steps = { 'service account': account, 'workload identity': workload, 'identity provider': provider, 'oauth client': client }
