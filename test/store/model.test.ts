import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FastCheck from "fast-check"
import { inject } from "vitest"
import { memory, redis } from "./backends.js"
import { makeSide, Walker, walks } from "./model.js"

/** What must have come up in the walks of a test, or it shows nothing. */
const usual = [
  ...["Granted", "Waiting", "Refused"].map((tag) => `acquire ${tag}`),
  ...["Held", "Waiting", "Gone"].map((tag) => `refresh ${tag}`),
  ...["Granted", "Revoked"].map((tag) => `inbox ${tag}`)
]

describe("the store in memory and the one on Redis", () => {
  it.live("answer and tell the same on random walks on which nothing expires", () =>
    Effect.gen(function*() {
      const left = yield* makeSide(redis(inject("redisUrl")))
      const right = yield* makeSide(memory)
      const seen = new Map<string, number>()
      const all = walks({ keys: 2, times: [30_000, 60_000, 120_000], sleeps: 0, steps: 30 })
      const property = FastCheck.asyncProperty(all, ([commands = []]) => {
        const walker = new Walker(seen)
        return Effect.runPromise(
          Effect.forEach(commands, (command) => walker.step(left, right, command), { discard: true })
        )
      })
      yield* Effect.promise(() => FastCheck.assert(property, { numRuns: 2_000, interruptAfterTimeLimit: 25_000 }))
      for (const what of usual) assert.isAbove(seen.get(what) ?? 0, 0, what)
    }))

  it.live("answer and tell the same on random walks on which leases and waiters die", () =>
    Effect.gen(function*() {
      const left = yield* makeSide(redis(inject("redisUrl")))
      const right = yield* makeSide(memory)
      const seen = new Map<string, number>()
      const short = 300
      const all = walks({ keys: 5, times: [short, short, 60_000], sleeps: 2, steps: 50 })
      const property = FastCheck.asyncProperty(all, async (parts) => {
        const walker = new Walker(seen)
        for (const commands of parts) {
          const startedAt = performance.now()
          const walked = await Effect.runPromiseExit(
            Effect.forEach(commands, (command) => walker.step(left, right, command), { discard: true })
          )
          // On a machine that is so slow, something may have expired on one side only: that shows nothing.
          FastCheck.pre(performance.now() - startedAt < short / 2)
          if (Exit.isFailure(walked)) throw Cause.squash(walked.cause)
          walker.part++
          await Effect.runPromise(Effect.sleep(short + 50))
        }
      })
      yield* Effect.promise(() => FastCheck.assert(property, { numRuns: 7, interruptAfterTimeLimit: 15_000 }))
    }))
})
