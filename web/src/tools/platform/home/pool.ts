// At most so many at a time: a screen that shows many projects must not keep the platform from answering others.

export interface Pool {
  run: <T>(work: () => Promise<T>) => Promise<T>
}

export function pool(most: number): Pool {
  let running = 0
  const waiting: (() => void)[] = []

  async function run<T>(work: () => Promise<T>): Promise<T> {
    if (running >= most) await new Promise<void>((go) => waiting.push(go))
    else running += 1
    try {
      return await work()
    } finally {
      // The place goes to the next in line, or is free.
      const next = waiting.shift()
      if (next) next()
      else running -= 1
    }
  }
  return { run }
}
