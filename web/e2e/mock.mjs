// Looks at every screen over the mock of the API: both languages, light and dark, and each state that a platform in trouble makes.
// `HAFEN_URL` is where vite shows the console with the mock behind it. Prints every fault; exits 1 when there is one.
import { launch, look, open } from './browser.mjs'

const url = process.env.HAFEN_URL ?? 'http://127.0.0.1:4790'
const SCREENS = ['/', '/projects/harbour', '/projects/harbour/machines', '/projects/harbour/machines/web-1', '/projects/harbour/plan', '/projects/harbour/apps', '/projects/harbour/apps/shop', '/projects/harbour/routes', '/access', '/people', '/ledger-entries', '/account', '/nowhere', '/sign-in']
const only = process.argv.slice(2)
const shots = process.env.SHOTS
const browser = await launch()
let bad = 0

async function see(path, how, state = '') {
  const page = await open(browser, url, how)
  const name = `${path} ${how.language} ${how.theme} ${how.width ?? 1280} ${state}`
  try {
    await page.page.goto(state ? `${path}?mock=${state}` : path)
    // Failures that the mock makes on purpose are no faults.
    await look(state ? { page: page.page, faults: [] } : page, name)
    console.log(`good  ${name}`)
  } catch (error) {
    bad += 1
    console.log(`BAD   ${name}\n${error.message}`)
  }
  if (shots) await page.page.screenshot({ path: `${shots}/${name.trim().replaceAll(/[^\w-]+/g, '_')}.png` })
  await page.context.close()
}

for (const path of SCREENS.filter((one) => only.length === 0 || only.some((part) => one.includes(part)))) {
  for (const language of ['en', 'de']) for (const theme of ['light', 'dark']) await see(path, { language, theme })
  await see(path, { language: 'de', theme: 'light', width: 420 })
  for (const state of ['offline', '403', '404', '500', 'empty']) await see(path, { language: 'en', theme: 'light' }, state)
}
await browser.close()
process.exit(bad === 0 ? 0 : 1)
