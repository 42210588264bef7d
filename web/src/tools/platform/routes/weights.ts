// Shares of requests. The API has weights that are relative to each other; people think in per cent that add up to a hundred.

/** Whole per cents that add up to 100, the largest remainders rounded up; what gets anything gets at least one. */
export function percents(weights: readonly number[]): number[] {
  const sum = weights.reduce((all, weight) => all + weight, 0)
  if (sum <= 0) return weights.map(() => 0)
  const exact = weights.map((weight) => (weight * 100) / sum)
  const shares = exact.map((share, index) => ((weights[index] ?? 0) > 0 ? Math.max(1, Math.floor(share)) : 0))
  let left = 100 - shares.reduce((all, share) => all + share, 0)
  const byRemainder = exact.map((share, index) => ({ index, rest: share - Math.floor(share) })).filter(({ index }) => (weights[index] ?? 0) > 0)
  byRemainder.sort((a, b) => b.rest - a.rest || a.index - b.index)
  for (let turn = 0; left > 0; turn += 1, left -= 1) {
    const { index } = byRemainder[turn % byRemainder.length] ?? { index: 0 }
    shares[index] = (shares[index] ?? 0) + 1
  }
  // Those that were lifted to one are paid for by the largest.
  while (left < 0) {
    const largest = shares.indexOf(Math.max(...shares))
    shares[largest] = (shares[largest] ?? 0) - 1
    left += 1
  }
  return shares
}

/** One share set, the others moved so that all of them add up to 100 again, in the proportion that they had. */
export function balanced(weights: readonly number[], index: number, wanted: number): number[] {
  if (weights.length === 1) return [100]
  const share = Math.min(100, Math.max(0, Math.round(wanted)))
  const now = percents(weights)
  const rest = 100 - share
  const others = now.map((value, at) => (at === index ? 0 : value))
  // When the one had everything there is no proportion to keep: the others part what it gives up.
  const parts = others.some((value) => value > 0) ? others : now.map((_, at) => (at === index ? 0 : 1))
  const sum = parts.reduce((all, part) => all + part, 0)
  const exact = parts.map((part) => (part * rest) / sum)
  const moved = exact.map(Math.floor)
  let left = rest - moved.reduce((all, value) => all + value, 0)
  const order = exact.map((value, at) => ({ at, rest: value - Math.floor(value) })).filter(({ at }) => at !== index && (parts[at] ?? 0) > 0)
  order.sort((a, b) => b.rest - a.rest || a.at - b.at)
  for (const { at } of order) {
    if (left <= 0) break
    moved[at] = (moved[at] ?? 0) + 1
    left -= 1
  }
  moved[index] = share
  return moved
}
