/** Options of the layers that can only be a mistake. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Layer } from "effect"
import { inject } from "vitest"
import { Dlock } from "../../src/index.js"

const mistakes: Record<string, ReadonlyArray<unknown>> = {
  prefix: ["\ud800", "a\udfff", 1],
  ttl: [0, -1, 1, NaN, Infinity, "soon", "366 days"],
  commandTimeout: [0, -1, 1, NaN, Infinity, "soon"]
}

describe("an option of a layer that can only be a mistake", () => {
  for (const [name, values] of Object.entries(mistakes)) {
    it.scoped(`dies, and the message names it: ${name}`, () =>
      Effect.forEach(values, (value) =>
        Effect.gen(function*() {
          const options = { [name]: value } as Dlock.Options
          const exit = yield* Effect.exit(Layer.build(Dlock.layerRedis({ ...options, url: inject("redisUrl") })))
          assert(Exit.isFailure(exit))
          assert(Cause.isDie(exit.cause))
          assert.include(String(Cause.squash(exit.cause)), `\`${name}\``)
        })))
  }
})
