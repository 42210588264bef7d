// Pictures of every screen, German and English, light and dark, for the documentation: `npm run screenshots -- FOLDER`. They show the
// mock's project, so that they are the same each time; nothing of them is committed.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { launch, open, settled, startMock } from './browser.mjs'
import { SCREENS } from './places.mjs'

const folder = process.argv[2] ?? fileURLToPath(new URL('../../target/screenshots', import.meta.url))
const mock = await startMock(4793)
const browser = await launch()
try {
  for (const language of ['en', 'de']) {
    for (const theme of ['light', 'dark']) {
      mkdirSync(join(folder, language), { recursive: true })
      const person = await open(browser, mock.url, { language, theme })
      for (const [name, path] of Object.entries(SCREENS)) {
        await person.page.goto(path)
        await settled(person.page)
        await person.page.screenshot({ path: join(folder, language, `${name}-${theme}.png`) })
      }
      if (person.faults.length > 0) throw new Error(person.faults.join('\n'))
      await person.context.close()
    }
  }
  console.log(`pictures are in ${folder}`)
} finally {
  await browser.close()
  mock.stop()
}
