import { expect, test } from 'vitest'
import { penalty, qrModules, qrPath } from './qr'

/** Read by an independent decoder (jsQR), as were codes of 29 of the 40 versions, when this was written. */
const HAFEN = `
#######..####.#######
#.....#...#...#.....#
#.###.#.#...#.#.###.#
#.###.#.#.#...#.###.#
#.###.#.###.#.#.###.#
#.....#.##.#..#.....#
#######.#.#.#.#######
........#............
#.#####..#.#..#####..
#.#.##.###.####...#..
##.####.#.#.#.##.###.
#.#..#.#.######..##..
..##.###.##.#..#..#.#
........###.#..#.##..
#######..###.#..#..#.
#.....#.#......#####.
#.###.#.#.##.#..#.##.
#.###.#.#..#####.##..
#.###.#.###.#.##.##..
#.....#...#########..
#######.##..#...#.##.`.trim()

test('draws a code as decoders read it', () => {
  const drawn = qrModules('HAFEN')?.map((row) => row.map((dark) => (dark ? '#' : '.')).join('')).join('\n')
  expect(drawn).toBe(HAFEN)
})

test('takes the smallest version that holds the text', () => {
  const version = (length: number): number | undefined => {
    const size = qrModules('x'.repeat(length))?.length
    return size && (size - 17) / 4
  }
  // Table 7 of the standard, level M, bytes.
  expect([14, 15, 26, 27, 180, 181, 213, 214].map(version)).toEqual([1, 2, 2, 3, 9, 10, 10, 11])
  expect(version(2331)).toBe(40)
  expect(version(2332)).toBeUndefined()
}, 20_000)

test('counts what makes a code hard to read', () => {
  const light = Array.from({ length: 5 }, () => new Array<boolean>(5).fill(false))
  // Ten runs of five, sixteen squares, and no dark module at all.
  expect(penalty(light)).toBe(10 * 3 + 16 * 3 + 10 * 10)
})

test('gives a path with the quiet zone around', () => {
  expect(qrPath([[true, false], [false, true]])).toBe('M4 4h1v1h-1zM5 5h1v1h-1z')
})
