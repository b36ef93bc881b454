/** Options of the layers: what they are by default, and those that can only be a mistake. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Layer } from "effect"
import { inject } from "vitest"
import { Dlock } from "../../src/index.js"
import * as Assembly from "../../src/internal/dlock.js"
import type { FinishRequest, Stores } from "../../src/internal/flightStore.js"
import * as Memory from "../../src/internal/memory/store.js"
import type { AcquireRequest } from "../../src/internal/store.js"

/** A service in memory, and what it asks of its store. */
const watched = (options: Dlock.Options = {}) =>
  Effect.gen(function*() {
    const server = yield* Memory.makeServer
    const { flights, inbox, probe, ...store } = yield* server.connect("inbox")
    const acquires: Array<AcquireRequest> = []
    const finishes: Array<FinishRequest> = []
    const watching: Stores = {
      ...store,
      inbox,
      probe,
      acquire: (request) => {
        acquires.push(request)
        return store.acquire(request)
      },
      flights: {
        ...flights,
        finish: (request) => {
          finishes.push(request)
          return flights.finish(request)
        }
      }
    }
    return { dlock: yield* Assembly.make(watching, options), acquires, finishes }
  })

describe("by default", () => {
  it.scoped("a lease and the liveness of a waiter last 10 seconds", () =>
    Effect.gen(function*() {
      const { acquires, dlock } = yield* watched()
      yield* dlock.once("k")
      assert.deepInclude({ ...acquires[0] }, { ttlMillis: 10_000, livenessMillis: 10_000 })
    }))

  for (const [retention, millis] of [[undefined, 15_000], [1_000, 15_000], [60_000, 60_000]] as const) {
    it.scoped(`an outcome stays for 15 seconds, or fanout.retention when that is longer: ${retention}`, () =>
      Effect.gen(function*() {
        const { dlock, finishes } = yield* watched({ fanout: { retention } })
        yield* dlock.fanout("id", Effect.succeed(1))
        assert.strictEqual(finishes[0]?.retentionMillis, millis)
      }))
  }

  it.scoped("an outcome of 1 MiB is shared, and one of a byte more is not", () =>
    Effect.gen(function*() {
      const { dlock, finishes } = yield* watched()
      const bytes = 2 ** 20
      yield* dlock.fanout("id", Effect.succeed(""))
      const fits = "x".repeat(bytes - (finishes[0]?.payload.length ?? 0))
      assert.strictEqual(yield* dlock.fanout("id", Effect.succeed(fits)), fits)
      assert.strictEqual(finishes[1]?.payload.length, bytes)
      const error = yield* Effect.flip(dlock.fanout("id", Effect.succeed(`${fits}x`)))
      assert.deepInclude({ ...error }, { _tag: "FanoutError", reason: "TooLarge" })
    }))
})

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
