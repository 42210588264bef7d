import { describe, expect, it } from 'vitest'
import { completeAt } from './complete'
import { outlineOf, placeAt, sourcesOf } from './toml'

const MANIFEST = `project = "shop"
[network.backend]
[image.web]
distribution = "debian"
files."/etc/x" = { source = "x.conf" }
files."/etc/y" = { content = "source = \\"no\\"" } # source = "neither"
[machine.web]
user_data = { source = "cloud.yaml" }
[app.shop]
source = { repository = "shop" }
`

/** What is offered where the | stands. */
function offered(text: string): string[] {
  const position = text.indexOf('|')
  return completeAt(text.replace('|', ''), position)?.offers.map((one) => one.label) ?? []
}

describe('the place in a manifest', () => {
  it('is known in tables, inline tables, arrays, strings and comments', () => {
    const at = (text: string) => placeAt(text, text.length)
    expect(at('[machine.web]\ncp')).toMatchObject({ at: 'key', path: ['machine', 'web'], typed: 'cp' })
    expect(at('[machine.web]\nhealth = { http = "/", int')).toMatchObject({ at: 'key', path: ['machine', 'web', 'health'], has: ['http'] })
    expect(at('[machine.web]\npublish = [{ host = "a", port = 1 }, { ')).toMatchObject({ at: 'key', path: ['machine', 'web', 'publish'], has: [] })
    expect(at('[machine.web]\nstart = "wa')).toMatchObject({ at: 'value', path: ['machine', 'web', 'start'], typed: 'wa', quoted: true })
    expect(at('[machine.web]\nimage = ')).toMatchObject({ at: 'value', quoted: false })
    expect(at('[machine.web]\n# start = "')).toEqual({ at: 'nothing' })
    expect(at('[mach')).toMatchObject({ at: 'header', typed: '[mach' })
    expect(at('files."/etc/x".mo')).toMatchObject({ at: 'key', path: ['files', '/etc/x'], typed: 'mo' })
    expect(at('x = """\nstart = "')).toEqual({ at: 'nothing' })
  })

  it('survives what is no manifest', () => {
    for (const text of ['[', '[[', '=', '= =', '"', '{', 'a = [', 'a = {', 'a = [{', '\\', '[a', 'a.b.', ',,,', '}]', "a = '''", 'a b c = d']) {
      for (let end = 0; end <= text.length; end += 1) placeAt(text, end)
      outlineOf(`${text}\n${text}`)
    }
  })
})

it('names the files that belong to a manifest', () => {
  expect(sourcesOf(MANIFEST)).toEqual(['x.conf', 'cloud.yaml'])
})

describe('completion', () => {
  it('offers the keys that a table may have and does not have yet', () => {
    const keys = offered('[machine.web]\nimage = "web"\n|')
    expect(keys).toContain('cpus')
    expect(keys).not.toContain('image')
    expect(keys).toContain('[machine.…]')
    expect(offered('[machine.web]\nhealth = { | }')).toEqual(['http', 'tcp', 'port', 'interval', 'timeout', 'healthy_after'])
    expect(offered('|')).toContain('project')
  })

  it('offers values of an enum, with and without quotation marks', () => {
    expect(offered('[app.a]\nstrategy = "|"')).toEqual(['rolling', 'blue-green'])
    const text = '[machine.web]\nstart = '
    expect(completeAt(text, text.length)?.offers.map((one) => one.insert)).toEqual(['"warm"', '"cold"'])
    expect(offered('[route."a.b"]\nmaintenance = |')).toEqual(['true', 'false'])
    expect(offered('[network.n]\negress = |')).toEqual(['none', 'logged', '{ allow = … }'])
  })

  it('offers the sections that a key may name', () => {
    expect(offered(`${MANIFEST}on = "|"`)).toEqual(['web'])
    expect(offered(`${MANIFEST}[machine.db]\nnetwork = "|"`)).toEqual(['backend'])
    expect(offered(`${MANIFEST}[machine.db]\ndepends_on = ["|"]`)).toEqual(['machine.web', 'machine.db'])
    expect(offered(`${MANIFEST}[route."a.b"]\npaths = { "/" = "|" }`)).toEqual(['shop', 'web'])
    expect(offered(`${MANIFEST}[route."a.b"]\npaths = { "/" = { app = "|" } }`)).toEqual(['shop'])
  })
})
