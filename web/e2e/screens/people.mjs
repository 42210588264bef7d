// Organisations, teams, people and what they hold: each write of these screens, seen on the screen and told by the platform.
import assert from 'node:assert/strict'
import { ask, find, says, status, tell } from '../api.mjs'
import { choose, chooseMany, confirm, once, opened, press, seen, send, tab, take, there, unseen, write } from '../hands.mjs'
import { accept } from '../person.mjs'

const INVITATION = /\/invitation#hafen_inv_\w+$/

async function organisation(walk) {
  const { page } = walk.person
  await tab(walk, '/people?tab=organisation')
  const form = page.locator('form.card')
  const save = form.getByRole('button', { name: 'Save' })
  const saved = async (holds) => {
    await send(walk, save, async () => holds(await find(page, '/organisations', (one) => one.name === 'default')))
    await unseen(save.and(page.locator(':enabled')))
  }
  assert.ok(await save.isDisabled(), 'nothing to save yet')
  await form.getByLabel('Title').fill('Harbour works')
  await write(form.getByLabel('An idle session ends after (minutes)'), 45)
  await write(form.getByLabel('A session ends at the latest after (hours)'), 12)
  await saved((one) => one.title === 'Harbour works' && one.policy.idle_minutes === 45 && one.policy.session_hours === 12)
  await seen(form.getByRole('heading', { name: 'How people of Harbour works sign in' }))
  await form.getByLabel('A second factor is required').uncheck()
  await seen(form.getByText('A password alone then opens everything.'))
  await walk.look(walk.person, 'a weaker sign-in policy')
  await saved((one) => one.policy.second_factor === false)
  await form.getByLabel('A second factor is required').check()
  await saved((one) => one.policy.second_factor === true)

  await page.getByRole('button', { name: 'New organisation' }).click()
  const dialog = await opened(walk, 'New organisation')
  await dialog.getByLabel('Name', { exact: true }).fill('tenant')
  await dialog.getByLabel('Title').fill('Tenant & Sons')
  await walk.look(walk.person, 'a new organisation')
  await press(walk, dialog, 'Create')
  await page.getByRole('link', { name: 'Tenant & Sons' }).click()
  const there = await find(page, '/organisations', (one) => one.name === 'tenant')
  await seen(page.getByRole('heading', { name: 'How people of Tenant & Sons sign in' }))
  // Its first owner is invited from outside; nobody belongs to it yet.
  await page.getByRole('tab', { name: 'People', exact: true }).click()
  await seen(page.getByText('Nobody belongs yet'))
  await invite(walk, { role: 'Owner' })
  const invitation = await find(page, '/invitations?organisation=tenant', (one) => one.status === 'open')
  assert.deepEqual([invitation.role, invitation.scope], ['owner', there.id])
}

/** Invites somebody from the list of people, and gives the secret of the link. */
async function invite(walk, { login, role, look }) {
  const { page } = walk.person
  await page.getByRole('button', { name: 'Invite', exact: true }).click()
  const dialog = await opened(walk, 'Invite somebody')
  if (login) await dialog.getByLabel('Login').fill(login)
  await choose(dialog, 'Role', role)
  if (look) await walk.look(walk.person, look)
  await press(walk, dialog, 'Make the invitation')
  const link = await once(walk, 'Invitation', INVITATION)
  return new URL(link).hash.slice(1)
}

/** Somebody else, who is there for what is done to people; made when the first step needs her. */
export async function guest(walk) {
  if (walk.guest) return walk.guest
  await tab(walk, '/people')
  const invitation = await invite(walk, { login: 'mia', role: 'Developer', look: 'an invitation' })
  const hers = await walk.open(walk.browser, walk.url)
  await accept(hers.page, invitation, { name: 'Mia Sundberg' })
  await hers.page.getByRole('button', { name: 'Continue' }).click()
  await hers.page.waitForURL(/\/$/)
  await seen(walk.person.page.getByRole('button', { name: 'Mia Sundberg' }))
  const { id } = await find(walk.person.page, '/people', (one) => one.login === 'mia')
  return (walk.guest = { ...hers, id })
}

/** A team that owns `hello`, for what is held in teams and in projects that have one. */
export async function crew({ person: { page } }) {
  const team = (await find(page, '/teams', (one) => one.name === 'crew')) ?? (await tell(page, 'POST', '/teams', { name: 'crew', title: 'Crew' }))
  await tell(page, 'PUT', '/project-owners/hello', { team: team.id })
}

async function people(walk) {
  const { page } = walk.person
  await tab(walk, '/people')
  await invite(walk, { login: 'gone', role: 'Viewer' })
  const row = page.getByRole('row', { name: /^gone / })
  await row.getByRole('button', { name: /Withdraw/ }).click()
  await confirm(walk, /Withdraw the invitation/, 'Withdraw')
  await seen(row.getByText('withdrawn'))
  assert.equal((await find(page, '/invitations', (one) => one.login === 'gone')).status, 'withdrawn')

  const mia = await guest(walk)
  await tell(mia.page, 'POST', '/tokens', { name: 'hers', days: 1 })
  const her = () => ask(page, `/people/${mia.id}`)
  await page.getByRole('button', { name: 'Mia Sundberg' }).click()
  const before = await opened(walk, 'Mia Sundberg')
  await before.getByLabel('Name', { exact: true }).fill('Mia Berg')
  const dialog = page.getByRole('dialog', { name: 'Mia Berg' })
  await send(walk, before.getByRole('button', { name: 'Save' }), there(dialog))
  assert.equal((await her()).name, 'Mia Berg')
  await walk.look(walk.person, 'a person')
  await dialog.getByRole('button', { name: 'Revoke token hers?' }).click()
  await confirm(walk, 'Revoke token hers?', 'Revoke')
  await seen(dialog.getByRole('cell', { name: 'revoked' }))
  assert.equal((await ask(mia.page, '/tokens')).items[0].status, 'revoked')
  const hers = () => status(mia.page, '/whoami')
  assert.equal(await hers(), 200)
  await dialog.getByRole('button', { name: 'Suspend' }).click()
  await confirm(walk, 'Suspend Mia Berg?', 'Suspend')
  await seen(dialog.getByRole('button', { name: 'Activate' }))
  assert.equal((await her()).status, 'suspended')
  assert.equal(await hers(), 401, 'a suspended person is signed out')
  await dialog.getByRole('button', { name: 'Activate' }).click()
  await confirm(walk, 'Activate Mia Berg again?', 'Activate')
  await seen(dialog.getByRole('button', { name: 'Suspend' }))
  assert.equal((await her()).status, 'active')
  await dialog.getByRole('button', { name: 'Reset sign-in' }).click()
  await confirm(walk, /Reset the sign-in/, 'Reset sign-in', 'mia')
  await once(walk, 'Link to set up the sign-in anew', INVITATION)
  await says(page, `/people/${mia.id}`, (one) => one.factors.length === 0)
  await page.keyboard.press('Escape')
  await unseen(dialog)
  await seen(page.getByRole('row', { name: /Mia Berg/ }).getByText('nothing yet'))
}

async function teams(walk) {
  const { page } = walk.person
  await tab(walk, '/people?tab=teams')
  const made = async (name, title, look) => {
    await page.getByRole('button', { name: 'New team' }).click()
    const dialog = await opened(walk, 'New team')
    await dialog.getByLabel('Name', { exact: true }).fill(name)
    await dialog.getByLabel('Title').fill(title)
    if (look) await walk.look(walk.person, look)
    await press(walk, dialog, 'Create')
    await seen(page.getByRole('region', { name: title || name }))
    return find(page, '/teams', (one) => one.name === name)
  }
  const crew = await made('crew', 'Crew', 'a new team')
  const dock = await made('dock', '')
  const cardOf = (name) => page.getByRole('region', { name, exact: true })
  await cardOf('dock').getByRole('button', { name: 'Change title' }).click()
  const title = await opened(walk, 'Change title')
  await title.getByLabel('Title').fill('Dry dock')
  await press(walk, title, 'Save')
  await seen(cardOf('Dry dock'))
  assert.equal((await ask(page, `/teams/${dock.id}`)).title, 'Dry dock')

  const owner = async (name) => (await find(page, '/project-owners', (one) => one.project === name))?.team
  const give = page.getByRole('dialog', { name: 'Give a project to a team' })
  // One that is there, and a name for one to come.
  for (const name of ['hello', 'pier']) {
    await page.getByRole('button', { name: 'Give a project to a team' }).click()
    await opened(walk, 'Give a project to a team')
    await give.getByLabel('Project').fill(name)
    await choose(give, 'Team', 'crew')
    if (name === 'pier') await walk.look(walk.person, 'a project for a team')
    await press(walk, give, 'Save')
    await seen(cardOf('Crew').getByRole('link', { name, exact: true }))
    assert.equal(await owner(name), crew.id)
  }
  await cardOf('Crew').getByRole('button', { name: 'Move: pier' }).click()
  await choose(give, 'Team', 'dock')
  await press(walk, give, 'Save')
  await cardOf('Dry dock').getByRole('button', { name: /Give up the name pier/ }).click()
  assert.equal(await owner('pier'), dock.id)
  await confirm(walk, 'Give up the name pier?', 'Give up the name', 'pier')
  await unseen(cardOf('Dry dock').getByText('pier'))
  assert.equal(await owner('pier'), undefined)
  await cardOf('Dry dock').getByRole('button', { name: 'Delete' }).click()
  await confirm(walk, 'Delete team Dry dock?', 'Delete', 'dock')
  await unseen(cardOf('Dry dock'))
  assert.equal(await find(page, '/teams', (one) => one.id === dock.id), undefined)
}

async function roles(walk) {
  const { page } = walk.person
  const mia = await guest(walk)
  await crew(walk)
  await tab(walk, '/people?tab=roles')
  const role = () => find(page, '/roles', (one) => one.name === 'restarter')
  await page.getByRole('button', { name: 'New role' }).click()
  let dialog = await opened(walk, 'New role')
  await dialog.getByLabel('Name', { exact: true }).fill('restarter')
  await dialog.getByLabel('Title').fill('Restarts')
  await chooseMany(dialog, 'May', ['read', 'machine.run'])
  await walk.look(walk.person, 'a new role')
  await press(walk, dialog, 'Save')
  const card = page.getByRole('article').filter({ hasText: 'restarter' })
  await seen(card.getByText('machine.run'))
  assert.deepEqual((await role()).permissions.toSorted(), ['machine.run', 'read'])
  await card.getByRole('button', { name: 'Change role' }).click()
  dialog = await opened(walk, 'Change role')
  await chooseMany(dialog, 'May', ['app.deploy'])
  await press(walk, dialog, 'Save')
  await seen(card.getByText('app.deploy'))
  assert.ok((await role()).permissions.includes('app.deploy'))

  await page.getByRole('tab', { name: 'Roles held' }).click()
  await page.getByRole('button', { name: 'Give a role' }).click()
  dialog = await opened(walk, 'Give a role')
  await choose(dialog, 'Who', /\(mia\)/)
  await choose(dialog, 'Role', 'Restarts')
  await choose(dialog, 'Where', 'Project hello')
  await walk.look(walk.person, 'giving a role')
  await press(walk, dialog, 'Give')
  const row = page.getByRole('row', { name: /Mia .*restarter.*Project hello/ })
  await seen(row)
  const held = () => find(page, '/memberships', (one) => one.subject === mia.id && one.role === 'restarter')
  assert.equal((await held()).scope, 'project/hello')
  await row.getByRole('button', { name: /^Take restarter/ }).click()
  await confirm(walk, /^Take restarter/, 'Take the role')
  await unseen(row)
  assert.equal(await held(), undefined)

  await page.getByRole('tab', { name: 'Roles', exact: true }).click()
  await card.getByRole('button', { name: 'Delete' }).click()
  await confirm(walk, 'Delete role restarter?', 'Delete', 'restarter')
  await unseen(card)
  assert.equal(await role(), undefined)
}

/** What the screen explains is what the policy answers. */
async function policy(walk) {
  const { page } = walk.person
  const mia = await guest(walk)
  await tab(walk, '/people?tab=policy')
  const asked = async (who, action, place) => {
    const form = page.locator('form.ask')
    if (who) {
      // It takes what is typed, too, and so opens by the keyboard.
      await form.getByRole('combobox', { name: 'Who' }).press('ArrowDown')
      await take(page, who)
    }
    await choose(form, 'Does what', action)
    await choose(form, 'Where', place)
    await form.getByRole('button', { name: 'Ask' }).click()
  }
  await asked(/\(mia\)/, /^machine\.delete/, 'Project hello')
  await seen(page.getByText(/^No, Mia .* may not:$/))
  await walk.look(walk.person, 'what the policy refuses')
  assert.equal((await ask(page, `/policy/explain?who=${mia.id}&action=machine.delete&place=project/hello`)).allowed, false)
  await asked(undefined, /^machine\.ssh/, 'Project hello')
  await seen(page.getByText(/^Yes, Mia .* may:$/))
  const told = await ask(page, `/policy/explain?who=${mia.id}&action=machine.ssh&place=project/hello`)
  assert.equal(told.allowed, true)
  await seen(page.getByText(told.rules[0].tells).first())
  await page.getByText('The policy as it is written').click()
  await seen(page.getByText('permit').first())
}

export const steps = { organisation, teams, people, roles, policy }
