// @vitest-environment node
// Against what the platform itself made (`real.json`), and against every way of bending it that a server has.
import { describe, expect, it } from 'vitest'
import type { Schemas } from '@/api/client'
import { base64, type Bytes, textOf, unbase64, utf8 } from './bytes'
import { Memory } from './memory'
import { checkSignature, parseCheckpoint, parseKey, parseNote, verifyEd25519 } from './note'
import { parsePersonal } from './record'
import real from './real.json'
import { filesOf } from './tar'
import { tileOf, tilePath } from './tiles'
import { holds, type Report, type Source, verifyEntry, verifyHead, verifyPersonal } from './verify'
import { verifyWhole } from './whole'

const KEY = real.key
const SHARD = { name: '2026', key: KEY }
const entries = real.entries as Schemas['LedgerEntry'][]
const bytes = (text: string): Bytes => unbase64(text) ?? new Uint8Array()
type Files = Record<string, Bytes>
const filesAt = (state: { files: Record<string, string> }): Files => Object.fromEntries(Object.entries(state.files).map(([path, text]) => [path, bytes(text)]))
const OLD = filesAt(real.old)
const NOW = filesAt(real.now)

function entry(position: number): Schemas['LedgerEntry'] {
  const found = entries[position]
  if (!found) throw new Error('no such entry')
  return structuredClone(found)
}

function memory(): Memory {
  const kept = new Map<string, string>()
  return new Memory({ getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => void kept.set(key, value) })
}

function source(files: Files): Source {
  return {
    read: (path) => (files[path] ? Promise.resolve(files[path]) : Promise.reject(new Error(`nothing at ${path}`))),
    proof: () => Promise.resolve(bytes(real.proof)),
  }
}

const closed = (): Source => ({ read: undefined, proof: () => Promise.resolve(bytes(real.proof)) })

function bend(files: Files, path: string, at: number): Files {
  const copy = files[path]?.slice() ?? new Uint8Array()
  copy[at] = (copy[at] ?? 0) ^ 1
  return { ...files, [path]: copy }
}

const codes = (report: Report): (string | undefined)[] => report.steps.filter((step) => step.outcome === 'failed').map((step) => step.code)
const check = (position: number, files: Files, kept = memory()): Promise<Report> => verifyEntry(entry(position), SHARD, source(files), kept)

describe('an entry', () => {
  it('is proven, each one, of what the platform made', async () => {
    const kept = memory()
    for (const one of entries) {
      const report = await verifyEntry(one, SHARD, source(NOW), kept)
      expect(report.steps.map((step) => step.name)).toEqual(['key', 'signature', 'history', 'record', 'inclusion', 'shown'])
      expect(holds(report)).toBe(true)
      expect(report.head?.size).toBe(11)
    }
    expect(kept.pinned('2026')).toMatchObject({ key: KEY, by: 'first' })
    expect(kept.head('2026')?.size).toBe(11)
  })

  it('says of the first time that the key is only seen, and then that it is the same', async () => {
    const kept = memory()
    expect((await check(0, NOW, kept)).steps[0]).toMatchObject({ how: 'first', outcome: 'open' })
    expect((await check(0, NOW, kept)).steps[0]).toMatchObject({ how: 'kept', outcome: 'proven' })
    await kept.give('2026', KEY)
    expect((await check(0, NOW, kept)).steps[0]).toMatchObject({ how: 'given', outcome: 'proven' })
  })

  it('is proven by a file, too, for those who may not see the tree', async () => {
    const kept = memory()
    const report = await verifyEntry(entry(3), SHARD, closed(), kept)
    expect(holds(report)).toBe(true)
    expect(report.steps.find((step) => step.name === 'inclusion')).toMatchObject({ how: 'file', facts: { hashes: 4 } })
    // The file is of another entry.
    expect(codes(await verifyEntry(entry(4), SHARD, closed(), kept))).toEqual(['recordDiffers'])
    const twin = { ...entry(3), position: 4 }
    expect(codes(await verifyEntry(twin, SHARD, closed(), kept))).toEqual(['outside'])
  })

  it('fails with a flipped bit anywhere in its record', async () => {
    const bundle = 'tile/entries/000.p/11'
    const length = (NOW[bundle]?.[0] ?? 0) * 256 + (NOW[bundle]?.[1] ?? 0)
    for (let at = 2; at < length + 2; at += 41) expect(codes(await check(0, bend(NOW, bundle, at)))).toEqual(['recordDiffers'])
    // The server shows the bent record, too.
    const files = bend(NOW, bundle, 60)
    const bent = { ...entry(0), record: textOf((files[bundle] ?? new Uint8Array()).slice(2, length + 2)) }
    expect(codes(await verifyEntry(bent, SHARD, source(files), memory()))).toEqual(['rootWrong'])
  })

  it('fails with a flipped bit in any hash that its proof needs', async () => {
    for (let hash = 1; hash < 11; hash += 1) expect(codes(await check(0, bend(NOW, 'tile/0/000.p/11', hash * 32)))).toEqual(['rootWrong'])
  })

  it('fails with a flipped bit anywhere in the checkpoint', async () => {
    const length = NOW['checkpoint']?.length ?? 0
    for (let at = 0; at < length; at += 1) expect(codes(await check(0, bend(NOW, 'checkpoint', at))).length).toBe(1)
  })

  it('fails when files are cut short', async () => {
    const cut = (path: string, length: number): Files => ({ ...NOW, [path]: (NOW[path] ?? new Uint8Array()).slice(0, length) })
    expect(codes(await check(0, cut('tile/0/000.p/11', 320)))).toEqual(['tileLength'])
    expect(codes(await check(0, cut('tile/entries/000.p/11', 6000)))).toEqual(['bundleBroken'])
    expect(codes(await check(0, cut('checkpoint', 100)))).toEqual(['noteMalformed'])
  })

  it('fails with another key, by whomever it was given', async () => {
    // RFC 8032, test 1, under the name of the log.
    const other = await keyNamed('hafen-db41cdcedcc0be33/ledger/2026', 'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a')
    const kept = memory()
    await kept.give('2026', other)
    expect(codes(await check(0, NOW, kept))).toEqual(['keyChanged'])
    expect(codes(await verifyEntry(entry(0), { name: '2026', key: other }, source(NOW), memory()))).toEqual(['unsigned'])
    const trusting = memory()
    await check(0, NOW, trusting)
    expect(codes(await verifyEntry(entry(0), { name: '2026', key: other }, source(NOW), trusting))).toEqual(['keyChanged'])
    // Another shard of the same ledger has the same signer.
    expect(codes(await verifyEntry(entry(0), { name: '2027', key: other }, source(NOW), trusting))).toEqual(['keyChanged'])
  })

  it('fails when it is shown otherwise than it was recorded', async () => {
    for (const [field, value] of Object.entries({ kind: 'machine.started', object: 'machine/x', outcome: 'refused', at: '2020-01-01T00:00:00.000000Z', seq: 99, actor: 'p-0' })) {
      const report = await verifyEntry({ ...entry(3), [field]: value }, SHARD, source(NOW), memory())
      expect(codes(report)).toEqual(['fieldDiffers'])
      expect(report.steps.at(-1)?.facts['field']).toBe(field)
    }
  })
})

describe('history', () => {
  it('goes on from what was seen', async () => {
    const kept = memory()
    expect(holds(await verifyHead(SHARD, source(OLD), kept))).toBe(true)
    const report = await verifyHead(SHARD, source(NOW), kept)
    expect(report.steps.at(-1)).toMatchObject({ name: 'history', how: 'grown', outcome: 'proven', facts: { old: 7, size: 11 } })
    expect((await verifyHead(SHARD, source(NOW), kept)).steps.at(-1)).toMatchObject({ how: 'same' })
  })

  it('is not rolled back unnoticed, and the newer checkpoint stays remembered', async () => {
    const kept = memory()
    await verifyHead(SHARD, source(NOW), kept)
    expect(codes(await verifyHead(SHARD, source(OLD), kept))).toEqual(['rolledBack'])
    expect(kept.head('2026')?.size).toBe(11)
  })

  it('is not rewritten unnoticed', async () => {
    const root = base64(new Uint8Array(32))
    const kept = memory()
    kept.remember('2026', 7, bytes(root))
    expect(codes(await verifyHead(SHARD, source(NOW), kept))).toEqual(['historyRewritten'])
    kept.remember('2026', 11, bytes(root))
    expect(codes(await verifyHead(SHARD, source(NOW), kept))).toEqual(['forked'])
  })

  it('stays open where the tree may not be seen, and is then not remembered', async () => {
    const kept = memory()
    await verifyHead(SHARD, source(OLD), kept)
    const report = await verifyEntry(entry(3), SHARD, closed(), kept)
    expect(report.steps.find((step) => step.name === 'history')).toMatchObject({ how: 'open', outcome: 'open' })
    expect(kept.head('2026')?.size).toBe(7)
  })
})

describe('a shard as a whole', () => {
  const root = bytes('1KtgRz/ZNLcrLZPDEVhemORXQJr49Uy0VJApIMetmkw=')
  const whole = { shard: '2026', size: 11, root }
  const read = (files: Files) => (path: string) => source(files).read?.(path) ?? Promise.reject(new Error())

  it('is built anew from its entries', async () => {
    const told: number[] = []
    const result = await verifyWhole(whole, read(NOW), (done) => told.push(done))
    expect(result).toMatchObject({ entries: 11, tiles: 1 })
    expect(told).toEqual([11])
  })

  it('fails at the record, the tile or the root that is bent', async () => {
    const bundle = 'tile/entries/000.p/11'
    // A digit of the last commitment of the first record.
    const length = (NOW[bundle]?.[0] ?? 0) * 256 + (NOW[bundle]?.[1] ?? 0)
    await expect(verifyWhole(whole, read(bend(NOW, bundle, length - 4)))).rejects.toMatchObject({ code: 'tileDiffers', facts: { at: 0 } })
    await expect(verifyWhole(whole, read(bend(NOW, 'tile/0/000.p/11', 33)))).rejects.toMatchObject({ code: 'tileDiffers', facts: { at: 1 } })
    await expect(verifyWhole({ ...whole, root: new Uint8Array(32) }, read(NOW))).rejects.toMatchObject({ code: 'rootWrong' })
    await expect(verifyWhole({ ...whole, shard: '2025' }, read(NOW))).rejects.toMatchObject({ code: 'fieldDiffers' })
    await expect(verifyWhole({ ...whole, size: 1_000_001 }, read(NOW))).rejects.toMatchObject({ code: 'tooMany' })
  })
})

describe('who and what', () => {
  const personal = parsePersonal(NOW['personal/000.p/11'] ?? new Uint8Array())
  const of = (position: number) => personal.find((line) => line.position === position)

  it('are what was committed to, of each entry', async () => {
    for (const one of entries) expect(await verifyPersonal(one, of(one.position))).toMatchObject({ outcome: expect.not.stringMatching('failed') as string })
    expect(await verifyPersonal(entry(3), of(3))).toMatchObject({ how: 'committed', outcome: 'proven' })
  })

  it('fail when payload, salt or what is shown is another', async () => {
    const kept = of(3)
    if (!kept) throw new Error('no payload')
    for (const bent of [{ who: kept.who.replace('operator', 'operatar') }, { what_salt: `00${kept.what_salt.slice(2)}` }, { who_salt: 'xyz' }]) {
      expect(await verifyPersonal(entry(3), { ...kept, ...bent })).toMatchObject({ code: 'commitmentWrong' })
    }
    const shown = entry(3)
    if (shown.who) shown.who.name = 'Somebody Else'
    expect(await verifyPersonal(shown, kept)).toMatchObject({ code: 'shownDiffers', facts: { field: 'who' } })
    expect(await verifyPersonal(entry(3), undefined)).toMatchObject({ code: 'shownDiffers' })
    const { who: _who, what: _what, ...erased } = entry(3)
    expect(await verifyPersonal(erased, undefined)).toMatchObject({ how: 'erased', outcome: 'open' })
  })
})

describe('formats', () => {
  it('a tar is read while it comes, in pieces of any size', async () => {
    const archive = bytes(real.archive)
    for (const piece of [1, 511, 4096, archive.length]) {
      const stream = new ReadableStream<Uint8Array>({
        start(controller) {
          for (let at = 0; at < archive.length; at += piece) controller.enqueue(archive.slice(at, at + piece))
          controller.close()
        },
      })
      const files: Files = {}
      for await (const file of filesOf(stream)) files[file.path] = file.bytes
      expect(files['checkpoint']).toEqual(OLD['checkpoint'])
      expect(Object.keys(files)).toEqual(['checkpoint', 'key', 'tile/entries/000.p/7', 'personal/000.p/7', 'tile/0/000.p/7', 'manifest'])
    }
    const short = new Response(archive.slice(0, 3000)).body
    await expect((async () => { for await (const _file of filesOf(short as ReadableStream<Uint8Array>)); })()).rejects.toMatchObject({ code: 'archiveBroken' })
  })

  it('paths of tiles are those of C2SP', () => {
    expect(tilePath({ level: 0, index: 0, width: 256 })).toBe('tile/0/000')
    expect(tilePath({ level: 0, index: 1_234_067, width: 256 })).toBe('tile/0/x001/x234/067')
    expect(tilePath({ level: 1, index: 273, width: 112 })).toBe('tile/1/273.p/112')
    expect(tilePath({ index: 1000, width: 1 })).toBe('tile/entries/x001/000.p/1')
    expect(tileOf(1, 0, 70_000)).toEqual({ level: 1, index: 0, width: 256 })
    expect(tileOf(1, 1, 70_000)).toEqual({ level: 1, index: 1, width: 17 })
    expect(() => tileOf(1, 2, 70_000)).toThrow()
  })

  it('a checkpoint has one spelling', () => {
    const root = '47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='
    expect(parseCheckpoint(`o\n0\n${root}\n`).size).toBe(0)
    for (const bad of ['', `o\n1\n${root}`, `\n1\n${root}\n`, `o\n01\n${root}\n`, `o\n+1\n${root}\n`, `o\n1\n${root}\nmore\n`, `o\n1\n${root.slice(0, -1)}\n`, `o\n1\n${root} \n`, `o\n1\n${root.slice(0, 42)}V=\n`]) {
      expect(() => parseCheckpoint(bad)).toThrow()
    }
  })

  it('a key is of its name, and signs the same by the browser and by the library', async () => {
    const key = await parseKey(KEY)
    await expect(parseKey(KEY.replace('2026', '2027'))).rejects.toMatchObject({ code: 'keyMalformed' })
    const note = parseNote(NOW['checkpoint'] ?? new Uint8Array())
    await checkSignature(note, key)
    const signature = note.signatures[0]?.signature ?? new Uint8Array()
    for (const native of [true, false]) {
      expect(await verifyEd25519(key.key, utf8(note.text), signature, Promise.resolve(native))).toBe(true)
      expect(await verifyEd25519(key.key, utf8(`${note.text} `), signature, Promise.resolve(native))).toBe(false)
      expect(await verifyEd25519(new Uint8Array(32).fill(2), utf8(note.text), signature, Promise.resolve(native))).toBe(false)
    }
  })
})

async function keyNamed(name: string, key: string): Promise<string> {
  const raw = new Uint8Array([1, ...Buffer.from(key, 'hex')])
  const id = Buffer.from(await crypto.subtle.digest('SHA-256', new Uint8Array([...utf8(`${name}\n`), ...raw]))).subarray(0, 4)
  return `${name}+${id.toString('hex')}+${base64(raw)}`
}
