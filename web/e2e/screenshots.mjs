// Pictures of every screen, German and English, light and dark, for the documentation: `npm run screenshots -- FOLDER`. They show the
// mock's project, so that they are the same each time; nothing of them is committed.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { launch, open, settled } from './browser.mjs'

const folder = process.argv[2] ?? fileURLToPath(new URL('../../target/screenshots', import.meta.url))
const SCREENS = { home: '/', map: '/projects/harbour', machines: '/projects/harbour/machines', machine: '/projects/harbour/machines/web-1', plan: '/projects/harbour/plan', apps: '/projects/harbour/apps', app: '/projects/harbour/apps/shop', routes: '/projects/harbour/routes', access: '/access', people: '/people', ledger: '/ledger-entries', account: '/account', 'sign-in': '/sign-in' }
const port = 4793
const mock = spawn(process.execPath, [fileURLToPath(new URL('../mock/server.mjs', import.meta.url)), String(port)], { stdio: ['ignore', 'pipe', 'inherit'] })
await new Promise((resolve) => mock.stdout.once('data', resolve))
const browser = await launch()
try {
  for (const language of ['en', 'de']) {
    for (const theme of ['light', 'dark']) {
      mkdirSync(join(folder, language), { recursive: true })
      const person = await open(browser, `http://127.0.0.1:${port}`, { language, theme })
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
  mock.kill()
}
