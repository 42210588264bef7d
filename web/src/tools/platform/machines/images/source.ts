// What an image is built from, as a person writes it and as the API takes it.
import type { Schemas } from '@/api/client'
import { toBase64 } from '../form/form'

export interface ImageForm {
  name: string
  kind: 'debian' | 'cloud'
  release: 'trixie' | 'bookworm'
  packages: string
  files: { path: string; mode: string; content: string }[]
  location: string
  sha256: string
  firmware: 'bios' | 'uefi'
  lock: string
}

export function emptyImage(): ImageForm {
  return { name: '', kind: 'debian', release: 'trixie', packages: '', files: [], location: '', sha256: '', firmware: 'bios', lock: '' }
}

export function imageOf(form: ImageForm): Schemas['ImageCreate'] {
  const name = form.name.trim()
  if (form.kind === 'cloud') {
    return { name, source: { kind: 'cloud', location: form.location.trim(), sha256: form.sha256.trim().toLowerCase(), firmware: form.firmware } }
  }
  const packages = [...new Set(form.packages.split(/[\s,]+/).filter(Boolean))]
  const files = form.files.filter((file) => file.path.trim() !== '')
  const written = Object.fromEntries(
    files.map((file) => [file.path.trim(), { content: toBase64(file.content), ...(file.mode.trim() ? { mode: file.mode.trim() } : {}) }]),
  )
  return {
    name,
    source: { kind: 'debian', release: form.release, packages, ...(files.length > 0 ? { files: written } : {}) },
    ...(form.lock.trim() ? { lock: form.lock } : {}),
  }
}

/** In one line. */
export function sourceText(source: Schemas['ImageSource']): string {
  if (source.kind === 'debian') return [`debian ${source.release}`, ...(source.packages ?? [])].join(' ')
  return source.location
}
