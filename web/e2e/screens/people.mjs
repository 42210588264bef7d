// Organisations, teams, people and what they hold: each write of these screens, seen on the screen and told by the platform.
import assert from 'node:assert/strict'
import { write } from '../forms.mjs'
import { ask, choose, chooseMany, confirm, find, once, send, tab, tell, until } from '../hands.mjs'
import { accept } from '../person.mjs'

const INVITATION = /\/invitation#hafen_inv_\w+$/

async function organisation(walk) {
  const { page } = walk.person
  await tab(walk, '/people?tab=organisation')
  const form = page.locator('form.card')
  const save = form.getByRole('button', { name: 'Save' })
  const own = async () => find(page, '/organisations', (one) => one.name === 'default')
  const saved = async (what, holds) => {
    await send(walk, save.and(page.locator(':enabled')), save.and(page.locator(':enabled')))
    await until(what, async () => holds(await own()))
  }
  assert.ok(await save.isDisabled(), 'nothing to save yet')
  await form.getByLabel('Title').fill('Harbour works')
  await write(form.getByLabel('An idle session ends after (minutes)'), 45)
  await write(form.getByLabel('A session ends at the latest after (hours)'), 12)
  await saved('title and times', (one) => one.title === 'Harbour works' && one.policy.idle_minutes === 45 && one.policy.session_hours === 12)
  await form.getByRole('heading', { name: 'How people of Harbour works sign in' }).waitFor()
  await form.getByLabel('A second factor is required').uncheck()
  await form.getByText('A password alone then opens everything.').waitFor()
  await walk.look(walk.person, 'a weaker sign-in policy')
  await saved('no second factor', (one) => one.policy.second_factor === false)
  await form.getByLabel('A second factor is required').check()
  await saved('a second factor again', (one) => one.policy.second_factor === true)

  await page.getByRole('button', { name: 'New organisation' }).click()
  const dialog = page.getByRole('dialog', { name: 'New organisation' })
  await dialog.getByLabel('Name', { exact: true }).fill('tenant')
  await dialog.getByLabel('Title').fill('Tenant & Sons')
  await walk.look(walk.person, 'a new organisation')
  await send(walk, dialog.getByRole('button', { name: 'Create' }), dialog)
  await page.getByRole('link', { name: 'Tenant & Sons' }).click()
  const there = await find(page, '/organisations', (one) => one.name === 'tenant')
  await page.getByRole('heading', { name: 'How people of Tenant & Sons sign in' }).waitFor()
  // Its first owner is invited from outside; nobody belongs to it yet.
  await page.getByRole('tab', { name: 'People', exact: true }).click()
  await page.getByText('Nobody belongs yet').waitFor()
  await invite(walk, { role: 'Owner' })
  const invitation = await find(page, '/invitations?organisation=tenant', (one) => one.status === 'open')
  assert.deepEqual([invitation.role, invitation.scope], ['owner', there.id])
}

/** Invites somebody from the list of people, and gives the secret of the link. */
async function invite(walk, { login, role, look }) {
  const { page } = walk.person
  await page.getByRole('button', { name: 'Invite', exact: true }).click()
  const dialog = page.getByRole('dialog', { name: 'Invite somebody' })
  if (login) await dialog.getByLabel('Login').fill(login)
  await choose(page, dialog, 'Role', role)
  if (look) await walk.look(walk.person, look)
  await send(walk, dialog.getByRole('button', { name: 'Make the invitation' }), dialog)
  if (look) await walk.look(walk.person, `${look}, its link`)
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
  await walk.person.page.getByRole('button', { name: 'Mia Sundberg' }).waitFor()
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
  await confirm(walk, { title: /Withdraw the invitation/, button: 'Withdraw', look: 'withdrawing an invitation' })
  await row.getByText('withdrawn').waitFor()
  assert.equal((await find(page, '/invitations', (one) => one.login === 'gone')).status, 'withdrawn')

  const mia = await guest(walk)
  await tell(mia.page, 'POST', '/tokens', { name: 'hers', days: 1 })
  const her = () => ask(page, `/people/${mia.id}`)
  await page.getByRole('button', { name: 'Mia Sundberg' }).click()
  await page.getByRole('dialog', { name: 'Mia Sundberg' }).getByLabel('Name', { exact: true }).fill('Mia Berg')
  const dialog = page.getByRole('dialog', { name: 'Mia Berg' })
  await send(walk, page.getByRole('dialog', { name: 'Mia Sundberg' }).getByRole('button', { name: 'Save' }), dialog, 'visible')
  assert.equal((await her()).name, 'Mia Berg')
  await walk.look(walk.person, 'a person')
  await dialog.getByRole('button', { name: 'Revoke token hers?' }).click()
  await confirm(walk, { title: 'Revoke token hers?', button: 'Revoke' })
  await dialog.getByRole('cell', { name: 'revoked' }).waitFor()
  assert.equal((await ask(mia.page, '/tokens')).items[0].status, 'revoked')
  const status = () => mia.page.evaluate(async () => (await fetch('/api/v1/whoami')).status)
  assert.equal(await status(), 200)
  await dialog.getByRole('button', { name: 'Suspend' }).click()
  await confirm(walk, { title: 'Suspend Mia Berg?', button: 'Suspend', look: 'suspending somebody' })
  await dialog.getByRole('button', { name: 'Activate' }).waitFor()
  assert.equal((await her()).status, 'suspended')
  assert.equal(await status(), 401, 'a suspended person is signed out')
  await dialog.getByRole('button', { name: 'Activate' }).click()
  await confirm(walk, { title: 'Activate Mia Berg again?', button: 'Activate' })
  await dialog.getByRole('button', { name: 'Suspend' }).waitFor()
  assert.equal((await her()).status, 'active')
  await dialog.getByRole('button', { name: 'Reset sign-in' }).click()
  await confirm(walk, { title: /Reset the sign-in/, button: 'Reset sign-in', typed: 'mia', look: 'resetting a sign-in' })
  await once(walk, 'Link to set up the sign-in anew', INVITATION)
  await until('her ways to sign in are gone', async () => (await her()).factors.length === 0)
  await page.keyboard.press('Escape')
  await dialog.waitFor({ state: 'hidden' })
  await page.getByRole('row', { name: /Mia Berg/ }).getByText('nothing yet').waitFor()
}

async function teams(walk) {
  const { page } = walk.person
  await tab(walk, '/people?tab=teams')
  const made = async (name, title, look) => {
    await page.getByRole('button', { name: 'New team' }).click()
    const dialog = page.getByRole('dialog', { name: 'New team' })
    await dialog.getByLabel('Name', { exact: true }).fill(name)
    await dialog.getByLabel('Title').fill(title)
    if (look) await walk.look(walk.person, look)
    await send(walk, dialog.getByRole('button', { name: 'Create' }), dialog)
    await page.getByRole('region', { name: title || name }).waitFor()
    return find(page, '/teams', (one) => one.name === name)
  }
  const crew = await made('crew', 'Crew', 'a new team')
  const dock = await made('dock', '')
  const cardOf = (name) => page.getByRole('region', { name, exact: true })
  await cardOf('dock').getByRole('button', { name: 'Change title' }).click()
  const title = page.getByRole('dialog', { name: 'Change title' })
  await title.getByLabel('Title').fill('Dry dock')
  await send(walk, title.getByRole('button', { name: 'Save' }), title)
  await cardOf('Dry dock').waitFor()
  assert.equal((await ask(page, `/teams/${dock.id}`)).title, 'Dry dock')

  const owner = async (name) => (await find(page, '/project-owners', (one) => one.project === name))?.team
  const give = page.getByRole('dialog', { name: 'Give a project to a team' })
  // One that is there, and a name for one to come.
  for (const name of ['hello', 'pier']) {
    await page.getByRole('button', { name: 'Give a project to a team' }).click()
    await give.getByLabel('Project').fill(name)
    await choose(page, give, 'Team', 'crew')
    if (name === 'pier') await walk.look(walk.person, 'a project for a team')
    await send(walk, give.getByRole('button', { name: 'Save' }), give)
    await cardOf('Crew').getByRole('link', { name, exact: true }).waitFor()
    assert.equal(await owner(name), crew.id)
  }
  await cardOf('Crew').getByRole('button', { name: 'Move: pier' }).click()
  await choose(page, give, 'Team', 'dock')
  await send(walk, give.getByRole('button', { name: 'Save' }), give)
  await cardOf('Dry dock').getByRole('button', { name: /Give up the name pier/ }).click()
  assert.equal(await owner('pier'), dock.id)
  await confirm(walk, { title: 'Give up the name pier?', button: 'Give up the name', typed: 'pier', look: 'giving up a name' })
  await cardOf('Dry dock').getByText('pier').waitFor({ state: 'hidden' })
  assert.equal(await owner('pier'), undefined)
  await cardOf('Dry dock').getByRole('button', { name: 'Delete' }).click()
  await confirm(walk, { title: 'Delete team Dry dock?', button: 'Delete', typed: 'dock', look: 'deleting a team' })
  await cardOf('Dry dock').waitFor({ state: 'hidden' })
  assert.equal(await find(page, '/teams', (one) => one.id === dock.id), undefined)
}

async function roles(walk) {
  const { page } = walk.person
  const mia = await guest(walk)
  await crew(walk)
  await tab(walk, '/people?tab=roles')
  const role = () => find(page, '/roles', (one) => one.name === 'restarter')
  await page.getByRole('button', { name: 'New role' }).click()
  let dialog = page.getByRole('dialog', { name: 'New role' })
  await dialog.getByLabel('Name', { exact: true }).fill('restarter')
  await dialog.getByLabel('Title').fill('Restarts')
  await chooseMany(page, dialog, 'May', ['read', 'machine.run'])
  await walk.look(walk.person, 'a new role')
  await send(walk, dialog.getByRole('button', { name: 'Save' }), dialog)
  const card = page.getByRole('article').filter({ hasText: 'restarter' })
  await card.getByText('machine.run').waitFor()
  assert.deepEqual((await role()).permissions.toSorted(), ['machine.run', 'read'])
  await card.getByRole('button', { name: 'Change role' }).click()
  dialog = page.getByRole('dialog', { name: 'Change role' })
  await chooseMany(page, dialog, 'May', ['app.deploy'])
  await send(walk, dialog.getByRole('button', { name: 'Save' }), dialog)
  await card.getByText('app.deploy').waitFor()
  assert.ok((await role()).permissions.includes('app.deploy'))

  await page.getByRole('tab', { name: 'Roles held' }).click()
  await page.getByRole('button', { name: 'Give a role' }).click()
  dialog = page.getByRole('dialog', { name: 'Give a role' })
  await choose(page, dialog, 'Who', /\(mia\)/)
  await choose(page, dialog, 'Role', 'Restarts')
  await choose(page, dialog, 'Where', 'Project hello')
  await walk.look(walk.person, 'giving a role')
  await send(walk, dialog.getByRole('button', { name: 'Give', exact: true }), dialog)
  const row = page.getByRole('row', { name: /Mia .*restarter.*Project hello/ })
  await row.waitFor()
  const held = () => find(page, '/memberships', (one) => one.subject === mia.id && one.role === 'restarter')
  assert.equal((await held()).scope, 'project/hello')
  await row.getByRole('button', { name: /^Take restarter/ }).click()
  await confirm(walk, { title: /^Take restarter/, button: 'Take the role', look: 'taking a role' })
  await row.waitFor({ state: 'hidden' })
  assert.equal(await held(), undefined)

  await page.getByRole('tab', { name: 'Roles', exact: true }).click()
  await card.getByRole('button', { name: 'Delete' }).click()
  await confirm(walk, { title: 'Delete role restarter?', button: 'Delete', typed: 'restarter', look: 'deleting a role' })
  await card.waitFor({ state: 'hidden' })
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
      await page.getByRole('option', { name: who }).click()
    }
    await choose(page, form, 'Does what', action)
    await choose(page, form, 'Where', place)
    await form.getByRole('button', { name: 'Ask' }).click()
  }
  await asked(/\(mia\)/, /^machine\.delete/, 'Project hello')
  await page.getByText(/^No, Mia .* may not:$/).waitFor()
  await walk.look(walk.person, 'what the policy refuses')
  assert.equal((await ask(page, `/policy/explain?who=${mia.id}&action=machine.delete&place=project/hello`)).allowed, false)
  await asked(undefined, /^machine\.ssh/, 'Project hello')
  await page.getByText(/^Yes, Mia .* may:$/).waitFor()
  const told = await ask(page, `/policy/explain?who=${mia.id}&action=machine.ssh&place=project/hello`)
  assert.equal(told.allowed, true)
  await page.getByText(told.rules[0].tells).first().waitFor()
  await page.getByText('The policy as it is written').click()
  await page.getByText('permit').first().waitFor()
}

export const steps = { organisation, teams, people, roles, policy }
