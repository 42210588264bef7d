// What a person's browser fetches before the first screen stands, after gzip. More than the budget fails the build.
import { readFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'

const BUDGET = { script: 200_000, style: 40_000 }
const dist = new URL('../dist/', import.meta.url)
const manifest = JSON.parse(readFileSync(new URL('.vite/manifest.json', dist), 'utf8'))
const size = (file) => gzipSync(readFileSync(new URL(file, dist)), { level: 9 }).length

function closure(start) {
  const seen = new Set()
  const walk = (key) => {
    if (seen.has(key)) return
    seen.add(key)
    for (const next of manifest[key].imports ?? []) walk(next)
  }
  start.forEach(walk)
  return [...seen].map((key) => manifest[key])
}

const find = (end) => Object.keys(manifest).find((key) => key.endsWith(end)) ?? fail(`no ${end} in the manifest`)
function fail(message) {
  console.error(`budget: ${message}`)
  process.exit(1)
}

let broken = false
for (const [name, page] of [
  ['sign-in', 'session/SignIn.vue'],
  ['home', 'platform/home/Home.vue'],
]) {
  const parts = closure(['index.html', find(page), ...(name === 'home' ? [find('shell/Shell.vue')] : [])])
  const sum = { script: 0, style: 0 }
  for (const part of parts) {
    sum.script += size(part.file)
    for (const sheet of part.css ?? []) sum.style += size(sheet)
  }
  console.log(`budget: ${name}: script ${sum.script} of ${BUDGET.script} bytes, style ${sum.style} of ${BUDGET.style}`)
  broken ||= sum.script > BUDGET.script || sum.style > BUDGET.style
}
if (broken) fail('more than the budget: load what the first screen does not need later')
