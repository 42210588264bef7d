import { Text } from '@codemirror/state'
import { expect, it } from 'vitest'
import { rangeOf } from './editor'

const doc = Text.of(['# größer 🚢', 'imag = "web"', '[machine.web]'])
const marked = (line: number, column: number): string => {
  const { from, to } = rangeOf(doc, { message: '', line, column })
  return doc.sliceString(from, to)
}

it('marks the word that a problem stands at', () => {
  expect(marked(2, 1)).toBe('imag')
  expect(marked(2, 8)).toBe('"web"')
  expect(marked(3, 1)).toBe('[machine.web]')
  expect(marked(1, 10)).toBe('🚢')
})

it('stays within the manifest whatever it is told', () => {
  for (const [line, column] of [[0, 0], [99, 99], [2, 400]] as const) {
    const { from, to } = rangeOf(doc, { message: '', line, column })
    expect(from).toBeLessThanOrEqual(to)
    expect(to).toBeLessThanOrEqual(doc.length)
  }
})
