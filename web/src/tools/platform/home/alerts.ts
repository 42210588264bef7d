// Alerts of the last week, of which there are rarely many.
import { api, good, type Schemas } from '@/api/client'

const MOST = 1000
const WEEK = 7 * 24 * 60 * 60_000

export async function readAlerts(): Promise<Schemas['Event'][]> {
  const { items } = await good(api.GET('/api/v1/access/alerts', { params: { query: { order: 'newest', limit: MOST } } }))
  const since = Date.now() - WEEK
  return items.filter((alert) => Date.parse(alert.at) > since)
}
