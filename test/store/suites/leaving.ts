import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { Backend, Client } from "../world.js"
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

export const leaving = ({ elapse, make, theorem }: Backend): void => {
  theorem("a lock that was left is free", () =>
    Effect.gen(function*() {
      const { a, b } = yield* world(make)
      yield* a.once("A")
      yield* a.leave("A")
      gone(yield* a.refresh("A"))
      granted(yield* b.once("B"))
    }))

  theorem("leave is idempotent", () =>
    Effect.gen(function*() {
      const { a, b } = yield* world(make)
      yield* a.once("A")
      yield* b.lock("B")
      yield* a.leave("A")
      yield* a.leave("A")
      yield* a.leave("A", "A")
      held(yield* b.refresh("B"))
      assert.strictEqual((yield* b.inspect()).used, 1)
      refused(yield* a.once("A2"))
    }))

  theorem("a leave with another token frees nothing", () =>
    Effect.gen(function*() {
      const { a, b } = yield* world(make)
      yield* a.once("A")
      yield* b.lock("B")
      yield* b.leave("other", "")
      held(yield* a.refresh("A"))
      waiting(yield* b.refresh("B"))
    }))

  theorem("a late leave by a former owner frees nothing of the present one", () =>
    Effect.gen(function*() {
      const { a, b, c } = yield* world(make)
      yield* within(short, together([a.once("A", { ttl: short }), a.lock("B")]))
      yield* elapse(pastShort)
      const { fence } = held(yield* b.refresh("B"))
      yield* a.leave("A")
      assert.strictEqual(held(yield* b.refresh("B")).fence, fence)
      refused(yield* c.once("C"))
    }))

  theorem("anybody who knows the token can leave for it", () =>
    Effect.gen(function*() {
      const { a, b } = yield* world(make)
      yield* a.once("A")
      yield* b.leave("A")
      granted(yield* b.once("B"))
    }))

  theorem("a leave says what the token was: a holder, a waiter, or unknown (R45)", () =>
    Effect.gen(function*() {
      const { a, b, c, key } = yield* world(make)
      const leave = (...tokens: ReadonlyArray<string>) =>
        Effect.map(
          a.store.leave(tokens.map((token) => ({ target: target(key), token }))),
          ({ answer }) => answer.map((one) => one._tag === "Left" ? one.was : one._tag)
        )
      yield* a.once("A")
      yield* b.lock("B")
      yield* c.lock("C")
      assert.deepStrictEqual(yield* leave("C"), ["Waiter"])
      assert.deepStrictEqual(yield* leave("A"), ["Holder"])
      assert.deepStrictEqual(yield* leave("A"), ["Unknown"])
      assert.deepStrictEqual(yield* leave("other", "B"), ["Unknown", "Holder"])
      yield* within(short, together([a.once("A2", { ttl: short }), a.lock("B2", { liveness: short })]))
      yield* elapse(pastShort)
      assert.deepStrictEqual(yield* leave("A2", "B2"), ["Unknown", "Unknown"])
    }))

  /** What is kept for that long after its holder has left. */
  const keep = (client: Client, token: string, keepMillis: number) =>
    Effect.map(
      client.store.leave([{ target: target(client.key), token, keepMillis }]),
      ({ answer }) => assert.deepStrictEqual(answer, [{ _tag: "Left", was: "Holder" }])
    )

  theorem(
    "what is kept keeps others out for that long, and no longer, whatever comes late",
    () =>
      Effect.gen(function*() {
        const { a, b, c } = yield* world(make)
        yield* a.once("A")
        yield* b.lock("B")
        yield* keep(a, "A", 30_000)
        yield* keep(a, "A", 50_000)
        const { remainingMillis } = held(yield* a.refresh("A"))
        almost(remainingMillis, 30_000)
        almost(held(yield* a.refresh("A", { ttl: long })).remainingMillis, 30_000)
        yield* a.once("A", { ttl: long })
        almost(held(yield* a.refresh("A")).remainingMillis, 30_000)
        refused(yield* c.once("C"))
        yield* within(short, keep(a, "A", short))
        waiting(yield* b.refresh("B"))
        yield* elapse(pastShort)
        held(yield* b.refresh("B"))
      })
  )

  theorem(
    "what is kept is never kept for longer than its lease lasts, and a waiter is not kept",
    () =>
      Effect.gen(function*() {
        const { a, b } = yield* world(make)
        yield* a.once("A", { ttl: 30_000 })
        yield* keep(a, "A", long)
        almost(held(yield* a.refresh("A", { ttl: 1 })).remainingMillis, 30_000)
        yield* b.lock("B")
        const { answer } = yield* b.store.leave([{ target: target(b.key), token: "B", keepMillis: long }])
        assert.deepStrictEqual(answer, [{ _tag: "Left", was: "Waiter" }])
        assert.strictEqual((yield* a.inspect()).waiting, 0)
      })
  )

  theorem(
    "what is kept is free for whoever asks for it, or takes it by force, and nobody is told",
    () =>
      Effect.gen(function*() {
        const { a, b } = yield* world(make)
        for (const asks of [true, false]) {
          const token = `A ${asks}`
          const fence = granted(yield* a.once(token))
          yield* keep(a, token, 30_000)
          assert.strictEqual(yield* b.revoke(fence, asks), 1)
          gone(yield* a.refresh(token))
          assert.lengthOf((yield* b.inspect()).holders, 0)
        }
        assert.deepStrictEqual(yield* a.events, [])
      })
  )

  theorem("a batch of holders and waiters is left in one step", () =>
    Effect.gen(function*() {
      const { a, b, c, key } = yield* world(make)
      const terms = { limit: 2 }
      for (const token of ["A1", "A2"]) yield* a.once(token, terms)
      yield* a.lock("A3", terms)
      yield* b.lock("B", terms)
      yield* c.once("C", { key: `${key}-other` })
      yield* c.store.leave([
        { target: target(key), token: "A3" },
        { target: target(`${key}-other`), token: "C" },
        { target: target(key), token: "A1" },
        { target: target(key), token: "A2" }
      ])
      held(yield* b.refresh("B"))
      assert.deepInclude(yield* b.inspect(), { used: 1, waiting: 0 })
      assert.lengthOf((yield* b.inspect(`${key}-other`)).holders, 0)
      assert.deepStrictEqual(yield* a.events, [])
    }))

  theorem("revoke takes the lock from fences up to the given one, and from no later one", () =>
    Effect.gen(function*() {
      const { a, b } = yield* world(make)
      const terms = { limit: 4 }
      const fences: Array<number> = []
      for (const token of ["A1", "A2", "A3", "A4"]) fences.push(granted(yield* a.once(token, terms)))
      assert.strictEqual(yield* b.revoke(0), 0)
      assert.strictEqual(yield* b.revoke(fences[0]! - 1), 0)
      assert.strictEqual(yield* b.revoke(fences[1]!), 2)
      gone(yield* a.refresh("A1"))
      gone(yield* a.refresh("A2"))
      assert.strictEqual(held(yield* a.refresh("A3")).fence, fences[2])
      assert.strictEqual(held(yield* a.refresh("A4")).fence, fences[3])
      assert.strictEqual((yield* b.inspect()).used, 2)
    }))

  theorem("revoke tells the holder and nobody else, and passes the lock on", () =>
    Effect.gen(function*() {
      const { a, b, c } = yield* world(make)
      const fence = granted(yield* a.once("A"))
      yield* b.lock("B")
      assert.strictEqual(yield* c.revoke(fence), 1)
      assert.deepStrictEqual(yield* a.events, [{ _tag: "Revoked", token: "A", fence }])
      const next = held(yield* b.refresh("B")).fence
      assert.deepStrictEqual(yield* b.events, [{ _tag: "Granted", token: "B", fence: next }])
      assert.deepStrictEqual(yield* c.events, [])
    }))

  theorem("to ask for a lock tells its holder, and leaves it where it is", () =>
    Effect.gen(function*() {
      const { a, b, c } = yield* world(make)
      const fence = granted(yield* a.once("A"))
      waiting(yield* b.lock("B"))
      assert.strictEqual(yield* c.revoke(fence - 1, true), 0)
      assert.strictEqual(yield* c.revoke(fence, true), 1)
      assert.deepStrictEqual(yield* a.events, [{ _tag: "Asked", token: "A", fence }])
      held(yield* a.refresh("A"))
      waiting(yield* b.refresh("B"))
      yield* a.leave("A")
      held(yield* b.refresh("B"))
    }))

  theorem("revoke neither counts nor tells those whose lease has expired", () =>
    Effect.gen(function*() {
      const { a } = yield* world(make)
      yield* within(short, together([a.once("A1", { limit: 2, ttl: short }), a.once("A2", { limit: 2 })]))
      yield* elapse(pastShort)
      const { lastFence } = yield* a.inspect()
      assert.strictEqual(yield* a.revoke(lastFence), 1)
      assert.deepStrictEqual(yield* a.events, [{ _tag: "Revoked", token: "A2", fence: lastFence }])
    }))

  theorem("a copy of a revoke does not touch the next holder", () =>
    Effect.gen(function*() {
      const { a, b, c } = yield* world(make)
      const fence = granted(yield* a.once("A"))
      yield* b.lock("B")
      yield* c.revoke(fence)
      assert.strictEqual(yield* c.revoke(fence), 0)
      held(yield* b.refresh("B"))
    }))

  theorem("revoke does not touch waiters", () =>
    Effect.gen(function*() {
      const { a, b } = yield* world(make)
      const fence = granted(yield* a.once("A"))
      yield* b.lock("B1")
      yield* b.lock("B2")
      assert.strictEqual(yield* a.revoke(fence), 1)
      held(yield* b.refresh("B1"))
      assert.strictEqual(waiting(yield* b.refresh("B2")).rank, 0)
    }))
}
