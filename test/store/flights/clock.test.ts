/** What becomes of flights when the server's clock goes back. */
import * as TestEdition from "#test-edition"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { inject } from "vitest"
import * as Memory from "../../../src/internal/memory/store.js"
import { flightKeysOf, openClient, redis } from "../backends.js"
import { Client, leads, world as worldOf } from "./world.js"

const long = 60_000
const url = inject("redisUrl")

describe("an outcome that is kept and lies in the future, as the server's clock went back, is not young", () => {
  it.effect("memory", () =>
    Effect.gen(function*() {
      let now = 10 * long
      const server = yield* TestEdition.byClock(() => now)(Memory.makeServer())
      const a = new Client({ store: yield* server.connect("a"), deafen: Effect.void }, "id")
      leads(yield* a.join("A", { keep: long }))
      yield* a.finish("A", "x", { keep: long })
      assert.deepStrictEqual(yield* a.join("B", { keep: long }), { _tag: "Kept", payload: "x" })
      now--
      leads(yield* a.join("C", { keep: long }))
    }))

  it.live("Redis", () =>
    Effect.gen(function*() {
      const { a, id } = yield* worldOf(redis(url))
      const client = yield* openClient(url)
      const [state] = flightKeysOf(id)
      leads(yield* a.join("A", { keep: long }))
      yield* a.finish("A", "x", { keep: long })
      assert.deepStrictEqual(yield* a.join("B", { keep: long }), { _tag: "Kept", payload: "x" })
      // As if it had been finished before the clock went back.
      const entry = (yield* Effect.promise(() => client.hget(state, "A"))) ?? ""
      const [kind, notAfter, finishedAt] = entry.split(" ")
      yield* Effect.promise(() => client.hset(state, "A", `${kind} ${notAfter} ${Number(finishedAt) + long / 2}`))
      leads(yield* a.join("C", { keep: long }))
    }))
})
