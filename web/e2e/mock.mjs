// Looks at every screen over the mock of the API: both languages, light and dark, narrow, and each state that a platform in trouble
// makes; works each by keyboard; and opens whatever opens over it. `HAFEN_URL` is where the console is with the mock behind it;
// without it the mock shows the console as it was built. Prints every fault; exits 1 when there is one.
// `node e2e/mock.mjs [PART OF AN ADDRESS …]`; `SHOTS=FOLDER` keeps a picture of each view.
import assert from 'node:assert/strict'
import { launch, look, open, settled, startMock } from './browser.mjs'
import { keyboardFaults, openers, overlayFaults, watchKeyboard } from './keyboard.mjs'
import { DETAILS, SCREENS, TABS } from './places.mjs'

/** More than one page at a time: one draws while another waits. */
const PAGES = 3
const only = process.argv.slice(2)
const wanted = (path) => only.length === 0 || only.some((part) => path.includes(part))
const mock = process.env.HAFEN_URL ? undefined : await startMock(4790)
const url = process.env.HAFEN_URL ?? mock.url
const browser = await launch()
let views = 0
let stops = 0
let bad = 0

const EN = { language: 'en', theme: 'light', width: 1280 }
const NARROW = { language: 'de', theme: 'light', width: 420 }
const tasks = []
for (const path of [...Object.values(SCREENS), '/nowhere'].filter(wanted)) {
  tasks.push({ path, how: EN, then: [byKeyboard, opened] }, { path, how: NARROW, then: [opened] })
  for (const how of [{ ...EN, theme: 'dark' }, { ...EN, language: 'de' }, { ...EN, language: 'de', theme: 'dark' }]) tasks.push({ path, how })
  for (const state of ['offline', '403', '404', '500', 'empty']) tasks.push({ path, how: { ...EN, language: state === 'empty' ? 'en' : 'de' }, state })
}
for (const path of [...TABS, ...DETAILS].filter(wanted)) {
  tasks.push({ path, how: EN, then: [byKeyboard, opened] }, { path, how: NARROW, then: [opened] }, { path, how: { ...EN, language: 'de', theme: 'dark' } }, { path, how: { ...EN, language: 'de' }, state: 'empty' })
}

const tooWide = (page) => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)

/** Fields that are not described by what stands below them. */
const untied = (page) =>
  page.evaluate(() =>
    [...document.querySelectorAll('.form-field')].flatMap((one) => {
      const label = one.querySelector(':scope > label')
      const field = document.getElementById(label.htmlFor)
      const told = [...one.querySelectorAll(':scope > small[id]')]
      const heard = field?.getAttribute('aria-describedby')?.split(' ') ?? []
      return field && told.some((small) => !heard.includes(small.id)) ? [label.innerText] : []
    }),
  )

async function picture(page, name) {
  if (process.env.SHOTS) await page.screenshot({ path: `${process.env.SHOTS}/${name.trim().replaceAll(/[^\w-]+/g, '_').slice(0, 150)}.png` })
}

async function seen(person, name, state) {
  views += 1
  // Failures that the mock makes on purpose are no faults.
  await look(state ? { page: person.page, faults: [] } : person, name)
  await picture(person.page, name)
  assert.ok((await tooWide(person.page)) <= 1, `${name}: wider than the window`)
  assert.deepEqual(await untied(person.page), [], `${name}: what is said below a field is not heard at it`)
}

async function byKeyboard({ page }) {
  const { faults, count } = await keyboardFaults(page, { backwards: true })
  stops += count
  return faults
}

/** By how it is looked at, screen and name: the tabs of a screen share its head. */
const pressed = new Set()
/** Everything that opens on the screen, one after the other. */
async function opened(person, { path, how }, name) {
  const { page } = person
  const faults = []
  const all = await openers(page)
  for (const { index, name: button } of all) {
    // What the head of the page has is looked at on one of them.
    if (path !== '/' && /Operations and events|Vorgänge und Ereignisse|Go to, or do|Gehe zu, oder|Help for|Hilfe zu|^button "(Account|Konto)|Main navigation|Hauptnav|combobox.*(Project|Projekt)"/.test(button)) continue
    const once = `${how.language} ${path.split('?')[0]} ${button}`
    if (pressed.has(once)) continue
    pressed.add(once)
    try {
      const found = await overlayFaults(page, index, (what) => seen(person, `${name}, ${what}`))
      if (found) faults.push(...found.faults)
      if (found?.closed) continue
    } catch (error) {
      faults.push(`${button}: ${error.message}`)
    }
    // A button may have changed the language or the colours, which the browser keeps.
    await page.evaluate(() => localStorage.clear())
    await page.goto(path)
    await settled(page)
    await openers(page)
  }
  return faults
}

async function work() {
  const people = new Map()
  for (let task = tasks.shift(); task; task = tasks.shift()) {
    const { path, how, state = '', then = [] } = task
    const key = JSON.stringify(how)
    if (!people.has(key)) {
      people.set(key, await open(browser, url, how))
      await watchKeyboard(people.get(key).context)
    }
    const person = people.get(key)
    person.faults.length = 0
    const name = `${path} ${how.language} ${how.theme} ${how.width} ${state}`
    const began = Date.now()
    const found = []
    try {
      await person.page.goto(state ? `${path}${path.includes('?') ? '&' : '?'}mock=${state}` : path)
      await settled(person.page)
      await seen(person, name, state).catch((error) => found.push(error.message))
      for (const more of then) found.push(...(await more(person, task, name)))
    } catch (error) {
      found.push(error.message)
    }
    if (found.length > 0) bad += 1
    console.log(found.length > 0 ? `BAD   ${name}\n  ${found.join('\n  ')}` : `good  ${name} (${Date.now() - began} ms)`)
  }
}

try {
  await Promise.all(Array.from({ length: PAGES }, work))
} finally {
  await browser.close()
  mock?.stop()
}
console.log(`${bad === 0 ? 'good' : 'BAD'}  ${views} views, ${stops} things to reach by keyboard, in ${Math.round(process.uptime())} s; ${bad} of them with faults`)
process.exit(bad === 0 ? 0 : 1)
