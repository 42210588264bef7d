// Puts a compressed copy beside each file that gains by it, so that the server compresses nothing.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'

const dist = fileURLToPath(new URL('../dist', import.meta.url))
for (const entry of readdirSync(dist, { recursive: true, withFileTypes: true })) {
  // The page itself is written anew for each answer.
  if (!entry.isFile() || !/\.(js|css|svg|json|woff2?)$/.test(entry.name)) continue
  const path = join(entry.parentPath, entry.name)
  const bytes = readFileSync(path)
  const brotli = brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } })
  const gzip = gzipSync(bytes, { level: 9 })
  if (brotli.length < bytes.length * 0.9) writeFileSync(`${path}.br`, brotli)
  if (gzip.length < bytes.length * 0.9) writeFileSync(`${path}.gz`, gzip)
}
