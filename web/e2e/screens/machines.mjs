// Everything that can be done to machines, and to what they are made of, done by hand in the console.
import assert from 'node:assert/strict'
import { PROJECT, choose, gone, opened, press, read, says, seen, typed, unseen, write, writeName } from '../forms.mjs'

const MACHINES = `${PROJECT}/machines`
const row = (page, name) => page.getByRole('row').filter({ has: page.getByRole('cell', { name, exact: true }) })
const state = (page, word) => seen(page.locator('.page-head').getByText(word, { exact: true }))
async function menu(page, item) {
  await page.getByRole('button', { name: 'More', exact: true }).click()
  await page.getByRole('menuitem', { name: item, exact: true }).click()
}

async function networks(walk) {
  const { page } = walk.person
  await page.goto('/projects/hello/machines?tab=networks')
  await page.getByRole('button', { name: 'New network' }).click()
  let dialog = await opened(walk, 'New network')
  await dialog.getByLabel('Name').fill('quayside')
  await dialog.getByLabel('Subnet').fill('10.77.0.0/24')
  await dialog.getByLabel('only what is listed').check()
  await dialog.getByLabel('Destinations').fill('deb.example.org:443\n10.0.0.9:5432')
  await press(walk, dialog, 'Create')
  const path = `${PROJECT}/networks/quayside`
  await says(page, path, (it) => it.state === 'ready' && it.subnet === '10.77.0.0/24' && it.egress.allow?.length === 2)
  await seen(row(page, 'quayside').getByText('ready'))
  await seen(row(page, 'quayside').getByText('only 2 destinations'))

  await page.getByRole('button', { name: 'Change the egress of quayside' }).click()
  dialog = await opened(walk, 'Egress of quayside')
  assert.equal(await dialog.getByLabel('Destinations').inputValue(), 'deb.example.org:443\n10.0.0.9:5432')
  await dialog.getByLabel('everything, each destination recorded').check()
  await press(walk, dialog, 'Save')
  await says(page, path, (it) => it.egress === 'logged')
  await seen(row(page, 'quayside').getByText('everything, each destination recorded'))

  await page.getByRole('button', { name: 'Delete: quayside' }).click()
  dialog = await opened(walk, 'Delete the network quayside?')
  await typed(dialog, 'quayside', 'Delete')
  await press(walk, dialog, 'Delete')
  await gone(page, path)
  await unseen(row(page, 'quayside'))
}

async function images(walk) {
  const { page } = walk.person
  await page.goto('/projects/hello/machines?tab=images')
  await page.getByRole('button', { name: 'Build an image' }).click()
  let dialog = await opened(walk, 'Build an image')
  await dialog.getByLabel('Name').fill('ferry')
  await choose(page, dialog.getByRole('combobox', { name: 'Release' }), 'bookworm')
  await dialog.getByLabel('Packages').fill('curl\nrsync')
  await dialog.getByRole('button', { name: 'Add a file' }).click()
  await dialog.getByLabel('Absolute path').fill('/etc/motd')
  await dialog.getByLabel('Mode, as 0644').fill('0600')
  await dialog.getByLabel('Content').fill('ahoy\n')
  await press(walk, dialog, 'Build')
  const path = `${PROJECT}/images/ferry`
  const { source } = await says(page, path, (it) => it.state === 'ready')
  assert.deepEqual({ release: source.release, packages: source.packages, files: source.files }, { release: 'bookworm', packages: ['curl', 'rsync'], files: { '/etc/motd': { content: Buffer.from('ahoy\n').toString('base64'), mode: '0600' } } })
  await seen(row(page, 'Look at ferry').getByText('ready'))

  await page.getByRole('button', { name: 'Look at ferry' }).click()
  dialog = await opened(walk, 'ferry')
  await seen(dialog.getByText('/etc/motd'))
  await seen(dialog.getByText('# simulated lock').first())
  await page.keyboard.press('Escape')
  await unseen(dialog)

  await page.getByRole('button', { name: 'Build again and compare: ferry' }).click()
  await seen(page.getByText('ferry: It is being built again'))
  await says(page, '/api/v1/operations', ({ items }) => items.some((one) => one.kind === 'image.verify' && one.resources.includes('image/ferry') && one.status === 'succeeded'))

  await page.getByRole('button', { name: 'Delete: ferry' }).click()
  dialog = await opened(walk, 'Delete the image ferry?')
  await typed(dialog, 'ferry', 'Delete')
  await press(walk, dialog, 'Delete')
  await gone(page, path)
  await unseen(row(page, 'Look at ferry'))

  // What it was built to still lies there, and only that.
  await page.getByRole('button', { name: 'Free what no image uses' }).click()
  await seen(page.getByText(/1 images that nothing uses .* 1 MiB/))
  await page.getByRole('button', { name: 'Free it' }).click()
  dialog = await opened(walk, 'Free what no image uses')
  await press(walk, dialog, 'Free it')
  await page.getByRole('button', { name: 'Free what no image uses' }).click()
  await seen(page.getByText('Nothing lies there that no image uses.'))
}

/** Made by the form, with what a form has most of. */
async function create(walk) {
  const { page } = walk.person
  await page.goto('/projects/hello/machines')
  await page.getByRole('button', { name: 'New machine' }).click()
  const dialog = await opened(walk, 'New machine')
  await dialog.getByLabel('Name').fill('pier')
  await writeName(dialog.getByRole('combobox', { name: 'Cluster' }), 'docks')
  await write(dialog.getByLabel('Processors'), 2)
  await write(dialog.getByLabel('Memory (MiB)'), 768)
  await dialog.getByRole('button', { name: 'Add a key' }).click()
  await dialog.getByLabel('Key', { exact: true }).fill('owner')
  await dialog.getByLabel('Value', { exact: true }).fill('ada')
  await dialog.getByText('More settings').click()
  await choose(page, dialog.getByRole('combobox', { name: 'Start' }), 'cold')
  await dialog.getByLabel('Start it once it is made').uncheck()
  await press(walk, dialog, 'Create')
  await page.waitForURL(/\/machines\/pier$/)
  await state(page, 'stopped')
  const made = await says(page, `${MACHINES}/pier`, (it) => it.state === 'stopped')
  assert.deepEqual(
    { group: made.group, cpus: made.spec.cpus, memory: made.spec.memory, start: made.spec.start, metadata: made.metadata },
    { group: 'docks', cpus: 2, memory: 768 << 20, start: 'cold', metadata: { owner: 'ada' } },
  )
  await page.getByRole('button', { name: 'Start', exact: true }).click()
  await state(page, 'running')
}

async function day(walk) {
  const { page } = walk.person
  const path = `${MACHINES}/pier`
  const { body: before } = await read(page, path)
  await page.getByRole('button', { name: 'Restart', exact: true }).click()
  let dialog = await opened(walk, 'Restart pier?')
  await press(walk, dialog, 'Restart')
  await says(page, path, (it) => it.state === 'started' && it.boot_id !== before.boot_id)

  await menu(page, 'Cordon')
  await state(page, 'cordoned')
  await says(page, path, (it) => it.cordoned)
  await menu(page, 'Uncordon')
  await unseen(page.locator('.page-head').getByText('cordoned'))
  await says(page, path, (it) => !it.cordoned)

  await page.getByRole('button', { name: 'Edit metadata' }).click()
  await page.getByRole('button', { name: 'Add a key' }).click()
  await page.getByLabel('Key', { exact: true }).last().fill('tier')
  await page.getByLabel('Value', { exact: true }).last().fill('front')
  await page.getByRole('button', { name: 'Save' }).click()
  await seen(page.getByRole('definition').filter({ hasText: 'front' }))
  await says(page, path, (it) => it.metadata.tier === 'front' && it.metadata.owner === 'ada')

  await menu(page, 'Resize …')
  dialog = await opened(walk, 'Resize pier')
  await write(dialog.getByLabel('Memory (MiB)'), 1024)
  await press(walk, dialog, 'Save')
  const resized = await says(page, path, (it) => it.state === 'started' && it.spec.memory === 1 << 30 && it.observed_generation === it.generation)
  assert.equal(resized.spec.cpus, 2)
  await seen(page.getByRole('definition').filter({ hasText: /^1 GiB$/ }).first())

  await page.getByRole('tab', { name: 'Integrity' }).click()
  // Nothing can be looked into here, and the screen says no more than that.
  await seen(page.getByText('This platform checks no machine'))
  await seen(page.getByText('The machine was not looked at yet.'))
  assert.equal(await page.getByRole('button', { name: 'Check now' }).count(), 0)
}

async function snapshots(walk) {
  const { page } = walk.person
  const path = `${MACHINES}/pier/snapshots`
  await page.goto('/projects/hello/machines/pier?tab=snapshots')
  await page.getByLabel('Name', { exact: true }).fill('before-storm')
  await page.getByRole('button', { name: 'Take a snapshot' }).click()
  await seen(page.getByText(/snapshot.* is under way/))
  await seen(row(page, 'before-storm').getByText('ready'))
  await says(page, path, ({ items }) => items.length === 1 && items[0].name === 'before-storm' && items[0].state === 'ready')
  await walk.look(walk.person, 'snapshots')

  const restores = ({ items }) => items.filter((one) => one.kind === 'snapshot.restore' && one.status === 'succeeded').length
  const back = page.getByRole('button', { name: 'Put back: before-storm' })
  assert.ok(await back.isDisabled(), 'no disk is put back under a machine that runs')
  await page.getByRole('button', { name: 'Stop', exact: true }).click()
  await press(walk, await opened(walk, 'Stop pier?'), 'Stop')
  await back.click()
  let dialog = await opened(walk, 'Put the disk of pier back to before-storm?')
  await typed(dialog, 'before-storm', 'Put back')
  await press(walk, dialog, 'Put back')
  await says(page, '/api/v1/operations', (it) => restores(it) > 0)
  await page.getByRole('button', { name: 'Start', exact: true }).click()
  await state(page, 'running')

  await page.getByRole('button', { name: 'Delete: before-storm' }).click()
  dialog = await opened(walk, 'Delete the snapshot before-storm?')
  await typed(dialog, 'before-storm', 'Delete')
  await press(walk, dialog, 'Delete')
  await seen(page.getByText('No snapshots'))
  await says(page, path, ({ items }) => items.length === 0)
}

/** What costs a machine its disk. */
async function anew(walk) {
  const { page } = walk.person
  const path = `${MACHINES}/pier`
  await page.goto('/projects/hello/machines/pier')
  const { body: before } = await read(page, path)
  await menu(page, 'Rebuild …')
  let dialog = await opened(walk, 'Make pier anew?')
  await typed(dialog, 'pier', 'Rebuild …')
  await press(walk, dialog, 'Rebuild …')
  const rebuilt = await says(page, path, (it) => it.state === 'started' && it.ssh_host_key !== before.ssh_host_key)

  // Another configuration that keeps the disk, and one that does not.
  await menu(page, 'Change …')
  dialog = await opened(walk, 'Change pier')
  await writeName(dialog.getByRole('combobox', { name: 'Cluster' }), 'piers')
  assert.equal(await dialog.getByText('This makes the machine anew').count(), 0)
  await press(walk, dialog, 'Change')
  await says(page, path, (it) => it.group === 'piers' && it.instance_id === rebuilt.instance_id)
  await seen(page.getByRole('definition').filter({ hasText: /^piers$/ }).first())
  await menu(page, 'Change …')
  dialog = await opened(walk, 'Change pier')
  await write(dialog.getByLabel('Processors'), 3)
  await seen(dialog.getByText('This makes the machine anew'))
  await typed(dialog, 'pier', 'Change')
  await press(walk, dialog, 'Change')
  await says(page, path, (it) => it.state === 'started' && it.spec.cpus === 3 && it.ssh_host_key !== rebuilt.ssh_host_key)
  await page.getByRole('tab', { name: 'Configurations' }).click()
  await says(page, `${path}/instances`, ({ items }) => items.length >= 2 && items[0].spec.cpus === 3)
  await seen(page.getByRole('cell', { name: /^3.*differs/ }))
}

/** Many at a time: what fits those that were chosen, and a question before what hurts. */
async function bulk(walk) {
  const { page } = walk.person
  await page.goto('/projects/hello/machines')
  await page.getByRole('button', { name: 'New machine' }).click()
  let dialog = await opened(walk, 'New machine')
  await dialog.getByLabel('Name').fill('quay')
  await press(walk, dialog, 'Create')
  await page.waitForURL(/\/machines\/quay$/)
  await state(page, 'running')
  await page.goto('/projects/hello/machines')
  for (const name of ['pier', 'quay']) await page.getByLabel(`Choose ${name}`).check()
  await seen(page.getByText('2 chosen'))
  const both = async (fits) => {
    for (const name of ['pier', 'quay']) await says(page, `${MACHINES}/${name}`, fits)
  }
  const act = (name) => page.locator('.bulk').getByRole('button', { name, exact: true })
  await act('Stop').click()
  dialog = await opened(walk, 'Stop 2 machines?')
  assert.deepEqual(await dialog.getByRole('listitem').allInnerTexts(), ['pier', 'quay'])
  await press(walk, dialog, 'Stop')
  await seen(page.getByText('Stop: 2 asked for.'))
  await both((it) => it.state === 'stopped')
  await seen(row(page, 'pier').getByText('stopped'))
  await seen(row(page, 'quay').getByText('stopped'))
  assert.ok(await act('Restart').isDisabled(), 'what is stopped is not restarted')
  await act('Start').click()
  await seen(page.getByText('Start: 2 asked for.'))
  await both((it) => it.state === 'started')
  await act('Cordon').click()
  await seen(page.getByText('Cordon: 2 asked for.'))
  await both((it) => it.cordoned)
  await seen(row(page, 'pier').getByText('cordoned'))
  await act('Uncordon').click()
  await seen(page.getByText('Uncordon: 2 asked for.'))
  await both((it) => !it.cordoned)
  await act('Restart').click()
  dialog = await opened(walk, 'Restart 2 machines?')
  const { body: before } = await read(page, `${MACHINES}/quay`)
  await press(walk, dialog, 'Restart')
  await says(page, `${MACHINES}/quay`, (it) => it.state === 'started' && it.boot_id !== before.boot_id)
  await both((it) => it.state === 'started')

  await page.getByLabel('Choose pier').uncheck()
  await act('Delete').click()
  dialog = await opened(walk, 'Delete 1 machines?')
  await typed(dialog, 'quay', 'Delete')
  await press(walk, dialog, 'Delete')
  await gone(page, `${MACHINES}/quay`)
  await unseen(row(page, 'quay'))
}

async function end(walk) {
  const { page } = walk.person
  await page.goto('/projects/hello/machines/pier')
  await menu(page, 'Delete …')
  const dialog = await opened(walk, 'Delete pier?')
  await typed(dialog, 'pier', 'Delete …')
  await press(walk, dialog, 'Delete …')
  await page.waitForURL(/\/machines$/)
  await gone(page, `${MACHINES}/pier`)
  await unseen(row(page, 'pier'))
}

async function whole(walk) {
  for (const part of [create, day, snapshots, anew, bulk, end]) await part(walk)
}

export const steps = { networks, images, machines: whole }
