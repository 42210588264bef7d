// How smoothly ten thousand machines scroll, over the mock: milliseconds from frame to frame. `HAFEN_URL` is where the console is;
// without it the mock shows the console as it was built.
import { launch, open, startMock } from './browser.mjs'

const FRAMES = 300
const mock = process.env.HAFEN_URL ? undefined : await startMock(4791)
const browser = await launch()
const { page } = await open(browser, process.env.HAFEN_URL ?? mock.url)
const began = Date.now()
await page.goto('/projects/ten-thousand/machines')
await page.locator('tbody tr a').first().waitFor({ timeout: 60_000 })
const first = Date.now() - began
const times = await page.evaluate(async (frames) => {
  const box = [...document.querySelectorAll('[role=region]')].find((one) => one.scrollHeight > 100_000)
  const found = []
  let last = performance.now()
  for (let frame = 0; frame < frames; frame += 1) {
    box.scrollTop += 180
    await new Promise((resolve) => requestAnimationFrame(resolve))
    found.push(performance.now() - last)
    last = performance.now()
  }
  return found.sort((a, b) => a - b)
}, FRAMES)
await browser.close()
mock?.stop()
console.log(`first rows after ${first} ms; a frame: median ${times[FRAMES / 2].toFixed(1)} ms, 95 of 100 within ${times[Math.floor(FRAMES * 0.95)].toFixed(1)} ms`)
