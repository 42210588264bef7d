// Waiting for what comes of a click.
import assert from 'node:assert/strict'

/** Looks again and again until it holds, and gives what it found then. More often than the browser's own waiting does: there are many such looks. */
export async function until(what, holds, timeout = 15_000) {
  const end = Date.now() + timeout
  for (;;) {
    const found = await holds()
    if (found) return found
    assert.ok(Date.now() < end, `not within ${timeout / 1000} seconds: ${typeof what === 'function' ? what() : what}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
