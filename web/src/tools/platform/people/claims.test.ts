import { expect, it } from 'vitest'
import { wordsOf } from './actions'
import { parseClaims, parseKeys } from './claims'
import { invitationLink } from './link'

it('reads conditions line by line, and refuses what is none', () => {
  expect(parseClaims('project_path = acme/shop\n\nref=main\nsub = a=b*')).toEqual({ project_path: 'acme/shop', ref: 'main', sub: 'a=b*' })
  for (const bad of ['', 'ref', 'ref =', 'ref = main\nref = next', '= main']) expect(parseClaims(bad)).toBeUndefined()
})

it('reads a set of keys', () => {
  expect(parseKeys(' ')).toEqual({ given: false })
  expect(parseKeys('{"keys": []}')).toEqual({ given: true, keys: { keys: [] } })
  expect(parseKeys('{"kty": "EC"}')).toEqual({ given: true })
  expect(parseKeys('keys')).toEqual({ given: true })
})

it('offers groups, all of a kind where there are several, and single actions', () => {
  const actions = [
    { name: 'account.self', group: 'self', tells: '', dangerous: false },
    { name: 'machine.read', group: 'read', tells: 'see machines', dangerous: false },
    { name: 'machine.ssh', group: 'deploy', tells: 'log in', dangerous: false },
  ]
  expect(wordsOf(actions)).toMatchObject({ groups: ['read', 'deploy'], kinds: ['machine.*'] })
})

it('puts the secret of an invitation where no server sees it', () => {
  const link = new URL(invitationLink('hafen_inv_abc', 'https://hafen.example'))
  expect(link.pathname + link.search).toBe('/invitation')
  expect(link.hash).toBe('#hafen_inv_abc')
})
