import { describe, expect, it } from 'vitest'
import { balanced, percents } from './weights'

const sum = (shares: number[]): number => shares.reduce((all, share) => all + share, 0)

describe('per cents of weights', () => {
  it.each([
    [[80, 20], [80, 20]],
    [[1, 1, 1], [34, 33, 33]],
    [[1, 2], [33, 67]],
    [[100], [100]],
    [[3, 0], [100, 0]],
    [[0, 0], [0, 0]],
    [[9999, 1], [99, 1]],
    [[], []],
  ])('%j are %j', (weights, shares) => {
    expect(percents(weights)).toEqual(shares)
  })

  it('add up to a hundred, whatever they are', () => {
    for (let round = 0; round < 500; round += 1) {
      const weights = Array.from({ length: 1 + (round % 16) }, (_, index) => ((round * 7919 + index * 104_729) % 10_000) + 1)
      expect(sum(percents(weights))).toBe(100)
    }
  })
})

describe('a share that is moved', () => {
  it.each([
    [[80, 20], 1, 50, [50, 50]],
    [[60, 30, 10], 0, 20, [20, 60, 20]],
    [[100, 0], 0, 70, [70, 30]],
    [[100, 0, 0], 0, 50, [50, 25, 25]],
    [[50, 50], 0, 100, [100, 0]],
    [[50, 50, 0], 0, 20, [20, 80, 0]],
    [[1, 1], 1, 250, [0, 100]],
    [[7], 0, 10, [100]],
  ])('of %j the number %i to %i: %j', (weights, index, wanted, after) => {
    expect(balanced(weights, index, wanted)).toEqual(after)
  })

  it('always leaves a hundred', () => {
    for (let wanted = 0; wanted <= 100; wanted += 1) expect(sum(balanced([13, 29, 5, 0, 53], 2, wanted))).toBe(100)
  })
})
