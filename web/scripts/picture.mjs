// Draws the map of the example project as a file, light and dark in one: the picture in the README. `npm run picture`
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { createServer } from 'vite'

const vite = await createServer({ root: fileURLToPath(new URL('..', import.meta.url)), server: { middlewareMode: true }, appType: 'custom', logLevel: 'error' })
try {
  const { picture } = await vite.ssrLoadModule('/src/tools/platform/map/file.ts')
  writeFileSync(new URL('../../docs/map.svg', import.meta.url), picture())
} finally {
  await vite.close()
}
