/** `it.effect` and `it.live` of Effect 4's vitest give every test a scope. */
import * as Vitest from "effect3-vitest"

export * from "effect3-vitest"

export const it = Object.assign(
  ((...args: Parameters<typeof Vitest.it>) => Vitest.it(...args)) as typeof Vitest.it,
  Vitest.it,
  { effect: Vitest.it.scoped, live: Vitest.it.scopedLive }
)
