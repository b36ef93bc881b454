/** What stays in Redis, and for how long (R21). */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { Redis } from "ioredis"
import { randomUUID } from "node:crypto"
import { inject } from "vitest"
import { connectRedis, keysOf } from "./backends.js"
import {
  Client,
  gone,
  granted,
  held,
  long,
  pastShort,
  patiently,
  refused,
  short,
  target,
  together,
  waiting,
  within
} from "./world.js"

const url = inject("redisUrl")
const day = 86_400_000

const world = Effect.gen(function*() {
  const process = yield* connectRedis(url)
  const key = randomUUID()
  return { a: new Client(process, key), client: process.client, lock: keysOf(target(key)), key }
})

/** The keys that exist, by their last part, and what is left of their time. */
const ttlsOf = (client: Redis, key: string) =>
  Effect.promise(async () => {
    const found: Record<string, number> = {}
    for (const name of keysOf(target(key))) {
      const ttl = await client.pttl(name)
      if (ttl !== -2) found[name.slice(name.lastIndexOf(":") + 1)] = ttl
    }
    return found
  })

/** What a waiter needs has an eighth to spare. */
const isAbout = (actual: number | undefined, millis: number, waiterMillis = 0) => {
  assert.isAtMost(actual ?? Infinity, millis + waiterMillis / 8)
  assert.isAbove(actual ?? 0, millis - 10_000)
}

describe("what stays in Redis", () => {
  it.live("is nothing after an attempt that was refused by an unknown lock's own limit", () =>
    Effect.gen(function*() {
      const { a, client, key } = yield* world
      yield* a.once("A", { permits: 2, limit: 1 })
      assert.deepStrictEqual(yield* ttlsOf(client, key), {})
    }))

  it.live("is nothing after a look, a refresh, a leave or a revoke of an unknown lock", () =>
    Effect.gen(function*() {
      const { a, client, key } = yield* world
      yield* a.inspect()
      yield* a.refresh("A")
      yield* a.leave("A")
      yield* a.revoke(Number.MAX_SAFE_INTEGER)
      assert.deepStrictEqual(yield* ttlsOf(client, key), {})
    }))

  const ends: ReadonlyArray<readonly [string, (a: Client) => Effect.Effect<unknown, unknown>]> = [
    ["a release", (a) => a.leave("A")],
    ["a release and a cancel in one", (a) => a.leave("B", "A")],
    ["a cancel and a release", (a) => Effect.andThen(a.leave("B"), a.leave("A"))],
    ["a revoke", (a) => Effect.flatMap(a.inspect(), ({ lastFence }) => a.revoke(lastFence))]
  ]
  for (const [what, end] of ends) {
    it.live(`is the last fence for a day after ${what}`, () =>
      Effect.gen(function*() {
        const { a, client, key } = yield* world
        yield* a.once("A")
        if (what.includes("cancel")) yield* a.lock("B")
        yield* end(a)
        const found = yield* ttlsOf(client, key)
        assert.deepStrictEqual(Object.keys(found), ["fence"])
        isAbout(found["fence"], long + day, what.includes("cancel") ? long : 0)
      }))
  }

  for (const [i, name] of ["fence", "state", "held", "queue", "alive"].entries()) {
    it.live(`is nothing more when the key "${name}" was evicted and all have left, and the lock is free`, () =>
      Effect.gen(function*() {
        const { a, client, key, lock } = yield* world
        yield* a.once("A")
        yield* a.lock("B")
        yield* Effect.promise(() => client.del(lock[i]!))
        yield* a.refresh("A")
        yield* a.refresh("B")
        yield* a.leave("A")
        yield* a.leave("B")
        assert.includeMembers(["fence"], Object.keys(yield* ttlsOf(client, key)))
        granted(yield* a.once("C"))
      }))
  }

  it.live("is the last fence also when a leave finds no deadline in what was evicted", () =>
    Effect.gen(function*() {
      const { a, client, key, lock: [, state, held, , alive] } = yield* world
      const fence = granted(yield* a.once("A"))
      yield* a.lock("B")
      yield* Effect.promise(() => client.del(state, held, alive))
      yield* a.leave("A")
      isAbout((yield* ttlsOf(client, key))["fence"], long + day, long)
      assert.strictEqual((yield* a.inspect()).lastFence, fence)
    }))

  it.live("does not block the lock when the holders alone were evicted", () =>
    Effect.gen(function*() {
      const { a, client, lock: [, , held] } = yield* world
      yield* a.once("A")
      yield* Effect.promise(() => client.del(held))
      granted(yield* a.once("B"))
    }))

  it.live("does not stop a leave half-way when what says who is alive was evicted", () =>
    Effect.gen(function*() {
      for (const limit of [1, 2]) {
        const { a, client, lock: [, , , , alive] } = yield* world
        for (let i = 0; i < limit; i++) granted(yield* a.once(`H${i}`, { limit }))
        waiting(yield* a.lock("W1", { limit }))
        yield* Effect.promise(() => client.del(alive))
        waiting(yield* a.lock("W2", { limit }))
        yield* a.leave("H0")
        assert.deepInclude(yield* a.inspect(), { used: limit, waiting: 0 })
        held(yield* a.refresh("W2"))
      }
    }))

  it.live("does not count for ever who was evicted from the state", () =>
    Effect.gen(function*() {
      const { a, client, lock: [, state] } = yield* world
      yield* a.once("H", { limit: 3 })
      yield* Effect.promise(() => client.del(state))
      waiting(yield* a.lock("X", { limit: 3 }))
      waiting(yield* a.lock("Y", { limit: 4 }))
      waiting(yield* a.lock("Z", { limit: 4 }))
      // How much H holds is not known any more, so it counts for all there is.
      waiting(yield* a.refresh("X"))
      yield* a.leave("H")
      for (const token of ["X", "Y", "Z"]) held(yield* a.refresh(token))
      assert.deepInclude(yield* a.inspect(), { used: 3, waiting: 0 })
    }))

  it.live("counts for all there is while its state was evicted, whatever the limit", () =>
    Effect.gen(function*() {
      const { a, client, key, lock: [, state] } = yield* world
      const limit = 5
      yield* a.once("H", { limit, permits: limit })
      yield* Effect.promise(() => client.del(state))
      refused(yield* a.once("A", { limit }))
      waiting(yield* a.lock("B", { limit }))
      isAbout((yield* ttlsOf(client, key))["state"], long, long)
      yield* a.leave("H")
      held(yield* a.refresh("B"))
    }))

  it.live("R46: a forced release frees what was evicted", () =>
    Effect.gen(function*() {
      for (const evicted of [0, 1] as const) {
        const { a, client, lock } = yield* world
        const fence = granted(yield* a.once("H"))
        yield* Effect.promise(() => client.del(lock[evicted]))
        // As `Dlock.forceRelease` does.
        assert.strictEqual(yield* a.revoke((yield* a.inspect()).lastFence), 1)
        gone(yield* a.refresh("H"))
        assert.isAbove(granted(yield* a.once("B")), fence)
      }
    }))

  it.live("R46: a reader does not get in beside a writer whose entry was evicted, whoever leaves", () =>
    Effect.gen(function*() {
      const { a, client, lock: [, state] } = yield* world
      const limit = 1_000
      yield* a.once("writer", { limit, permits: limit })
      yield* a.lock("reader", { limit })
      yield* Effect.promise(() => client.del(state))
      yield* a.leave("reader")
      refused(yield* a.once("reader 2", { limit }))
      gone(yield* a.refresh("writer"))
      yield* a.leave("writer")
      granted(yield* a.once("reader 3", { limit }))
    }))

  it.live("R46: three holders of three whose entries were evicted are three still, when one of them leaves", () =>
    Effect.gen(function*() {
      const { a, client, lock: [, state] } = yield* world
      for (const token of ["A", "B", "C"]) yield* a.once(token, { limit: 3 })
      yield* Effect.promise(() => client.del(state))
      yield* a.leave("A")
      refused(yield* a.once("D", { limit: 3 }))
      for (const token of ["B", "C"]) yield* a.leave(token)
      for (const token of ["E", "F", "G"]) granted(yield* a.once(token, { limit: 3 }))
    }))

  it.live("is refused with words when the fencing token has no number left", () =>
    Effect.gen(function*() {
      const { a, client, lock: [fence] } = yield* world
      yield* Effect.promise(() => client.set(fence, String(Number.MAX_SAFE_INTEGER)))
      for (const attempt of [a.once("A"), a.lock("A")]) {
        const error = yield* Effect.flip(attempt)
        assert.deepInclude({ ...error }, { _tag: "BackendError", reason: "Refused", outcome: "NotApplied" })
        assert.include(error.message, "the largest number")
      }
      yield* Effect.promise(() => client.set(fence, String(Number.MAX_SAFE_INTEGER - 1)))
      assert.strictEqual(granted(yield* a.once("A")), Number.MAX_SAFE_INTEGER)
    }))

  it.live("has an expiry when a waiter leaves what was evicted", () =>
    Effect.gen(function*() {
      const { a, client, key, lock: [, state] } = yield* world
      yield* a.once("H")
      yield* a.lock("W")
      yield* Effect.promise(() => client.del(state))
      yield* a.leave("W")
      for (const millis of Object.values(yield* ttlsOf(client, key))) assert.isAbove(millis, 0)
    }))

  it.live("does not make room for others when an evicted holder wants less", () =>
    Effect.gen(function*() {
      const { a, client, lock: [, , holders] } = yield* world
      const limit = 5
      yield* a.once("H", { limit, permits: limit })
      yield* Effect.promise(() => client.del(holders))
      granted(yield* a.once("A", { limit }))
      yield* a.store.lower(target(a.key), "H", 1)
      assert.deepInclude(yield* a.inspect(), { used: 1 })
      refused(yield* a.once("B", { limit, permits: limit }))
    }))

  it.live("does not let who left after its eviction free what others hold", () =>
    Effect.gen(function*() {
      for (const limit of [1, 2]) {
        const { a, client, lock: [, , held] } = yield* world
        yield* a.once("A", { limit })
        yield* Effect.promise(() => client.del(held))
        for (let i = 0; i < limit; i++) granted(yield* a.once(`B${i}`, { limit }))
        yield* a.leave("A")
        refused(yield* a.once("C", { limit }))
      }
    }))

  it.live("lasts as long as the latest deadline of several holders", () =>
    Effect.gen(function*() {
      const { a, client, key } = yield* world
      const check = (names: ReadonlyArray<string>, millis: number, waiterMillis = 0) =>
        Effect.map(ttlsOf(client, key), (found) => {
          assert.sameMembers(Object.keys(found), ["fence", ...names])
          for (const name of names) isAbout(found[name], millis, waiterMillis)
          isAbout(found["fence"], day + millis, waiterMillis)
        })
      const limit = 3
      yield* a.once("A", { limit, ttl: 20_000 })
      yield* a.once("B", { limit, ttl: 50_000 })
      yield* check(["state", "held"], 50_000)
      yield* a.once("C", { limit, ttl: 30_000 })
      yield* check(["state", "held"], 50_000)
      yield* a.lock("D", { limit, liveness: 90_000 })
      yield* check(["state", "held", "queue", "alive"], 90_000, 90_000)
      yield* a.leave("B")
      yield* check(["state", "held"], 90_000, 90_000)
      yield* a.leave("C")
      yield* check(["state", "held"], 90_000, 90_000)
    }))

  it.live("lasts as long as the latest deadline in it, and the fence a day more", () =>
    Effect.gen(function*() {
      const { a, client, key } = yield* world
      const check = (expected: Record<string, number>) =>
        Effect.map(ttlsOf(client, key), (found) => {
          assert.sameMembers(Object.keys(found), Object.keys(expected))
          for (const [name, millis] of Object.entries(expected)) isAbout(found[name], millis, 100_000)
        })
      yield* a.once("A", { ttl: 50_000 })
      yield* check({ fence: day + 50_000, state: 50_000, held: 50_000 })
      yield* a.lock("B", { liveness: 30_000 })
      yield* check({ fence: day + 50_000, state: 50_000, held: 50_000, queue: 50_000, alive: 50_000 })
      yield* a.refresh("B", { liveness: 100_000 })
      yield* check({ fence: day + 100_000, state: 100_000, held: 100_000, queue: 100_000, alive: 100_000 })
      yield* a.refresh("A", { ttl: 20_000 })
      yield* check({ fence: day + 100_000, state: 100_000, held: 100_000, queue: 100_000, alive: 100_000 })
      yield* a.refresh("A", { ttl: 200_000 })
      yield* check({ fence: day + 200_000, state: 200_000, held: 200_000, queue: 200_000, alive: 200_000 })
      yield* a.leave("A")
      yield* check({ fence: day + 200_000, state: 200_000, held: 200_000 })
    }))

  it.live("of a queue that all have abandoned is the fence alone, once the deadlines have passed", () =>
    patiently(Effect.gen(function*() {
      const { a, client, key } = yield* world
      yield* within(
        short,
        together([
          a.once("A", { limit: 3, ttl: short }),
          a.once("B", { limit: 3, ttl: short }),
          a.lock("C", { limit: 3, permits: 3, liveness: short }),
          a.lock("D", { limit: 3, liveness: short })
        ])
      )
      yield* Effect.sleep(pastShort)
      const found = yield* ttlsOf(client, key)
      assert.deepStrictEqual(Object.keys(found), ["fence"])
      isAbout(found["fence"], day + short)
      granted(yield* a.once("E"))
    })))

  it.live("of an expired holder is cleared away by the next who comes, and so is a dead waiter", () =>
    patiently(Effect.gen(function*() {
      const { a, client, key, lock: [, state, held, queue, alive] } = yield* world
      yield* within(
        short,
        together([
          a.once("holder", { limit: 2 }),
          a.once("expired", { limit: 2, ttl: short }),
          a.lock("dead", { limit: 2, liveness: short }),
          a.lock("alive", { limit: 2, permits: 2 })
        ])
      )
      yield* Effect.sleep(pastShort)
      waiting(yield* a.refresh("alive"))
      yield* Effect.promise(async () => {
        assert.sameMembers(await client.hkeys(state), ["holder", "alive", "#used", "#limit", "#until", "#next"])
        assert.deepStrictEqual(await client.zrange(held, "0", "-1"), ["holder"])
        assert.deepStrictEqual(await client.zrange(queue, "0", "-1"), ["alive"])
        assert.deepStrictEqual(await client.zrange(alive, "0", "-1"), ["alive"])
      })
      assert.sameMembers(Object.keys(yield* ttlsOf(client, key)), ["fence", "state", "held", "queue", "alive"])
    })))
})
