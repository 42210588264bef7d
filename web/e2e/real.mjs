// With real machines, from nothing: a project, a manifest, a plan, its apply, a shell in the browser, and everything destroyed again.
import assert from 'node:assert/strict'
import { accept, stepUp } from './person.mjs'

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
  await page.getByRole('link', { name: 'hello' }).first().waitFor()
}

async function apply({ person: { page } }) {
  await page.goto('/projects/hello/plan')
  await page.locator('.cm-content').click()
  await page.keyboard.press('Control+a')
  await page.keyboard.press('Delete')
  await page.keyboard.insertText(MANIFEST)
  await page.getByText('The manifest is in order.').waitFor()
  await page.getByRole('button', { name: 'Plan', exact: true }).click()
  await page.getByRole('button', { name: 'Approve and apply' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Approve and apply' }).click()
  // Sent, before the page is left.
  await page.getByRole('dialog').waitFor({ state: 'hidden' })
  // An image may have to be built first.
  await page.goto('/projects/hello/machines')
  await page.getByRole('link', { name: 'web', exact: true }).waitFor({ timeout: 200_000 })
  await page.getByRole('link', { name: 'web', exact: true }).click()
  await page.locator('.page-head').getByText('running').waitFor({ timeout: 200_000 })
}

/** What the terminal shows, put together as a person reads it. */
const shown = (page) => page.locator('.xterm-rows').innerText()

async function shell({ person: { page, faults } }) {
  await page.goto('/projects/hello/machines/web?tab=shell')
  await page.getByText('connected', { exact: true }).waitFor({ timeout: 60_000 })
  const terminal = page.locator('.xterm-helper-textarea')
  await terminal.focus()
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
  await page.getByText('not connected', { exact: true }).waitFor({ timeout: 30_000 })
  assert.deepEqual(faults, [], 'the policy of the page refuses nothing of the terminal')
  await page.setViewportSize({ width: 1280, height: 800 })
}

async function serial({ person: { page } }) {
  await page.goto('/projects/hello/machines/web?tab=console')
  await page.getByText('connected', { exact: true }).waitFor({ timeout: 60_000 })
  await page.locator('.xterm-helper-textarea').focus()
  await page.keyboard.press('Enter')
  await page.waitForFunction(() => /hafen@web/.test(document.querySelector('.xterm-rows')?.innerText ?? ''), undefined, { timeout: 60_000 })
}

async function destroy({ person: { page }, authenticator }) {
  await page.goto('/projects/hello/plan')
  await page.getByRole('button', { name: 'Destroy everything …' }).click()
  await page.getByRole('button', { name: 'Destroy everything', exact: true }).click()
  const dialog = page.getByRole('dialog', { name: 'Destroy everything' })
  await dialog.getByRole('textbox').fill('hello')
  await dialog.getByRole('button', { name: 'Destroy everything' }).click()
  await Promise.race([stepUp(page, authenticator).catch(() => undefined), dialog.waitFor({ state: 'hidden' })])
  await page.goto('/projects/hello/machines')
  await page.getByText('No machines yet').waitFor({ timeout: 120_000 })
}

export const steps = { owner, apply, shell, serial, destroy }
