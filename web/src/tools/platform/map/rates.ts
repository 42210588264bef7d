// Requests a second, from two readings of the counters.
export interface Reading {
  /** Milliseconds. */
  at: number
  /** By backend: its endpoints and their requests so far. */
  counts: ReadonlyMap<string, ReadonlyMap<string, number>>
}

interface Counted {
  name: string
  endpoints: readonly { id: string; requests: number }[]
}

export function reading(backends: readonly Counted[], at: number): Reading {
  return { at, counts: new Map(backends.map((backend) => [backend.name, new Map(backend.endpoints.map((one) => [one.id, one.requests]))])) }
}

export function ratesBetween(before: Reading | undefined, now: Reading): Map<string, number> {
  const rates = new Map<string, number>()
  const seconds = before ? (now.at - before.at) / 1000 : 0
  if (!before || seconds <= 0) return rates
  for (const [name, counts] of now.counts) {
    const old = before.counts.get(name)
    if (!old) continue
    let requests = 0
    for (const [id, count] of counts) {
      const was = old.get(id)
      // A new endpoint, or one that counts from the start again, tells nothing of this span.
      if (was !== undefined && count >= was) requests += count - was
    }
    rates.set(name, requests / seconds)
  }
  return rates
}
