// Projects, and what runs in them: made, limited and ended by hand from the home page and the map, and stopped where it can be.
import assert from 'node:assert/strict'
import { PROJECT, ask, find, gone, says, tell } from '../api.mjs'
import { choose, confirm, opened, posts, press, seen, tab, unseen, write } from '../hands.mjs'
import { crew } from './people.mjs'

async function projects(walk) {
  const { page } = walk.person
  await tab(walk, '/')
  await crew(walk)
  await page.getByRole('button', { name: 'New project' }).first().click()
  let dialog = await opened(walk, 'New project')
  await dialog.getByLabel('Name').fill('harbour')
  await choose(dialog, 'Team', 'Crew')
  await dialog.getByLabel('Set limits of its own').check()
  await write(dialog.getByLabel('Machines'), 5)
  await write(dialog.getByLabel('Memory in GiB'), 8)
  await press(walk, dialog, 'Create')
  await page.waitForURL(/\/projects\/harbour\/plan$/)
  const path = '/projects/harbour'
  const made = await says(page, path, (it) => it.quota.machines === 5)
  assert.equal(made.quota.memory, 8 * 2 ** 30)
  const { id: team } = await find(page, '/teams', (one) => one.title === 'Crew')
  assert.equal((await find(page, '/project-owners', (one) => one.project === 'harbour')).team, team)

  // On its map, where it is empty.
  await tab(walk, path)
  await page.getByRole('button', { name: 'Change quota' }).click()
  dialog = await opened(walk, 'Quota of harbour')
  await write(dialog.getByLabel('Machines'), 7)
  await press(walk, dialog, 'Save')
  await says(page, path, (it) => it.quota.machines === 7 && it.quota.memory === made.quota.memory)
  await seen(page.getByRole('region', { name: 'Use of the quota' }).getByText('0 of 7', { exact: true }))

  await tab(walk, '/')
  const menu = async (item) => {
    await page.getByRole('button', { name: 'Actions for harbour' }).click()
    await page.getByRole('menuitem', { name: item }).click()
  }
  await menu('Change limits')
  dialog = await opened(walk, 'Limits of harbour')
  await write(dialog.getByLabel('CPUs'), 9)
  await press(walk, dialog, 'Save')
  await says(page, path, (it) => it.quota.cpus === 9 && it.quota.machines === 7)
  await menu('Delete project')
  await confirm(walk, 'Delete project harbour?', 'Delete project', 'harbour')
  await gone(page, path)
  await unseen(page.getByRole('button', { name: 'Actions for harbour' }))

  await tell(page, 'PUT', '/projects/slipway', { quota: null })
  await tab(walk, '/projects/slipway')
  await page.getByRole('button', { name: 'Delete project' }).click()
  await confirm(walk, 'Delete project slipway', 'Delete project', 'slipway')
  await gone(page, '/projects/slipway')
  await page.waitForURL(/\/$/)
  // One that holds something is not ended, and the page says where to begin.
  await tab(walk, '/projects/hello')
  await page.getByRole('button', { name: 'Delete project' }).click()
  await confirm(walk, 'Delete project hello', 'Go to Plan')
  await page.waitForURL(/\/projects\/hello\/plan$/)
  assert.equal((await ask(page, PROJECT)).name, 'hello')
}

/** Nothing runs long enough here to be stopped: what is offered for what runs is clicked with an answer of the walk's own, and the platform says that it is over. */
async function stopping(walk) {
  const { page } = walk.person
  await tab(walk, '/')
  const { items } = await ask(page, '/operations?limit=500')
  const ended = items.find((one) => one.resources.includes('machine/web-1'))
  const lists = /\/api\/v1\/operations\?/
  await page.route(lists, (route) => route.fulfill({ json: { items: [{ ...ended, status: 'running', may_cancel: true, percent: 40 }], next_page: null } }))
  await tab(walk, '/projects/hello/machines/web-1?tab=timeline')
  const drawer = page.locator('.p-drawer')
  const cancel = async (button) => {
    const { status } = await posts(page, `/operations/${ended.id}/cancel`, button)
    assert.equal(status, 202, 'asked for, and of no effect on one that is over')
  }
  await cancel(page.getByRole('button', { name: /^Cancel: / }))
  await page.getByRole('button', { name: /^Operations and events/ }).click()
  await walk.look(walk.person, 'an operation that runs')
  await cancel(drawer.getByRole('button', { name: 'Cancel this operation' }))
  await page.keyboard.press('Escape')
  await unseen(drawer)
  await page.unroute(lists)
  assert.equal((await ask(page, `/operations/${ended.id}`)).status, ended.status)

  const [apply] = (await ask(page, `${PROJECT}/applies`)).items
  const one = `**/api/v1${PROJECT}/applies/${apply.id}`
  await page.route(one, (route) => route.fulfill({ json: { ...apply, status: 'running' } }))
  await tab(walk, `/projects/hello/plan?tab=applies&apply=${apply.id}`)
  const { status } = await posts(page, `${PROJECT}/applies/${apply.id}/cancel`, page.getByRole('button', { name: 'Stop after the running steps' }))
  assert.equal(status, 409)
  await seen(page.getByRole('alert').filter({ hasText: 'has ended' }))
  await page.unroute(one)
}

export const steps = { projects, stopping }
