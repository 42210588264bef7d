// Alerts come oldest first and are read on from a position: what was read is kept, and the next reading goes on from there.
import { api, good, type Schemas } from '@/api/client'

const PAGE = 1000
/** Bounds what a first reading takes on a platform with a long past. */
const PAGES = 20
const WEEK = 7 * 24 * 60 * 60_000

export function alertReader(): () => Promise<Schemas['Event'][]> {
  let after = 0
  let kept: Schemas['Event'][] = []
  return async () => {
    for (let page = 0; page < PAGES; page += 1) {
      const { items } = await good(api.GET('/api/v1/access/alerts', { params: { query: { after, limit: PAGE } } }))
      kept.push(...items)
      after = items.at(-1)?.seq ?? after
      const since = Date.now() - WEEK
      kept = kept.filter((alert) => Date.parse(alert.at) > since)
      if (items.length < PAGE) break
    }
    return kept
  }
}
