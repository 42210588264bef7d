import { expect, test } from 'vitest'
import { clientName, deviceName, inGroups, invitationToken, isAddress, recoveryFile, secondFactorOf, secondsIn, waitText } from './secrets'
import { strengthOf } from './strength'

test('finds the secret of an invitation in what was handed over', () => {
  expect(invitationToken(' hafen_inv_a ')).toBe('hafen_inv_a')
  expect(invitationToken('https://hafen.example.org/invitation#hafen_inv_a\n')).toBe('hafen_inv_a')
})

test('tells a one-time code from a recovery code', () => {
  expect(secondFactorOf(' 123 456 ')).toEqual({ totp: '123456' })
  expect(secondFactorOf(' abcd-efgh ')).toEqual({ recovery_code: 'abcd-efgh' })
})

test('reads the waiting time', () => {
  expect(secondsIn('too many attempts: try again in 64 s; a passkey works at once')).toBe(64)
  expect(secondsIn('slowly')).toBeUndefined()
  expect(waitText(64)).toBe('1:04')
})

test('groups, files and names', () => {
  expect(inGroups('ABCDEFGHIJ')).toBe('ABCD EFGH IJ')
  expect(recoveryFile('Hafen', ['a', 'b'], 'today')).toBe('Hafen\ntoday\n\na\nb\n')
  expect(isAddress('127.0.0.1')).toBe(true)
  expect(isAddress('[::1]')).toBe(true)
  expect(isAddress('localhost')).toBe(false)
  const agent = 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36'
  expect(deviceName(agent)).toBe('Linux · Chrome')
  expect(clientName(agent)).toBe('Linux · Chrome')
  expect(clientName('hafen/0.1.0 (Linux)')).toBe('hafen/0.1.0 (Linux)')
})

test('hints at how good a password is', () => {
  expect(strengthOf('')).toBe('empty')
  expect(strengthOf('krk1')).toBe('short')
  expect(strengthOf('aaaaaaaaaaaa')).toBe('weak')
  expect(strengthOf('qwertzuiop')).toBe('weak')
  expect(strengthOf('2024-11-30')).toBe('weak')
  expect(strengthOf('olga.meier1', ['Olga Meier'])).toBe('weak')
  expect(strengthOf('ruder7Tee')).toBe('fair')
  expect(strengthOf('möwe gabel leise turm')).toBe('good')
})
