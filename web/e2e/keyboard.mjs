// Whether everything on a screen can be had by keyboard, and is seen when it has the focus. Used by the walk and over the mock.
import assert from 'node:assert/strict'
import { settled } from './browser.mjs'
import { inPage } from './keyboard-page.mjs'

/** Before the first page is opened. */
export const watchKeyboard = (context) => context.addInitScript(inPage)

const ask = (page, call, ...given) => page.evaluate(([name, values]) => globalThis.keyboard[name](...values), [call, given])
/** Where the focus is. Editors and fields mark it only a moment after they have it: longer on a machine that has much to do. */
async function here(page) {
  const first = await ask(page, 'here')
  let stop = first
  for (let look = 0; stop.unmarked && look < 10; look += 1) {
    await page.waitForTimeout(60)
    stop = { ...(await ask(page, 'here')), late: first.late }
  }
  return stop
}

/** What a stop has to be besides reached. */
function faultsOf(stop, how) {
  if (stop.lost) return [`${how}: the focus is on nothing`]
  const faults = []
  if (stop.outside) faults.push(`${how}: ${stop.name} has the focus, behind what lies over it`)
  if (stop.hidden) faults.push(`${how}: ${stop.name} has the focus and is not in sight${stop.covered ? `: ${stop.covered} covers it` : ''}`)
  if (stop.late) faults.push(`${how}: ${stop.late} looks the same with the focus`)
  if (stop.unmarked) faults.push(`${how}: ${stop.name} looks the same with the focus`)
  return faults
}

/** Tab from one end of the page to the other; of what keeps Tab for itself, its own way out is taken. */
async function through(page, count, key) {
  const faults = []
  const reached = []
  let jump
  let rows = 0
  await ask(page, 'start', key !== 'Tab')
  for (let step = 0; step < 2 * count + 30; step += 1) {
    await page.keyboard.press(key)
    const stop = await here(page)
    if (stop.end) return { faults, reached }
    faults.push(...faultsOf(stop, key))
    if (stop.lost) return { faults, reached }
    // Thousands of rows have a button before and behind that leads past them: some rows are enough.
    if (stop.jump) jump ??= stop.index
    if (stop.long && (rows += 1) > 40) {
      await ask(page, 'focus', jump)
      await page.keyboard.press('Enter')
      rows = -Infinity
      reached.push((await here(page)).index)
      continue
    }
    // The same again is a trap. What stands beside editors and terminals says how to leave them.
    if (stop.parts && reached.at(-1) === stop.index) continue
    if (stop.index >= 0 && reached.includes(stop.index)) return { faults: [...faults, `${key}: ${stop.name} comes again, before the end`], reached }
    reached.push(stop.index)
    if (stop.whole?.includes('cm-editor')) await page.keyboard.press('Escape')
    if (stop.whole?.includes('xterm')) await page.keyboard.press('Shift+F6')
  }
  return { faults: [...faults, `${key}: there is no end`], reached }
}

/** Round in what lies over the page, from where the focus is. */
async function round(page, count) {
  const faults = []
  const reached = []
  for (let step = 0; step < count + 10; step += 1) {
    const stop = await here(page)
    faults.push(...faultsOf(stop, 'Tab'))
    const within = stop.parts && reached.at(-1) === stop.index
    if (stop.lost || stop.outside || (!within && stop.index >= 0 && reached.includes(stop.index))) break
    reached.push(stop.index)
    await page.keyboard.press('Tab')
  }
  return { faults, reached }
}

/** Of a menu or the list of a field, every choice. */
async function choices(page) {
  await ask(page, 'collect')
  return arrows(page, { key: 'ArrowDown', back: 'ArrowUp', members: await ask(page, 'options') })
}

/** By arrows, from what Tab reached of it. */
async function arrows(page, { entry, key, back, members }) {
  const reached = new Set()
  if (entry !== undefined) await ask(page, 'focus', entry)
  else reached.add(await ask(page, 'active'))
  for (let step = 0; step <= members.length + 1; step += 1) {
    await page.keyboard.press(key)
    reached.add(await ask(page, 'active'))
  }
  // A list begins at what is chosen, wherever that is.
  for (let step = 0; back && step <= members.length; step += 1) {
    await page.keyboard.press(back)
    reached.add(await ask(page, 'active'))
  }
  const left = []
  for (const member of members) if (!reached.has(member)) left.push(`${await ask(page, 'nameOf', member)} is not reached by ${key}`)
  return left
}

/** Every fault of the screen that is open, or of what lies over it. */
export async function keyboardFaults(page, { backwards = false } = {}) {
  await settled(page)
  const lies = (await ask(page, 'overlays')) > 0
  const names = await ask(page, 'collect')
  if (!lies) await ask(page, 'marks')
  const { faults, reached } = lies ? await round(page, names.length) : await through(page, names.length, 'Tab')
  const { groups, lost } = await ask(page, 'rest', reached)
  // A field of the component library shows for 100 ms who was there before: nobody turns round that fast.
  if (backwards) await page.waitForTimeout(150)
  if (backwards && !lies) faults.push(...(await through(page, names.length, 'Shift+Tab')).faults)
  for (const group of groups) faults.push(...(await arrows(page, group)))
  await ask(page, 'unmark')
  return { faults: [...faults, ...lost.map((one) => `not reached: ${one}`)], count: names.length }
}

/** Opens something by Enter; there, the focus goes in, comes round, and goes back where it came from with Escape. Undefined when nothing opens. */
export async function overlayFaults(page, opener, look = async () => undefined) {
  await ask(page, 'focus', opener)
  const by = await ask(page, 'here')
  const before = await ask(page, 'overlays')
  await page.keyboard.press('Enter')
  const opened = await page.waitForFunction((count) => globalThis.keyboard?.overlays() > count, before, { timeout: 350 }).then(() => true, () => false)
  if (!opened) return undefined
  await settled(page)
  const what = `${await ask(page, 'overlayName')} by ${by.name}`
  const faults = []
  const inside = await page.waitForFunction(() => globalThis.keyboard.within(), undefined, { timeout: 1000 }).then(() => true, () => false)
  if (!inside) faults.push('the focus does not go in')
  else faults.push(...((await ask(page, 'isList')) ? await choices(page) : (await keyboardFaults(page)).faults))
  await look(what)
  await page.keyboard.press('Escape')
  const closed = await page.waitForFunction((count) => globalThis.keyboard.overlays() <= count, before, { timeout: 1500 }).then(() => true, () => false)
  if (!closed) faults.push('Escape does not close it')
  else {
    const back = await page.waitForFunction((name) => globalThis.keyboard.here().name === name, by.name, { timeout: 700 }).then(() => true, () => false)
    if (!back) faults.push(`the focus does not go back, but to ${JSON.stringify((await ask(page, 'here')).name ?? 'nothing')}`)
  }
  return { what, closed, faults: faults.map((one) => `${what}: ${one}`) }
}

/** What may open something on the screen that is open. */
export async function openers(page) {
  await ask(page, 'collect')
  return ask(page, 'openers')
}

export async function checkKeyboard(page, name, options) {
  const { faults, count } = await keyboardFaults(page, options)
  assert.deepEqual(faults, [], `${name}: by keyboard`)
  return count
}
