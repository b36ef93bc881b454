import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { Backend, Client } from "../world.js"
import { almost, gone, granted, held, long, pastShort, refused, short, target, waiting, world } from "../world.js"

/** One permit of one of each key. */
const multi = (client: Client, token: string, keys: ReadonlyArray<string>, ttl = long) =>
  Effect.map(
    client.store.acquire({
      ...client.request(token, false, { ttl }),
      claims: keys.map((key) => ({ ...target(key), permits: 1, limit: 1 }))
    }),
    ({ answer }) => answer
  )

export const permits = ({ elapse, make, theorem }: Backend): void => {
  theorem("permits add up to the limit and no further", () =>
    Effect.gen(function*() {
      const { a, b, c } = yield* world(make)
      granted(yield* a.once("A", { limit: 5, permits: 3 }))
      refused(yield* b.once("B", { limit: 5, permits: 3 }))
      granted(yield* b.once("B2", { limit: 5, permits: 2 }))
      refused(yield* c.once("C", { limit: 5 }))
      yield* a.leave("A")
      assert.deepInclude(yield* c.inspect(), { limit: 5, used: 2 })
      granted(yield* c.once("C2", { limit: 5, permits: 3 }))
    }))

  theorem("who waits is told when the first of those ends that are still there", () =>
    Effect.gen(function*() {
      const { a, b } = yield* world(make)
      const limit = 2
      yield* a.once("over", { limit, ttl: short })
      const left = granted(yield* a.once("left", { limit, ttl: 30_000 }))
      yield* elapse(pastShort)
      const { holder } = waiting(yield* b.lock("B", { limit, permits: 2 }))
      assert.strictEqual(holder?.fence, left)
      almost(holder?.endsMillis, 30_000 - pastShort)
    }))

  theorem("one leave grants as many as fit, in order", () =>
    Effect.gen(function*() {
      const { a, b, c } = yield* world(make)
      const limit = 4
      yield* a.once("A", { limit, permits: 4 })
      yield* b.lock("B1", { limit, permits: 2 })
      yield* c.lock("C", { limit })
      yield* b.lock("B2", { limit })
      yield* b.lock("B3", { limit })
      yield* a.leave("A")
      const fences = [held(yield* b.refresh("B1")), held(yield* c.refresh("C")), held(yield* b.refresh("B2"))]
        .map(({ fence }) => fence)
      assert.deepStrictEqual(fences, [...fences].sort((x, y) => x - y))
      assert.deepStrictEqual(yield* b.events, [
        { _tag: "Granted", token: "B1", fence: fences[0]! },
        { _tag: "Granted", token: "B2", fence: fences[2]! }
      ])
      waiting(yield* b.refresh("B3"))
    }))

  theorem("what one of several holders leaves goes to the first who waits, or to nobody", () =>
    Effect.gen(function*() {
      const { a, b, c } = yield* world(make)
      const limit = 3
      yield* a.once("A1", { limit, ttl: 30_000 })
      yield* a.once("A2", { limit, permits: 2 })
      waiting(yield* b.lock("B1", { limit, liveness: 40_000, ttl: 20_000 }))
      waiting(yield* b.lock("B2", { limit, permits: 2 }))
      yield* a.leave("A1")
      const { holders, lastFence: fence, used, waiting: left } = yield* c.inspect()
      assert.deepStrictEqual([holders.length, used, left], [2, 3, 1])
      almost(holders.find((holder) => holder.fence === fence)?.remainingMillis, 40_000)
      assert.deepStrictEqual(yield* b.events, [{ _tag: "Granted", token: "B1", fence }])
      assert.strictEqual(held(yield* b.refresh("B1")).fence, fence)
      waiting(yield* b.refresh("B2"))
      yield* a.leave("A2")
      held(yield* b.refresh("B2"))
      yield* b.leave("B1")
      assert.deepInclude(yield* c.inspect(), { used: 2, waiting: 0 })
      granted(yield* c.once("C", { limit }))
      refused(yield* c.once("C2", { limit }))
    }))

  theorem("a holder that leaves beside one that is over makes room for both", () =>
    Effect.gen(function*() {
      const { a, b, c } = yield* world(make)
      const limit = 2
      yield* a.once("over", { limit, ttl: short })
      yield* a.once("A", { limit })
      waiting(yield* b.lock("B1", { limit }))
      waiting(yield* b.lock("B2", { limit }))
      yield* elapse(pastShort)
      yield* a.leave("A")
      assert.deepStrictEqual((yield* b.events).map((event) => "token" in event && event.token), ["B1", "B2"])
      assert.deepInclude(yield* c.inspect(), { used: 2, waiting: 0 })
    }))

  theorem("who would fit beside the holders does not overtake those who wait", () =>
    Effect.gen(function*() {
      const { a, b, c } = yield* world(make)
      const limit = 3
      yield* a.once("A", { limit, permits: 2 })
      waiting(yield* b.lock("B", { limit, permits: 2 }))
      refused(yield* c.once("C", { limit }))
      assert.strictEqual(waiting(yield* c.lock("C2", { limit })).rank, 1)
    }))

  theorem("a large request is not starved by small ones, and those behind it wait", () =>
    Effect.gen(function*() {
      const { a, b, c } = yield* world(make)
      const limit = 3
      yield* a.once("A1", { limit })
      yield* a.once("A2", { limit })
      waiting(yield* b.lock("large", { limit, permits: 3 }))
      waiting(yield* c.lock("small", { limit }))
      yield* a.leave("A1")
      refused(yield* a.once("A3", { limit }))
      assert.strictEqual(waiting(yield* c.refresh("small")).rank, 1)
      yield* a.leave("A2")
      held(yield* b.refresh("large"))
      waiting(yield* c.refresh("small"))
      yield* b.leave("large")
      held(yield* c.refresh("small"))
    }))

  theorem("a large waiter that leaves lets in those behind it that fit", () =>
    Effect.gen(function*() {
      const { a, b, c } = yield* world(make)
      yield* a.once("A", { limit: 2 })
      waiting(yield* b.lock("large", { limit: 2, permits: 2 }))
      waiting(yield* c.lock("small", { limit: 2 }))
      yield* b.leave("large")
      const { fence } = held(yield* c.refresh("small"))
      assert.deepStrictEqual(yield* c.events, [{ _tag: "Granted", token: "small", fence }])
    }))

  theorem("the latest acquire sets the limit: a higher one lets in more", () =>
    Effect.gen(function*() {
      const { a, b, c } = yield* world(make)
      granted(yield* a.once("A"))
      waiting(yield* b.lock("B"))
      granted(yield* c.once("C", { limit: 3 }))
      assert.strictEqual((yield* c.inspect()).limit, 3)
      held(yield* b.refresh("B"))
    }))

  theorem("the latest acquire sets the limit: a lower one takes nothing from holders", () =>
    Effect.gen(function*() {
      const { a, b, c } = yield* world(make)
      for (const token of ["A1", "A2", "A3"]) granted(yield* a.once(token, { limit: 3 }))
      refused(yield* b.once("B"))
      assert.deepInclude(yield* b.inspect(), { limit: 1, used: 3 })
      waiting(yield* c.lock("C"))
      yield* a.leave("A1", "A2")
      waiting(yield* c.refresh("C"))
      held(yield* a.refresh("A3"))
      yield* a.leave("A3")
      held(yield* c.refresh("C"))
    }))

  theorem("a waiter heavier than a lowered limit is told, and blocks nobody", () =>
    Effect.gen(function*() {
      const { a, b, c } = yield* world(make)
      yield* a.once("A", { limit: 3, permits: 3 })
      waiting(yield* b.lock("heavy", { limit: 3, permits: 3 }))
      waiting(yield* c.lock("C", { limit: 2 }))
      yield* a.leave("A")
      assert.deepStrictEqual(yield* b.events, [{ _tag: "OverLimit", token: "heavy", limit: 2 }])
      gone(yield* b.refresh("heavy"))
      held(yield* c.refresh("C"))
    }))

  theorem("a copy of an earlier acquire does not set the limit back", () =>
    Effect.gen(function*() {
      const { a, b } = yield* world(make)
      yield* a.once("A", { limit: 1 })
      yield* b.once("B", { limit: 3 })
      granted(yield* a.once("A", { limit: 1 }))
      assert.strictEqual((yield* b.inspect()).limit, 3)
    }))

  theorem("several claims are granted in one step, fences in their order", () =>
    Effect.gen(function*() {
      const { a, b, key } = yield* world(make)
      const keys = ["z", "a", "m"].map((name) => `${key}-${name}`)
      const answer = yield* multi(a, "A", keys, 30_000)
      assert(answer._tag === "Granted")
      assert.strictEqual(answer.remainingMillis, 30_000)
      for (const [i, key] of keys.entries()) {
        refused(yield* b.once("B", { key }))
        assert.strictEqual((yield* b.inspect(key)).holders[0]!.fence, answer.fences[i])
      }
    }))

  theorem("of several claims all or none are granted, and each one in the way is named", () =>
    Effect.gen(function*() {
      const { a, b, key } = yield* world(make)
      const keys = ["1", "2", "3", "4"].map((name) => `${key}-${name}`)
      yield* a.once("A2", { key: keys[1]!, metadata: "two", ttl: 30_000 })
      yield* a.once("A4", { key: keys[3]!, metadata: "four", ttl: 50_000 })
      const blockers = refused(yield* multi(b, "B", keys))
      assert.deepStrictEqual(blockers.map(({ holder, key }) => [key, holder?.metadata]), [[keys[1]!, "two"], [
        keys[3]!,
        "four"
      ]])
      almost(blockers[0]!.holder?.endsMillis, 30_000)
      almost(blockers[1]!.holder?.endsMillis, 50_000)
      for (const key of keys) gone(yield* b.refresh("B", { key }))
      for (const free of [keys[0]!, keys[2]!]) {
        assert.deepInclude(yield* a.inspect(free), { used: 0, waiting: 0, lastFence: 0, holders: [] })
      }
    }))

  theorem("one claim in the way refuses all, whichever it is", () =>
    Effect.gen(function*() {
      const { a, b, key } = yield* world(make)
      const keys = ["1", "2", "3"].map((name) => `${key}-${name}`)
      for (const taken of keys) {
        yield* a.once("A", { key: taken })
        assert.deepStrictEqual(refused(yield* multi(b, `B ${taken}`, keys)).map(({ key }) => key), [taken])
        yield* a.store.leave([{ target: target(taken), token: "A" }])
      }
      assert.strictEqual((yield* multi(b, "B", keys))._tag, "Granted")
    }))

  theorem("several claims are refused behind those who wait", () =>
    Effect.gen(function*() {
      const { a, b, key } = yield* world(make)
      const keys = [`${key}-1`, `${key}-2`]
      const terms = { key: keys[1]!, limit: 2 }
      yield* a.once("A", terms)
      yield* a.lock("large", { ...terms, permits: 2 })
      const { answer } = yield* b.store.acquire({
        ...b.request("B", false),
        claims: keys.map((key) => ({ ...target(key), permits: 1, limit: 2 }))
      })
      assert.deepStrictEqual(refused(answer).map(({ key }) => key), [keys[1]!])
    }))

  theorem("several claims acquired twice are held once, and the earliest end is told", () =>
    Effect.gen(function*() {
      const { a, key } = yield* world(make)
      const keys = [`${key}-1`, `${key}-2`]
      const first = yield* multi(a, "A", keys, 20_000)
      for (const [i, millis] of [20_000, 40_000].entries()) {
        yield* a.refresh("A", { key: keys[i]!, ttl: 40_000 + 20_000 * i })
        const again = yield* multi(a, "A", keys, 1)
        assert(first._tag === "Granted" && again._tag === "Granted")
        assert.deepStrictEqual(again.fences, first.fences)
        almost(again.remainingMillis, millis)
      }
      yield* a.store.leave(keys.map((key) => ({ target: target(key), token: "A" })))
      for (const key of keys) assert.strictEqual((yield* a.inspect(key)).used, 0)
    }))

  theorem("several claims of which one is lost are gone, and the copy creates nothing", () =>
    Effect.gen(function*() {
      const { a, b, key } = yield* world(make)
      const keys = [`${key}-1`, `${key}-2`]
      yield* multi(a, "A", keys)
      yield* b.store.leave([{ target: target(keys[1]!), token: "A" }])
      gone(yield* multi(a, "A", keys))
      held(yield* a.refresh("A", { key: keys[0]! }))
      gone(yield* a.refresh("A", { key: keys[1]! }))
      granted(yield* b.once("B", { key: keys[1]! }))
    }))

  theorem(
    "an acquire that changes the limit says what it was, as long as somebody holds",
    () =>
      Effect.gen(function*() {
        const { a, b } = yield* world(make)
        const formerLimits = (client: Client, token: string, limit: number) =>
          Effect.map(
            client.store.acquire(client.request(token, true, { limit })),
            (acquired) => acquired.formerLimits.map((former) => [former.claim.limit, former.limit])
          )
        assert.deepStrictEqual(yield* formerLimits(a, "A", 3), [])
        assert.deepStrictEqual(yield* formerLimits(b, "B", 5), [[5, 3]])
        assert.deepStrictEqual(yield* formerLimits(b, "B2", 5), [])
        assert.deepStrictEqual(yield* formerLimits(a, "A2", 3), [[3, 5]])
        // This one has to wait, and says so all the same.
        assert.deepStrictEqual(yield* formerLimits(b, "B3", 2), [[2, 3]])
        assert.deepStrictEqual((yield* a.inspect()).holders.map(({ limit }) => limit), [3, 5, 5])
        yield* a.leave("A", "A2", "B", "B2", "B3")
        assert.deepStrictEqual(yield* formerLimits(b, "B4", 7), [])
      })
  )

  theorem("permits that a holder gives up go to those who wait, and its lease goes on", () =>
    Effect.gen(function*() {
      const { a, b, c } = yield* world(make)
      const limit = 5
      const fence = granted(yield* a.once("A", { limit, permits: 5 }))
      waiting(yield* b.lock("B", { limit, permits: 2 }))
      waiting(yield* c.lock("C", { limit, permits: 3 }))
      const lower = (token: string, permits: number) =>
        Effect.map(a.store.lower(target(a.key), token, permits), ({ answer }) => answer)
      assert.strictEqual(held(yield* lower("A", 1)).fence, fence)
      held(yield* b.refresh("B"))
      waiting(yield* c.refresh("C"))
      assert.deepInclude(yield* a.inspect(), { used: 3 })
      // Never up again, and twice is once.
      held(yield* lower("A", 4))
      held(yield* lower("A", 1))
      assert.deepInclude(yield* a.inspect(), { used: 3 })
      assert.strictEqual((yield* lower("nobody", 1))._tag, "Gone")
      assert.strictEqual((yield* a.store.lower(target(a.key), "C", 1)).answer._tag, "Waiting")
      yield* a.leave("A")
      held(yield* c.refresh("C"))
      assert.deepInclude(yield* a.inspect(), { used: 5 })
    }))
}
