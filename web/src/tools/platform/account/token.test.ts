import { expect, test } from 'vitest'
import { opens, scopesOf } from './token'

const action = (name: string, group: string) => ({ name, group, dangerous: false, tells: `may ${name}` })

test('offers groups, kinds and actions, and no kind of one', () => {
  const scopes = scopesOf([action('machine.read', 'read'), action('machine.write', 'operate'), action('event.read', 'read')])
  expect(scopes.map((scope) => scope.value)).toEqual(['read', 'operate', 'machine.*', 'machine.read', 'machine.write', 'event.read'])
})

test('a token that is being replaced may still open', () => {
  expect(['active', 'rotating', 'ended', 'revoked', 'expired'].filter(opens)).toEqual(['active', 'rotating'])
})
