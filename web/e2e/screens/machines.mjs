// Everything that can be done to machines, and to what they are made of, done by hand in the console.
import assert from 'node:assert/strict'
import { PROJECT, ask, gone, says, status } from '../api.mjs'
import { choose, confirm, opened, press, proven, row, seen, there, told, typed, unseen, write, writeName } from '../hands.mjs'

const MACHINES = `${PROJECT}/machines`
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
  await confirm(walk, 'Delete the network quayside?', 'Delete', 'quayside')
  await gone(page, path)
  await unseen(row(page, 'quayside'))
}

async function images(walk) {
  const { page } = walk.person
  await page.goto('/projects/hello/machines?tab=images')
  await page.getByRole('button', { name: 'Build an image' }).click()
  let dialog = await opened(walk, 'Build an image')
  await dialog.getByLabel('Name').fill('ferry')
  await choose(dialog, 'Release', 'bookworm')
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
  await says(page, '/operations', ({ items }) => items.some((one) => one.kind === 'image.verify' && one.resources.includes('image/ferry') && one.status === 'succeeded'))

  await page.getByRole('button', { name: 'Delete: ferry' }).click()
  await confirm(walk, 'Delete the image ferry?', 'Delete', 'ferry')
  await gone(page, path)
  await unseen(row(page, 'Look at ferry'))

  // What it was built to still lies there, and only that.
  await page.getByRole('button', { name: 'Free what no image uses' }).click()
  await seen(page.getByText(/1 images that nothing uses .* 1 MiB/))
  await page.getByRole('button', { name: 'Free it' }).click()
  await confirm(walk, 'Free what no image uses', 'Free it')
  await page.getByRole('button', { name: 'Free what no image uses' }).click()
  await seen(page.getByText('Nothing lies there that no image uses.'))
}

/** One that somebody else built: by its address and its digest, which are looked at before anything is fetched. */
async function cloudImage(walk) {
  const { page } = walk.person
  const [location, sha256] = ['https://images.example.org/trixie.qcow2', 'C0FFEE00'.repeat(8)]
  await page.goto('/projects/hello/machines?tab=images')
  await page.getByRole('button', { name: 'Build an image' }).click()
  let dialog = await opened(walk, 'Build an image')
  await dialog.getByLabel('Name').fill('wreck')
  await dialog.getByRole('button', { name: 'Cloud image' }).click()
  const [at, digest, build] = [dialog.getByLabel('Location'), dialog.getByLabel('SHA-256'), dialog.getByRole('button', { name: 'Build', exact: true })]
  assert.ok(await build.isDisabled(), 'nothing is built of nothing')
  await at.fill('http://images.example.org/trixie.qcow2')
  await digest.fill('c0ffee')
  await build.click()
  await told(at, 'expected https://')
  await told(digest, '64 hexadecimal digits')
  await walk.look(walk.person, 'what is wrong with a cloud image')
  await at.fill(location)
  await build.click()
  await told(digest, '64 hexadecimal digits')
  assert.equal(await at.getAttribute('aria-invalid'), null, 'what was mended is not told any more')
  const path = `${PROJECT}/images/wreck`
  assert.equal(await status(page, path), 404, 'nothing was made of it')
  await digest.fill(sha256)
  await choose(dialog, 'Firmware', 'uefi')
  await press(walk, dialog, 'Build')
  const { source } = await says(page, path, (it) => it.state === 'ready')
  assert.deepEqual(source, { kind: 'cloud', location, sha256: sha256.toLowerCase(), firmware: 'uefi' })
  await seen(row(page, 'Look at wreck').getByText('ready'))
  await page.getByRole('button', { name: 'Look at wreck' }).click()
  dialog = await opened(walk, 'wreck')
  for (const fact of [location, sha256.toLowerCase(), 'uefi']) await seen(dialog.getByText(fact, { exact: true }))
  await page.keyboard.press('Escape')
  await unseen(dialog)
  await page.getByRole('button', { name: 'Delete: wreck' }).click()
  await confirm(walk, 'Delete the image wreck?', 'Delete', 'wreck')
  await gone(page, path)
  await unseen(row(page, 'Look at wreck'))
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
  await choose(dialog, 'Start', 'cold')
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
  const before = await ask(page, path)
  await page.getByRole('button', { name: 'Restart', exact: true }).click()
  await confirm(walk, 'Restart pier?', 'Restart')
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
  const dialog = await opened(walk, 'Resize pier')
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
  await confirm(walk, 'Stop pier?', 'Stop')
  await back.click()
  await confirm(walk, 'Put the disk of pier back to before-storm?', 'Put back', 'before-storm')
  await says(page, '/operations', (it) => restores(it) > 0)
  await page.getByRole('button', { name: 'Start', exact: true }).click()
  await state(page, 'running')

  await page.getByRole('button', { name: 'Delete: before-storm' }).click()
  await confirm(walk, 'Delete the snapshot before-storm?', 'Delete', 'before-storm')
  await seen(page.getByText('No snapshots'))
  await says(page, path, ({ items }) => items.length === 0)
}

/** What costs a machine its disk. */
async function anew(walk) {
  const { page } = walk.person
  const path = `${MACHINES}/pier`
  await page.goto('/projects/hello/machines/pier')
  const before = await ask(page, path)
  await menu(page, 'Rebuild …')
  await confirm(walk, 'Make pier anew?', 'Rebuild …', 'pier')
  const rebuilt = await says(page, path, (it) => it.state === 'started' && it.ssh_host_key !== before.ssh_host_key)

  // Another configuration that keeps the disk, and one that does not.
  await menu(page, 'Change …')
  let dialog = await opened(walk, 'Change pier')
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
  for (const name of ['quay', 'slip']) {
    await page.goto('/projects/hello/machines')
    await page.getByRole('button', { name: 'New machine' }).click()
    const dialog = await opened(walk, 'New machine')
    await dialog.getByLabel('Name').fill(name)
    await press(walk, dialog, 'Create')
    await page.waitForURL(new RegExp(`/machines/${name}$`))
    await state(page, 'running')
  }
  await page.goto('/projects/hello/machines')
  for (const name of ['pier', 'quay']) await page.getByLabel(`Choose ${name}`).check()
  await seen(page.getByText('2 chosen'))
  const both = async (fits) => {
    for (const name of ['pier', 'quay']) await says(page, `${MACHINES}/${name}`, fits)
  }
  const act = (name) => page.locator('.bulk').getByRole('button', { name, exact: true })
  await act('Stop').click()
  let dialog = await opened(walk, 'Stop 2 machines?')
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
  const before = await ask(page, `${MACHINES}/quay`)
  await press(walk, dialog, 'Restart')
  await says(page, `${MACHINES}/quay`, (it) => it.state === 'started' && it.boot_id !== before.boot_id)
  await both((it) => it.state === 'started')

  // Of one its own name is typed, of several that of their project.
  await page.getByLabel('Choose pier').uncheck()
  await act('Delete').click()
  dialog = await opened(walk, 'Delete 1 machines?')
  await seen(dialog.getByLabel('Type quay to go on'))
  await dialog.getByRole('button', { name: 'Cancel' }).click()
  await unseen(dialog)
  await page.getByLabel('Choose slip').check()
  await act('Delete').click()
  dialog = await opened(walk, 'Delete 2 machines?')
  assert.deepEqual(await dialog.getByRole('listitem').allInnerTexts(), ['quay', 'slip'])
  await typed(dialog, 'hello', 'Delete')
  await press(walk, dialog, 'Delete')
  await proven(walk, there(page.getByText('Delete: 2 asked for.')))
  for (const name of ['quay', 'slip']) {
    await gone(page, `${MACHINES}/${name}`)
    await unseen(row(page, name))
  }
  assert.equal((await ask(page, `${MACHINES}/pier`)).state, 'started', 'one that was not chosen any more stays')
}

async function end(walk) {
  const { page } = walk.person
  await page.goto('/projects/hello/machines/pier')
  await menu(page, 'Delete …')
  await confirm(walk, 'Delete pier?', 'Delete …', 'pier')
  await page.waitForURL(/\/machines$/)
  await gone(page, `${MACHINES}/pier`)
  await unseen(row(page, 'pier'))
}

async function whole(walk) {
  for (const part of [create, day, snapshots, anew, bulk, end]) await part(walk)
}

export const steps = { networks, images, 'cloud image': cloudImage, machines: whole }
