// The files of a manifest, as a person drops them: the manifest, its lock, and what it names.
import type { Schemas } from '@/api/client'

export type Source = Schemas['StackSource']

/** The API's bound of one source. */
export const MOST = 8 * 1024 * 1024

export interface Dropped {
  manifest?: { name: string; text: string }
  locks?: Record<string, string>
  sources: Record<string, string>
  /** Names of files that are too large, or are no lock. */
  refused: string[]
}

export function base64(bytes: Uint8Array): string {
  let text = ''
  // In pieces: arguments of a call are bounded.
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192))
  return btoa(text)
}

/** Bytes of what is in base 64. */
export function sizeOf(content: string): number {
  const padding = content.endsWith('==') ? 2 : content.endsWith('=') ? 1 : 0
  return (content.length / 4) * 3 - padding
}

function lockOf(text: string): Record<string, string> | undefined {
  try {
    const read: unknown = JSON.parse(text)
    if (typeof read !== 'object' || read === null || Array.isArray(read)) return undefined
    return Object.values(read).every((value) => typeof value === 'string') ? (read as Record<string, string>) : undefined
  } catch {
    return undefined
  }
}

interface FileLike {
  name: string
  size: number
  webkitRelativePath?: string
  text: () => Promise<string>
  arrayBuffer: () => Promise<ArrayBuffer>
}

/** Sorts files by what they are for; `wanted` are the names that the manifest gives to files. */
export async function readFiles(files: readonly FileLike[], wanted: readonly string[]): Promise<Dropped> {
  const dropped: Dropped = { sources: {}, refused: [] }
  for (const file of files) {
    // The name that the manifest has for it: by its whole path, else by the last part alone.
    const path = file.webkitRelativePath ?? ''
    const source = wanted.find((name) => path.endsWith(`/${name}`)) ?? wanted.find((name) => name === file.name || name.endsWith(`/${file.name}`))
    if (file.size > MOST) dropped.refused.push(file.name)
    else if (source) dropped.sources[source] = base64(new Uint8Array(await file.arrayBuffer()))
    else if (/\.lock$/.test(file.name)) {
      const locks = lockOf(await file.text())
      if (locks) dropped.locks = locks
      else dropped.refused.push(file.name)
    } else if (/\.toml$/.test(file.name)) dropped.manifest = { name: file.name, text: await file.text() }
    // It may be named by a manifest that is still to come.
    else dropped.sources[file.name] = base64(new Uint8Array(await file.arrayBuffer()))
  }
  return dropped
}

/** What is sent: of the files only those that the manifest names. */
export function sourceOf(manifest: string, file: string, sources: Record<string, string>, locks: Record<string, string>, names: readonly string[]): Source {
  const sent = Object.fromEntries(Object.entries(sources).filter(([name]) => names.includes(name)))
  return { manifest, file, sources: sent, locks }
}
