import { expect, it } from 'vitest'
import { base64, readFiles, sizeOf, sourceOf } from './files'

const file = (name: string, text: string, webkitRelativePath = '') => ({
  name,
  webkitRelativePath,
  size: text.length,
  text: () => Promise.resolve(text),
  arrayBuffer: () => Promise.resolve(new TextEncoder().encode(text).buffer as ArrayBuffer),
})

it('sorts files by what they are for', async () => {
  const read = await readFiles([file('hafen.toml', 'project = "a"'), file('hafen.lock', '{"web":"…"}'), file('site.conf', 'x'), file('b.conf', 'y')], ['etc/site.conf'])
  expect(read.manifest?.text).toBe('project = "a"')
  expect(read.locks).toEqual({ web: '…' })
  expect(read.sources).toEqual({ 'etc/site.conf': btoa('x'), 'b.conf': btoa('y') })
})

it('tells files of the same name apart by their folders', async () => {
  const read = await readFiles([file('a.conf', 'one', 'shop/one/a.conf'), file('a.conf', 'two', 'shop/two/a.conf')], ['one/a.conf', 'two/a.conf'])
  expect(read.sources).toEqual({ 'one/a.conf': btoa('one'), 'two/a.conf': btoa('two') })
})

it('refuses what is no lock, and what is too large', async () => {
  const large = { ...file('big', ''), size: 9 * 1024 * 1024 }
  expect((await readFiles([file('hafen.lock', '[]'), large], [])).refused).toEqual(['hafen.lock', 'big'])
})

it('sends only what the manifest names', () => {
  expect(sourceOf('m', 'hafen.toml', { a: 'QQ==', b: 'Qg==' }, {}, ['b']).sources).toEqual({ b: 'Qg==' })
  expect(sizeOf(base64(new Uint8Array([1, 2, 3, 4])))).toBe(4)
})
