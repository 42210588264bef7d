// Walks through the console of a running platform, as its first owner: `HAFEN_URL`, `HAFEN_INVITATION`, and a project `hello` with
// machines and the app `shop` (`real`: nothing but real machines to be had). Each step is what a person does and sees; anything else ends the walk with exit code 1.
import assert from 'node:assert/strict'
import { launch, look, open, settled } from './browser.mjs'
import { listen } from './writes.mjs'

const url = process.env.HAFEN_URL
const invitation = process.env.HAFEN_INVITATION
assert(url && invitation, 'HAFEN_URL and HAFEN_INVITATION are needed')
const [which = 'steps', ...only] = process.argv.slice(2)
const { steps } = await import(`./${which}.mjs`)

const browser = await launch()
const began = Date.now()
try {
  const sent = new Set()
  const openHeard = async (...of) => {
    const one = await open(...of)
    listen(one.context, sent)
    return one
  }
  const person = await openHeard(browser, url)
  const session = { url, invitation, browser, person, open: openHeard, look, settled, sent }
  for (const [name, step] of Object.entries(steps)) {
    if (only.length > 0 && !step.always && !only.includes(name)) continue
    const at = Date.now()
    try {
      await step(session)
    } catch (error) {
      const picture = process.env.HAFEN_PICTURE ?? 'console-failure.png'
      await session.person.page.screenshot({ path: picture }).catch(() => undefined)
      console.error(`BAD   ${name} at ${session.person.page.url()}, see ${picture}\n${error.stack}`)
      console.error(await session.person.page.locator('body').innerText().catch(() => ''))
      process.exitCode = 1
      break
    }
    console.log(`good  ${name} (${Date.now() - at} ms)`)
  }
} finally {
  await browser.close()
}
console.log(`${process.exitCode ? 'BAD' : 'good'}  the walk (${Date.now() - began} ms)`)
