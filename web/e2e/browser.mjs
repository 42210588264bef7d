// A browser that remembers everything a page did wrong: errors, what the policy of the page refused, requests to elsewhere.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { chromium } from 'playwright-core'

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const ARGUMENTS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']

export async function launch() {
  const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium'
  return chromium.launch({ executablePath, headless: true, args: ARGUMENTS })
}

/** The mock of the API, with the console as it was built. */
export async function startMock(port) {
  const child = spawn(process.execPath, [fileURLToPath(new URL('../mock/server.mjs', import.meta.url)), String(port)], { stdio: ['ignore', 'pipe', 'inherit'] })
  await new Promise((resolve, reject) => child.stdout.once('data', resolve).once('end', () => reject(new Error('the mock ended'))))
  return { url: `http://127.0.0.1:${port}`, stop: () => child.kill() }
}

/** A fresh person's page. `faults` is everything that may not happen; it is checked at each look. */
export async function open(browser, url, { language = 'en', theme = 'light', width = 1280, height = 800, storage = undefined } = {}) {
  const context = await browser.newContext({
    baseURL: url,
    locale: language === 'de' ? 'de-DE' : 'en-GB',
    colorScheme: theme,
    viewport: { width, height },
    reducedMotion: 'reduce',
    permissions: ['clipboard-read', 'clipboard-write'],
    ...(storage ? { storageState: storage } : {}),
  })
  const page = await context.newPage()
  const faults = []
  // Says which element, and by what, where the console only says that something was refused.
  await page.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) => {
      console.error(`policy: ${event.violatedDirective} at ${event.sourceFile}:${event.lineNumber}:${event.columnNumber} ${event.sample} ${event.target?.outerHTML?.slice(0, 200) ?? ''}`)
    })
  })
  page.on('pageerror', (error) => faults.push(`error: ${error.message}`))
  page.on('console', (message) => {
    if (message.type() !== 'error') return
    // Chromium writes down each answer that is not good; whether it was expected is the screen's business.
    if (/^Failed to load resource/.test(message.text())) return
    faults.push(`console: ${message.text()}`)
  })
  page.on('request', (request) => {
    const origin = new URL(request.url()).origin
    if (!['null', new URL(url).origin].includes(origin)) faults.push(`request to ${origin}`)
  })
  page.on('response', (response) => {
    if (response.status() >= 500) faults.push(`${response.status()} of ${response.request().method()} ${response.url()}`)
  })
  return { context, page, faults }
}

/** Until the screen has what it asked for, and nothing fades in or out any more. */
export async function settled(page) {
  const calm = () => {
    const moving = document.getAnimations().some((one) => one.playState === 'running' && one.effect?.getComputedTiming().iterations !== Infinity)
    return !moving && !document.querySelector('[aria-busy=true], [class*=-leave-active]') && document.querySelector('h1, h2')
  }
  await page.waitForFunction(calm, undefined, { timeout: 15_000 })
}

/** What axe finds serious on the page as it is, or in a part of it, and what went wrong until now: there may be neither. */
export async function look({ page, faults }, name, part = undefined) {
  await settled(page)
  // Once for each document: dialogs are many, and it is long.
  if (!(await page.evaluate(() => 'axe' in globalThis))) await page.evaluate(axe)
  const found = await page.evaluate(async (part) => {
    const { violations } = await globalThis.axe.run(part ?? document, { resultTypes: ['violations'] })
    return violations
      .filter((one) => one.impact === 'serious' || one.impact === 'critical')
      .map((one) => `${one.id} (${one.impact}): ${one.nodes.slice(0, 3).map((node) => `${node.target.join(' ')} ${node.failureSummary?.split('\n')[1]?.trim() ?? ''}`).join(' | ')}`)
  }, part)
  assert.deepEqual(found, [], `${name}: what axe finds serious`)
  assert.deepEqual(faults, [], `${name}: what went wrong`)
}
