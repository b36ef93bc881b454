import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { Target } from "../../../src/internal/store.js"
import type { Backend, Client } from "../world.js"
import { gone, granted, held, long, refused, target, together, waiting, within, world } from "../world.js"

const stepsMax = 64

/** Time enough to send some hundred commands together. */
const brief = 250
const pastBrief = 300

const numbers = (count: number): Array<number> => Array.from({ length: count }, (_, i) => i)

/** Queues that many waiters of one permit. */
const enqueue = (client: Client, name: string, count: number, terms: { limit: number; liveness?: number }) =>
  together(numbers(count).map((i) => client.lock(`${name} ${i}`, terms)))

export const steps = ({ elapse, make, theorem }: Backend): void => {
  theorem("1,000 readers behind a writer are granted in 16 calls, in order", () =>
    Effect.gen(function*() {
      const { a, b, key } = yield* world(make)
      const limit = 1001
      yield* a.once("writer", { limit, permits: limit })
      yield* enqueue(b, "reader", 1000, { limit })
      let { unsettled } = yield* a.store.leave([{ target: target(key), token: "writer" }])
      let calls = 1
      while (unsettled.length > 0) {
        assert.deepStrictEqual(unsettled, [target(key)])
        assert.strictEqual((yield* a.inspect()).used, calls * stepsMax)
        unsettled = (yield* a.store.refresh({ items: [], subscribed: true, also: unsettled })).unsettled
        calls++
      }
      assert.isAtMost(calls, 17)
      assert.deepInclude(yield* a.inspect(), { used: 1000, waiting: 0 })
      const events = yield* b.events
      assert.deepStrictEqual(
        events.map((event) => event._tag === "Granted" ? event.token : event._tag),
        numbers(1000).map((i) => `reader ${i}`)
      )
      const fences = events.map((event) => event._tag === "Granted" ? event.fence : 0)
      assert.deepStrictEqual(fences, Array.from(new Set(fences)).sort((x, y) => x - y))
    }))

  theorem("a refresh with items says unsettled, and answers for them all the same", () =>
    Effect.gen(function*() {
      const { a, b, key } = yield* world(make)
      const limit = 200
      yield* within(
        brief,
        together([
          b.once("writer", { limit, permits: limit, ttl: brief }),
          ...numbers(100).map((i) => b.lock(`reader ${i}`, { limit }))
        ])
      )
      yield* elapse(pastBrief)
      const item = { target: target(key), ttlMillis: long, livenessMillis: long }
      const { answer, unsettled } = yield* a.store.refresh({
        items: [{ ...item, token: "reader 0" }, { ...item, token: "reader 99" }],
        subscribed: true
      })
      held(answer[0]!)
      waiting(answer[1]!)
      assert.deepStrictEqual(unsettled, [target(key)])
    }))

  theorem("an acquire says unsettled, and never overtakes those who are left", () =>
    Effect.gen(function*() {
      const { a, b, key } = yield* world(make)
      const limit = 200
      yield* within(
        brief,
        together([
          b.once("writer", { limit, permits: limit, ttl: brief }),
          ...numbers(100).map((i) => b.lock(`reader ${i}`, { limit }))
        ])
      )
      yield* elapse(pastBrief)
      const { answer, unsettled } = yield* a.store.acquire(a.request("A", false, { limit }))
      refused(answer)
      assert.deepStrictEqual(unsettled.map(({ key }) => key), [key])
      yield* a.store.refresh({ items: [], subscribed: true, also: unsettled })
      assert.deepInclude(yield* a.inspect(), { used: 100, waiting: 0 })
      granted(yield* a.once("A2", { limit }))
    }))

  theorem("a revoke says unsettled", () =>
    Effect.gen(function*() {
      const { a, b, key } = yield* world(make)
      const limit = 200
      const fence = granted(yield* a.once("writer", { limit, permits: limit }))
      yield* enqueue(b, "reader", 100, { limit })
      const { answer, unsettled } = yield* a.store.revoke(target(key), fence, false)
      assert.strictEqual(answer, 1)
      assert.deepStrictEqual(unsettled, [target(key)])
    }))

  theorem("300 expired holders are cleared away by repeating, and the waiter is granted", () =>
    Effect.gen(function*() {
      const { a, b, key } = yield* world(make)
      const limit = 300
      yield* within(
        brief,
        together([
          ...numbers(300).map((i) => b.once(`B${i}`, { limit, ttl: brief })),
          b.lock("waiter", { limit, permits: limit })
        ])
      )
      yield* elapse(pastBrief)
      let unsettled: ReadonlyArray<Target> = [target(key)]
      for (let calls = 0; unsettled.length > 0; calls++) {
        assert.isBelow(calls, 8)
        unsettled = (yield* a.store.refresh({ items: [], subscribed: true, also: unsettled })).unsettled
      }
      held(yield* b.refresh("waiter"))
    }))

  theorem("no lease that has expired is renewed, however many have", () =>
    Effect.gen(function*() {
      const { a } = yield* world(make)
      const limit = 101
      yield* within(
        brief,
        together([
          a.once("live", { limit }),
          ...numbers(100).map((i) => a.once(`A${i}`, { limit, ttl: brief }))
        ])
      )
      yield* elapse(pastBrief)
      for (const token of ["A99", "A98", "A0"]) gone(yield* a.refresh(token))
      held(yield* a.refresh("live"))
      assert.strictEqual((yield* a.inspect()).used, 1)
    }))

  theorem("an attempt refused by too many expired leases says unsettled", () =>
    Effect.gen(function*() {
      const { a, key } = yield* world(make)
      const limit = 101
      yield* within(
        brief,
        together([
          a.once("live", { limit }),
          ...numbers(100).map((i) => a.once(`A${i}`, { limit, ttl: brief }))
        ])
      )
      yield* elapse(pastBrief)
      const { answer, unsettled } = yield* a.store.acquire(a.request("B", false, { limit, permits: 100 }))
      refused(answer)
      assert.deepStrictEqual(unsettled.map(({ key }) => key), [key])
      yield* a.store.refresh({ items: [], subscribed: true, also: unsettled })
      granted(yield* a.once("B2", { limit, permits: 100 }))
    }))

  theorem("while dead waiters are left and nothing is held, no end is told", () =>
    Effect.gen(function*() {
      const { a, b, c, key } = yield* world(make)
      yield* within(
        brief,
        together([
          b.once("B", { ttl: brief, metadata: "dead" }),
          ...numbers(150).map((i) => b.lock(`B${i}`, { liveness: brief })),
          b.lock("last")
        ])
      )
      yield* elapse(pastBrief)
      assert.deepStrictEqual(refused(yield* c.once("C")), [{ key, holder: undefined }])
      assert.isUndefined(waiting(yield* a.lock("A")).holder)
      held(yield* b.refresh("last"))
      waiting(yield* a.refresh("A"))
    }))

  theorem("a revoke of 1,000 holders of one process tells every one", () =>
    Effect.gen(function*() {
      const { a, b } = yield* world(make)
      const limit = 1000
      const token = (i: number) => `${String(i).padStart(8, "0")}-0000-4000-8000-000000000000`
      yield* together(numbers(1000).map((i) => b.once(token(i), { limit })))
      const { lastFence } = yield* a.inspect()
      assert.strictEqual(yield* a.revoke(lastFence), 1000)
      const told = (yield* b.events).map((event) => event._tag === "Revoked" ? event.token : event._tag)
      assert.strictEqual(told.length, 1000)
      assert.sameMembers(told, numbers(1000).map(token))
    }))
}
