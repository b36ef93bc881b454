import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { Backend } from "../world.js"
import {
  almost,
  gone,
  granted,
  held,
  long,
  pastShort,
  refused,
  short,
  target,
  together,
  waiting,
  within,
  world
} from "../world.js"

export const queue = ({ elapse, make, theorem }: Backend): void => {
  theorem(
    "a newcomer to a lock whose holder is over lets the first waiter in, and waits behind it",
    () =>
      Effect.gen(function*() {
        const { a, b, c } = yield* world(make)
        yield* a.once("A", { ttl: short })
        waiting(yield* b.lock("B"))
        yield* elapse(pastShort)
        const { holder, rank } = waiting(yield* c.lock("C"))
        assert.strictEqual(rank, 0)
        assert.deepStrictEqual(yield* b.events, [{ _tag: "Granted", token: "B", fence: holder?.fence ?? 0 }])
      })
  )

  theorem("a free lock is granted to who would have waited, too", () =>
    Effect.gen(function*() {
      const { a, b } = yield* world(make)
      granted(yield* a.lock("A"))
      refused(yield* b.once("B"))
    }))

  theorem("waiters are granted first in, first out", () =>
    Effect.gen(function*() {
      const { a, b, c } = yield* world(make)
      yield* a.once("0")
      for (let i = 1; i <= 9; i++) waiting(yield* [a, b, c][i % 3]!.lock(String(i)))
      const order: Array<string> = []
      for (let i = 0; i <= 9; i++) {
        yield* b.leave(String(i))
        for (const client of [a, b, c]) {
          for (const event of yield* client.events) order.push(event._tag === "Granted" ? event.token : event._tag)
        }
      }
      assert.deepStrictEqual(order, ["1", "2", "3", "4", "5", "6", "7", "8", "9"])
    }))

  theorem("a leave grants the next waiter and tells only its process", () =>
    Effect.gen(function*() {
      const { a, b, c } = yield* world(make)
      const first = granted(yield* a.once("A"))
      yield* b.lock("B")
      yield* c.lock("C")
      yield* a.leave("A")
      const { fence } = held(yield* b.refresh("B"))
      assert.isAbove(fence, first)
      assert.deepStrictEqual(yield* b.events, [{ _tag: "Granted", token: "B", fence }])
      assert.deepStrictEqual([...yield* a.events, ...yield* c.events], [])
    }))

  theorem("an attempt that does not wait never overtakes the queue", () =>
    Effect.gen(function*() {
      const { a, b, c, key } = yield* world(make)
      yield* a.once("A", { limit: 2, metadata: "holder" })
      waiting(yield* b.lock("B", { limit: 2, permits: 2 }))
      const [blocker] = refused(yield* c.once("C", { limit: 2 }))
      assert.strictEqual(blocker.key, key)
      assert.strictEqual(blocker.holder?.metadata, "holder")
      yield* b.leave("B")
      granted(yield* c.once("C2", { limit: 2 }))
    }))

  theorem("waiting answers tell the last fence, rank, liveness left and the first end", () =>
    Effect.gen(function*() {
      const { a, b, c } = yield* world(make)
      const terms = { limit: 2 }
      yield* a.once("A1", { ...terms, ttl: 50_000 })
      const lastFence = granted(yield* a.once("A2", { ...terms, ttl: 30_000 }))
      const check = (answer: ReturnType<typeof waiting>, rank: number, liveness: number) => {
        assert.deepInclude(answer, { rank, lastFence })
        almost(answer.remainingMillis, liveness)
        almost(answer.holder?.endsMillis, 30_000)
        assert.isAbove(answer.holder!.endsMillis, 0)
      }
      check(waiting(yield* b.lock("B", { ...terms, liveness: 40_000 })), 0, 40_000)
      check(waiting(yield* c.lock("C1", terms)), 1, long)
      check(waiting(yield* c.lock("C2", terms)), 2, long)
      check(waiting(yield* b.refresh("B", { liveness: 1 })), 0, 40_000)
      check(waiting(yield* c.refresh("C1")), 1, long)
      check(waiting(yield* c.refresh("C2")), 2, long)
      yield* b.leave("B")
      check(waiting(yield* c.refresh("C2")), 1, long)
    }))

  theorem("a waiting answer after a grant tells a fence as high as that grant", () =>
    Effect.gen(function*() {
      const { a, b, c } = yield* world(make)
      yield* a.once("A")
      yield* b.lock("B")
      yield* c.lock("C")
      yield* a.leave("A")
      const { fence } = held(yield* b.refresh("B"))
      assert.strictEqual(waiting(yield* c.refresh("C")).lastFence, fence)
    }))

  theorem("the end of the present lease moves when it is renewed", () =>
    Effect.gen(function*() {
      const { a, b } = yield* world(make)
      yield* a.once("A", { ttl: 10_000 })
      assert.isAtMost(waiting(yield* b.lock("B")).holder!.endsMillis, 10_000)
      yield* a.refresh("A", { ttl: 50_000 })
      almost(waiting(yield* b.refresh("B")).holder?.endsMillis, 50_000)
    }))

  theorem("rank counts live waiters only", () =>
    Effect.gen(function*() {
      const { a, b, c } = yield* world(make)
      yield* a.once("A")
      yield* within(short, together([b.lock("dead 1", { liveness: short }), b.lock("dead 2", { liveness: short })]))
      yield* elapse(pastShort)
      assert.strictEqual(waiting(yield* c.lock("C")).rank, 0)
      assert.strictEqual(waiting(yield* c.refresh("C")).rank, 0)
    }))

  theorem("rank counts live waiters only, in the answer of a refresh too", () =>
    Effect.gen(function*() {
      const { a, b } = yield* world(make)
      yield* a.once("A")
      yield* within(short, together([b.lock("dead", { liveness: short }), b.lock("B")]))
      yield* elapse(pastShort)
      assert.strictEqual(waiting(yield* b.refresh("B")).rank, 0)
    }))

  theorem("the same acquire twice waits once, in its first place", () =>
    Effect.gen(function*() {
      const { a, b, c } = yield* world(make)
      yield* a.once("A")
      yield* b.lock("B")
      yield* c.lock("C")
      assert.strictEqual(waiting(yield* b.lock("B")).rank, 0)
      assert.strictEqual((yield* a.inspect()).waiting, 2)
      yield* a.leave("A")
      held(yield* b.refresh("B"))
      yield* b.leave("B")
      held(yield* c.refresh("C"))
      assert.deepInclude(yield* a.inspect(), { used: 1, waiting: 0 })
    }))

  theorem("an acquire repeated after its grant says the grant", () =>
    Effect.gen(function*() {
      const { a, b } = yield* world(make)
      yield* a.once("A")
      waiting(yield* b.lock("B"))
      yield* a.leave("A")
      const fence = granted(yield* b.lock("B"))
      assert.strictEqual(held(yield* b.refresh("B")).fence, fence)
    }))

  theorem("a waiter that left is not granted", () =>
    Effect.gen(function*() {
      const { a, b, c } = yield* world(make)
      yield* a.once("A")
      yield* b.lock("B")
      yield* c.lock("C")
      yield* b.leave("B")
      yield* a.leave("A")
      gone(yield* b.refresh("B"))
      held(yield* c.refresh("C"))
      assert.deepStrictEqual(yield* b.events, [])
    }))

  theorem("a waiter without heartbeats is dropped, and does not delay the next", () =>
    Effect.gen(function*() {
      const { a, b, c } = yield* world(make)
      yield* a.once("A")
      yield* b.lock("B", { liveness: short })
      yield* c.lock("C")
      yield* elapse(pastShort)
      yield* a.leave("A")
      const { fence } = held(yield* c.refresh("C"))
      assert.deepStrictEqual(yield* c.events, [{ _tag: "Granted", token: "C", fence }])
      assert.deepStrictEqual(yield* b.events, [])
      gone(yield* b.refresh("B"))
    }))

  theorem("heartbeats keep a waiter alive past its first liveness", () =>
    Effect.gen(function*() {
      const { a, b } = yield* world(make)
      yield* a.once("A")
      yield* within(short, together([b.lock("B", { liveness: short }), b.refresh("B")]))
      yield* elapse(pastShort)
      waiting(yield* b.refresh("B"))
    }))

  theorem("a grant out of the queue lasts only until the waiter's liveness ends", () =>
    Effect.gen(function*() {
      const { a, b, c } = yield* world(make)
      yield* a.once("A")
      yield* within(short, together([b.lock("B", { liveness: short }), b.leave("A"), b.lock("C")]))
      yield* elapse(pastShort)
      held(yield* c.refresh("C"))
      gone(yield* b.refresh("B"))
    }))

  theorem("its first refresh makes a grant out of the queue last a whole ttl", () =>
    Effect.gen(function*() {
      const { a, b } = yield* world(make)
      yield* a.once("A")
      yield* b.lock("B", { liveness: 30_000 })
      yield* a.leave("A")
      almost((yield* a.inspect()).holders[0]!.remainingMillis, 30_000)
      const renewed = held(yield* b.refresh("B", { ttl: 55_000 }))
      assert.isAbove(renewed.remainingMillis, 30_000)
      almost(renewed.remainingMillis, 55_000)
    }))

  theorem("a holder and its first waiter that die together do not stop the second", () =>
    Effect.gen(function*() {
      const { a, b, c, key } = yield* world(make)
      yield* within(short, together([a.once("A", { ttl: short }), a.lock("B", { liveness: short }), a.lock("C")]))
      yield* elapse(pastShort)
      yield* b.store.refresh({ items: [], subscribed: true, also: [target(key)] })
      held(yield* c.refresh("C"))
    }))
}
