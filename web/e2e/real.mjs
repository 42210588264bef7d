// With real machines, from nothing: a project, a manifest, a plan, its apply, a shell in the browser, what the check of the ways in finds of it, and everything
// destroyed again.
import assert from 'node:assert/strict'
import { PROJECT, says } from './api.mjs'
import { confirm, opened, press, seen, tab, unseen } from './hands.mjs'
import { accept } from './person.mjs'
import { publicKey } from './ssh-key.mjs'

const MANIFEST = `project = "hello"

[network.backend]

[image.web]
distribution = "debian"
release = "trixie"
packages = ["rsync"]

[machine.web]
image = "web"
network = "backend"
`

async function owner(walk) {
  const { page } = walk.person
  const { authenticator } = await accept(page, walk.invitation, { name: 'Ada Lindqvist', login: 'ada' })
  await page.getByRole('button', { name: 'Continue' }).click()
  await page.waitForURL(/\/$/)
  walk.authenticator = authenticator
  await page.getByRole('button', { name: 'New project' }).first().click()
  const dialog = page.getByRole('dialog', { name: 'New project' })
  await dialog.getByRole('textbox').first().fill('hello')
  await dialog.getByRole('button', { name: /create|new project/i }).last().click()
  await seen(page.getByRole('link', { name: 'hello' }).first())
}

async function apply({ person: { page } }) {
  await page.goto('/projects/hello/plan')
  await page.locator('.cm-content').click()
  await page.keyboard.press('Control+a')
  await page.keyboard.press('Delete')
  await page.keyboard.insertText(MANIFEST)
  await seen(page.getByText('The manifest is in order.'))
  await page.getByRole('button', { name: 'Plan', exact: true }).click()
  await page.getByRole('button', { name: 'Approve and apply' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Approve and apply' }).click()
  // Sent, before the page is left.
  await unseen(page.getByRole('dialog'))
  // An image may have to be built first.
  await page.goto('/projects/hello/machines')
  await seen(page.getByRole('link', { name: 'web', exact: true }), 200_000)
  await page.getByRole('link', { name: 'web', exact: true }).click()
  await seen(page.locator('.page-head').getByText('running'), 200_000)
}

/** What the terminal shows, put together as a person reads it. */
const shown = (page) => page.locator('.xterm-rows').innerText()

/** A shell that waits for what is typed. */
async function terminal(page) {
  await page.goto('/projects/hello/machines/web?tab=shell')
  await seen(page.getByText('connected', { exact: true }), 60_000)
  await page.locator('.xterm-helper-textarea').focus()
}

async function shell({ person: { page, faults } }) {
  await terminal(page)
  await page.keyboard.type('echo $((6*7)); stty size; id -un\n')
  await page.waitForFunction(() => /^42\s*\n\d+ \d+\s*$/m.test(document.querySelector('.xterm-rows')?.innerText ?? ''), undefined, { timeout: 30_000 })
  const [, rows, columns] = /^(\d+) (\d+)\s*$/m.exec(await shown(page)) ?? []
  assert.ok(Number(rows) > 5 && Number(columns) > 40, `the size of the window is the terminal's: ${rows} ${columns}`)
  await page.setViewportSize({ width: 900, height: 700 })
  await page.keyboard.type('clear; sleep 1; stty size\n')
  await page.waitForFunction((before) => {
    const found = /^(\d+) (\d+)\s*$/m.exec(document.querySelector('.xterm-rows')?.innerText ?? '')
    return found && Number(found[2]) < before
  }, Number(columns), { timeout: 30_000 })
  await page.keyboard.type('exit\n')
  await seen(page.getByText('not connected', { exact: true }), 30_000)
  assert.deepEqual(faults, [], 'the policy of the page refuses nothing of the terminal')
  await page.setViewportSize({ width: 1280, height: 800 })
}

/** A key that outlives the person it was for: found, looked at, and accepted by somebody who says why. */
async function integrity(walk) {
  const { page } = walk.person
  const path = `${PROJECT}/machines/web/integrity`
  const file = '/home/hafen/.ssh/authorized_keys2'
  const check = page.getByRole('button', { name: 'Check now' })
  await tab(walk, '/projects/hello/machines/web?tab=integrity')
  await check.click()
  await seen(page.getByText('nothing changed', { exact: true }), 60_000)
  const first = await says(page, path, (it) => it.state === 'ok' && it.baseline_at)
  assert.deepEqual([first.findings, first.baseline_by ?? ''], [[], ''], 'as the platform made it, and nobody had to say so')

  await terminal(page)
  await page.keyboard.type(`mkdir -p ~/.ssh && echo '${publicKey()}' >~/.ssh/authorized_keys2 && echo $((6*7))\n`)
  await page.waitForFunction(() => /^42\s*$/m.test(document.querySelector('.xterm-rows')?.innerText ?? ''), undefined, { timeout: 30_000 })

  await tab(walk, '/projects/hello/machines/web?tab=integrity')
  await check.click()
  await seen(page.getByText('something changed', { exact: true }), 60_000)
  await seen(page.getByRole('cell', { name: file, exact: true }))
  const found = await says(page, path, (it) => it.state === 'changed')
  assert.deepEqual(found.findings.map((one) => [one.kind, one.subject]), [['key', file]])
  assert.notEqual(found.report, first.report)
  await walk.look(walk.person, 'what changed in a machine')

  await page.getByRole('button', { name: 'Accept as meant so' }).click()
  const dialog = await opened(walk, 'Accept what changed?')
  await dialog.getByLabel('Reason').fill('the key of the lighthouse')
  await press(walk, dialog, 'Accept as meant so')
  await seen(page.getByText('nothing changed', { exact: true }))
  await seen(page.getByText('what Ada Lindqvist accepted: the key of the lighthouse'))
  const accepted = await says(page, path, (it) => it.state === 'ok')
  assert.deepEqual([accepted.findings, accepted.baseline_by, accepted.baseline_reason, accepted.report], [[], 'Ada Lindqvist', 'the key of the lighthouse', found.report])
}

async function serial({ person: { page } }) {
  await page.goto('/projects/hello/machines/web?tab=console')
  await seen(page.getByText('connected', { exact: true }), 60_000)
  await page.locator('.xterm-helper-textarea').focus()
  await page.keyboard.press('Enter')
  await page.waitForFunction(() => /hafen@web/.test(document.querySelector('.xterm-rows')?.innerText ?? ''), undefined, { timeout: 60_000 })
}

async function destroy(walk) {
  const { page } = walk.person
  await page.goto('/projects/hello/plan')
  await page.getByRole('button', { name: 'Destroy everything …' }).click()
  await page.getByRole('button', { name: 'Destroy everything', exact: true }).click()
  await confirm(walk, 'Destroy everything', 'Destroy everything', 'hello')
  await page.goto('/projects/hello/machines')
  await seen(page.getByText('No machines yet'), 120_000)
}

export const steps = { owner, apply, shell, integrity, serial, destroy }
