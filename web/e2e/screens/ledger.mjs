// The ledger by hand: looked through, carried away, checked as a whole in the browser, and a person erased from it.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { ask } from '../api.mjs'
import { choose, confirm, opened, press, seen, send, tab, there, unseen } from '../hands.mjs'
import { until } from '../until.mjs'
import { guest } from './people.mjs'

async function filter(walk) {
  const { page } = walk.person
  await tab(walk, '/ledger-entries')
  const form = page.getByRole('search', { name: 'Filter entries' })
  const places = page.getByRole('table', { name: 'Entries' }).locator('tbody a.place')
  const apply = form.getByRole('button', { name: 'Filter', exact: true })
  /** What is listed is what the platform answers to the same question. */
  const listed = async (query) => {
    const { items } = await ask(page, `/ledger/entries?${new URLSearchParams({ limit: '200', ...query })}`)
    assert.ok(items.length > 0, `something fits ${JSON.stringify(query)}`)
    await until(`the list is that of ${JSON.stringify(query)}`, async () => {
      const shown = await places.allInnerTexts()
      return shown.join() === items.map((one) => `${one.shard}/${one.position}`).join()
    })
  }
  await form.getByLabel('Kind').fill('machine.*')
  await form.getByRole('combobox', { name: 'Project' }).fill('hello')
  // Its list opens by itself.
  await page.keyboard.press('Escape')
  await choose(form, 'Order', 'Oldest first')
  await apply.click()
  await listed({ kind: 'machine.*', project: 'hello', order: 'oldest' })
  assert.match(page.url(), /kind=machine\.\*.*/)
  await form.getByLabel('Object').fill('machine/web-1')
  await apply.click()
  await listed({ kind: 'machine.*', project: 'hello', object: 'machine/web-1', order: 'oldest' })
  await walk.look(walk.person, 'a filtered ledger')
  await form.getByLabel('From').fill('2001-01-01T00:00')
  await form.getByLabel('Until').fill('2001-01-02T00:00')
  await apply.click()
  await seen(page.getByText('No entry fits'))
  await form.getByRole('button', { name: 'Clear' }).click()
  await seen(places.first())
  await form.getByLabel('Kind').fill('invitation.*')
  await form.getByLabel('Who (id or name)').fill('Ada Lindqvist')
  await apply.click()
  await listed({ kind: 'invitation.*', actor: 'Ada Lindqvist', order: 'newest' })
  await form.getByRole('button', { name: 'Clear' }).click()
}

/** A list of few, behind dialogs that are looked at. */
const FEW = '/ledger-entries?kind=organisation.*'

async function archive(walk) {
  const { page } = walk.person
  await tab(walk, FEW)
  for (const personal of [false, true]) {
    await page.getByRole('button', { name: 'Export' }).click()
    const dialog = await opened(walk, 'Export a log')
    await dialog.getByLabel(/With names/).setChecked(personal)
    if (personal) await walk.look(walk.person, 'an export')
    const [download] = await Promise.all([page.waitForEvent('download'), dialog.getByRole('link', { name: 'Download' }).click()])
    assert.match(download.suggestedFilename(), /^ledger-\d{4}\.tar$/)
    const file = await readFile(await download.path())
    const names = []
    for (let at = 0; at < file.length && file[at] !== 0; at += 512 + Math.ceil(Number.parseInt(file.toString('latin1', at + 124, at + 135), 8) / 512) * 512) {
      names.push(file.toString('latin1', at, file.indexOf(0, at)))
    }
    assert.ok(names.includes('checkpoint') && names.includes('key') && names.at(-1) === 'manifest', names.join())
    assert.equal(names.some((name) => name.startsWith('personal/')), personal, names.join())
    await unseen(dialog)
  }
}

/** What this browser proves of the whole log by itself, with the key that it first saw, and then with one that it was given. */
async function whole(walk) {
  const { page } = walk.person
  await tab(walk, '/ledger-entries?tab=shards')
  const [shard] = (await ask(page, '/ledger/shards')).items
  const card = page.getByRole('region', { name: `Log ${shard.name}` })
  const forget = card.getByRole('button', { name: 'Forget' })
  const again = async () => {
    await forget.click()
    await confirm(walk, 'Forget key and checkpoint?', 'Forget', shard.name)
    await seen(card.getByText('No key yet.'))
  }
  // Of a step before.
  if (await forget.isVisible()) await again()
  await card.getByRole('button', { name: 'Verify the checkpoint' }).click()
  await seen(card.getByText(/The checkpoint holds: [\d,]+ entries are signed\./))
  await seen(card.getByText(/This key, as first seen on/))
  await card.getByRole('button', { name: /^Check all [\d,]+ entries/ }).click()
  await seen(card.getByText(/^All [\d,]+ entries, from .* make the root that was signed/), 60_000)
  const [, said] = /^All ([\d,]+) entries/.exec(await card.locator('.whole .good').innerText()) ?? []
  const { size } = (await ask(page, '/ledger/shards')).items[0]
  assert.ok(Number(said.replaceAll(',', '')) > 20 && Number(said.replaceAll(',', '')) <= size, `${said} of ${size}`)
  await walk.look(walk.person, 'the whole log')
  await again()
  await card.getByRole('button', { name: 'Give a key' }).click()
  const dialog = await opened(walk, `Key of log ${shard.name}`)
  await dialog.getByLabel('Key', { exact: true }).fill('no key')
  await dialog.getByRole('button', { name: 'Keep this key' }).click()
  await seen(dialog.getByText(/This is no key/))
  await walk.look(walk.person, 'a key by hand')
  await dialog.getByLabel('Key', { exact: true }).fill(shard.key)
  await press(walk, dialog, 'Keep this key')
  await seen(card.getByText(/You gave this key on/))
  await card.getByRole('button', { name: 'Verify the checkpoint' }).click()
  await seen(card.getByText(/It is the key that you gave on/))
  // Another log is begun only after a loss: the platform says so, and begins none.
  await page.getByRole('button', { name: /^Begin another log/ }).click()
  const begin = await opened(walk, 'Begin another log?')
  await begin.getByLabel('Reason').fill('only to see')
  await send(walk, begin.getByRole('button', { name: 'Begin', exact: true }), there(begin.getByText(/nothing is wrong with the present shard/)))
  await walk.look(walk.person, 'no other log')
  assert.equal((await ask(page, '/ledger/shards')).items.length, 1)
}

/** Nobody can tell afterwards whose entries they were, and they verify all the same. */
async function erase(walk) {
  const { page } = walk.person
  const mia = await guest(walk)
  const hers = async () => (await ask(page, `/ledger/entries?limit=200&actor=${mia.id}`)).items
  const before = await until('entries of hers', async () => ((await hers()).length > 0 ? hers() : undefined))
  const { shard, position } = before[0]
  const entry = page.getByRole('dialog', { name: `Entry ${shard}/${position}` })
  const prove = async (said) => {
    await page.goto(`/ledger-entries?kind=organisation.*&entry=${shard}/${position}`)
    await entry.getByRole('button', { name: 'Verify in this browser' }).click()
    await seen(entry.getByText(/This entry stands in the log of/))
    await entry.getByRole('button', { name: 'Check who and what, too' }).click()
    await seen(entry.getByText(said))
  }
  await prove(/those that the record was bound to when it was written/)
  await tab(walk, FEW)
  await page.getByRole('button', { name: 'Erase a person' }).click()
  const dialog = await opened(walk, 'Erase a person from the ledger')
  await dialog.getByLabel('Id of the person').fill(mia.id)
  assert.ok(await dialog.getByRole('button', { name: 'Continue' }).isDisabled(), 'not without a reason')
  await dialog.getByLabel('Reason').fill('she asked for it')
  await walk.look(walk.person, 'an erasure')
  await dialog.getByRole('button', { name: 'Continue' }).click()
  await confirm(walk, 'Erase for good?', 'Erase', mia.id)
  await seen(dialog.getByText(/^\d+ entries lost their personal part/))
  await dialog.getByRole('button', { name: 'Close' }).last().click()
  assert.deepEqual(await hers(), [], 'nothing is found by her id')
  await prove(/Nothing is left to check: it was erased/)
  await seen(entry.getByText('erased', { exact: true }))
  const told = await ask(page, `/ledger/entries/${shard}/${position}`)
  assert.equal(told.who ?? null, null)
}

export const steps = { 'ledger filter': filter, 'ledger export': archive, 'whole ledger': whole, erasure: erase }
