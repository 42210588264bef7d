import { expect, it } from 'vitest'
import { fromBase64 } from '../form/form'
import { emptyImage, imageOf, sourceText } from './source'

it('sends each package once, and files in base 64', () => {
  const image = imageOf({ ...emptyImage(), name: ' web ', packages: 'nginx, curl\n nginx', files: [{ path: '/etc/motd', mode: '', content: 'Grüß dich' }, { path: ' ', mode: '', content: 'lost' }] })
  expect(image).toMatchObject({ name: 'web', source: { kind: 'debian', release: 'trixie', packages: ['nginx', 'curl'] } })
  if (image.source.kind !== 'debian') throw new Error('not debian')
  expect(Object.keys(image.source.files ?? {})).toEqual(['/etc/motd'])
  expect(fromBase64(image.source.files?.['/etc/motd']?.content ?? '')).toBe('Grüß dich')
  expect(image).not.toHaveProperty('lock')
  expect(sourceText(image.source)).toBe('debian trixie nginx curl')
})

it('sends a cloud image with its checksum, and nothing of packages', () => {
  const image = imageOf({ ...emptyImage(), name: 'c', kind: 'cloud', location: ' https://x.example/i.qcow2 ', sha256: ' ABC ', packages: 'nginx', lock: 'x' })
  expect(image).toEqual({ name: 'c', source: { kind: 'cloud', location: 'https://x.example/i.qcow2', sha256: 'abc', firmware: 'bios' } })
})
