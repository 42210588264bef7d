// Refuses a word that is missing in a language, is used but nowhere written, or is written but nowhere used.
import { describe, expect, it } from 'vitest'
import { shared } from './shared'
import { platformWords } from '@/tools/platform/words'
import type { Messages, Words } from './words'

const files = import.meta.glob<string>('../**/*.{vue,ts}', { query: '?raw', import: 'default', eager: true })
const folders = import.meta.glob<{ messages: Messages }>(['../**/messages.ts', '!./**'], { eager: true })

/** Keys as `t` takes them, with their words. */
function flat(words: Words, before = ''): Map<string, string> {
  const all = new Map<string, string>()
  for (const [key, value] of Object.entries(words)) {
    if (typeof value === 'string') all.set(before + key, value)
    else for (const [inner, text] of flat(value, `${before}${key}.`)) all.set(inner, text)
  }
  return all
}

const sources = [
  { folder: '../', name: 'shared', messages: shared as Messages },
  ...Object.entries(folders).map(([path, module]) => ({ folder: path.replace(/messages\.ts$/, ''), name: path, messages: module.messages })),
]

/** The words of a file: those of the nearest folder that has any. */
function ownerOf(path: string): (typeof sources)[number] | undefined {
  const above = sources.filter((one) => one.name !== 'shared' && path.startsWith(one.folder))
  return above.sort((a, b) => b.folder.length - a.folder.length)[0]
}

/** Names in braces, which both languages have to have. */
const named = (text: string): string[] => [...text.matchAll(/\{(\w+)\}/g)].map((found) => found[1] ?? '').sort()

/** What a file asks for: whole keys, and beginnings of keys whose end is only known when it runs. */
function asked(text: string): { keys: string[]; beginnings: string[] } {
  const keys = [...text.matchAll(/\bt\(\s*'([\w.-]+)'/g)].map((found) => found[1] ?? '')
  // Also `t(cond ? 'a' : 'b')`, and keys handed on as text.
  const texts = [...text.matchAll(/['`]([\w-]+(?:\.[\w-]+)*)['`]/g)].map((found) => found[1] ?? '')
  const beginnings = [...text.matchAll(/`([\w.-]+\.)\$\{/g)].map((found) => found[1] ?? '')
  return { keys, beginnings: [...beginnings, ...texts.map((one) => `=${one}`)] }
}

describe.each(sources)('words of $name', ({ folder, messages }) => {
  const english = flat(messages.en)
  const german = flat(messages.de)

  it('are the same keys in both languages', () => {
    expect([...german.keys()].sort()).toEqual([...english.keys()].sort())
  })

  it('are there, and name the same things', () => {
    for (const [key, text] of english) {
      const other = german.get(key) ?? ''
      expect(text.trim() && other.trim(), key).not.toBe('')
      // A plural says it several times.
      expect([...new Set(named(other))], key).toEqual([...new Set(named(text))])
    }
  })

  it('are used', () => {
    const mine = Object.entries(files).filter(([path]) => path.startsWith(folder) && (folder === '../' || ownerOf(path)?.folder === folder) && !path.endsWith('.test.ts') && !/(messages|shared)\.ts$/.test(path))
    const uses = mine.map(([, text]) => asked(text))
    const used = (key: string): boolean =>
      uses.some((use) => use.keys.includes(key) || use.beginnings.some((one) => (one.startsWith('=') ? one === `=${key}` : key.startsWith(one))))
    const unused = [...english.keys()].filter((key) => !used(key))
    expect(unused).toEqual([])
  })
})

it('every key that is asked for is written', () => {
  const common = new Set([...flat(shared.en).keys(), ...[...flat(platformWords.en).keys()].map((key) => `tool.platform.${key}`)])
  const missing: string[] = []
  for (const [path, text] of Object.entries(files)) {
    if (path.endsWith('.test.ts')) continue
    const own = ownerOf(path)
    const known = own ? flat(own.messages.en) : new Map<string, string>()
    for (const key of asked(text).keys) if (!common.has(key) && !known.has(key)) missing.push(`${path}: ${key}`)
  }
  expect(missing).toEqual([])
})
