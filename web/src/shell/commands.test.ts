import { expect, it } from 'vitest'
import { matches, type Command } from './commands'

const command = (label: string, hint = ''): Command => ({ id: label, label, hint, run: () => undefined })
const labels = (text: string): string[] =>
  matches([command('Maschinen', 'harbour'), command('web-1', 'Maschinen'), command('Karte'), command('Übersicht')], text).map((one) => one.label)

it('finds by parts of words, the name before what it is', () => {
  expect(labels('masch')).toEqual(['Maschinen', 'web-1'])
  expect(labels('web masch')).toEqual(['web-1'])
  expect(labels('ubers')).toEqual(['Übersicht'])
  expect(labels('nothing')).toEqual([])
  expect(labels('  ')).toHaveLength(4)
})
