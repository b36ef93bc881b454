/** Random numbers that are the same for the same seed, everywhere and always. */
export interface Random {
  /** At least 0, less than 1. */
  readonly next: () => number
  readonly between: (min: number, max: number) => number
  /** From 0 to `count - 1`. */
  readonly index: (count: number) => number
  readonly chance: (probability: number) => boolean
  readonly pick: <A>(items: ReadonlyArray<A>) => A
}

/** mulberry32: 32 bits of state are plenty for one run. */
export const make = (seed: number): Random => {
  let state = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let x = Math.imul(state ^ (state >>> 15), state | 1)
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61)
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32
  }
  const index = (count: number): number => Math.floor(next() * count)
  return {
    next,
    index,
    between: (min, max) => min + next() * (max - min),
    chance: (probability) => next() < probability,
    pick: (items) => items[index(items.length)]!
  }
}
