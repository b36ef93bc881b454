/** Self-deadlock through the options and the layers of a service. */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import { inject } from "vitest"
import { Dlock } from "../../src/index.js"
import * as Assembly from "../../src/internal/dlock.js"
import * as Memory from "../../src/internal/memory/store.js"
import { newKey } from "./world.js"

const overRedis = (options: Dlock.Options) =>
  Effect.map(Layer.build(Dlock.layerRedis({ ...options, url: inject("redisUrl") })), Context.get(Dlock.Dlock))

const inMemory = Effect.map(
  Memory.makeServer(),
  (server) => (options: Dlock.Options) =>
    Effect.flatMap(server.connect(`${Math.random()}`), (store) => Assembly.make(store, options, server))
)

for (const [name, makeServer] of [["memory", inMemory], ["Redis", Effect.succeed(overRedis)]] as const) {
  describe(`self-deadlock on ${name}`, () => {
    const reasonOf = (error: object): unknown =>
      "failed" in error ? reasonOf((error.failed as [object])[0]) : "reason" in error && error.reason

    it.live("two services with one prefix on one server are found to wait for each other, others are not", () =>
      Effect.gen(function*() {
        const serve = yield* makeServer
        const [one, two, elsewhere] = yield* Effect.all([serve({}), serve({}), serve({ prefix: "elsewhere" })])
        const key = yield* newKey
        assert.strictEqual(reasonOf(yield* one.withLock(Effect.flip(two.withLock(Effect.void, key)), key)), "Reentrant")
        yield* one.once(key)
        assert.strictEqual(reasonOf(yield* Effect.flip(two.lock(key))), "Reentrant")
        if (name === "Redis") {
          yield* elsewhere.withLock(Effect.void, key)
          const otherDb = yield* Layer.build(Dlock.layerRedis({ url: `${inject("redisUrl")}/1` }))
          yield* Effect.provide(Dlock.withLock(Effect.void, key), otherDb)
        }
      }))

    it.live("what tries again by a schedule waits too: once and multi with a retry fail at once", () =>
      Effect.gen(function*() {
        const serve = yield* makeServer
        const dlock = yield* serve({ retry: Schedule.spaced("1 millis") })
        const [key, other] = yield* Effect.all([newKey, newKey])
        const asks: ReadonlyArray<Effect.Effect<unknown, object>> = [
          Effect.scoped(dlock.once(key)),
          Effect.scoped(dlock.multi([other, key]))
        ]
        for (const ask of asks) {
          assert.strictEqual(reasonOf(yield* dlock.withLock(Effect.flip(ask), key)), "Reentrant")
          yield* ask
        }
        yield* Effect.scoped(Effect.gen(function*() {
          yield* dlock.once(key)
          for (const ask of asks) assert.strictEqual(reasonOf(yield* Effect.flip(ask)), "Reentrant")
          const daemon = Effect.scoped(dlock.once(key, { reentrant: "wait" }))
          assert.isTrue(yield* Effect.isFailure(Effect.timeout(daemon, "20 millis")))
        }))
      }))
  })
}
