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
  short,
  target,
  together,
  waiting,
  within,
  world
} from "../world.js"

export const refreshing = ({ elapse, make, theorem }: Backend): void => {
  theorem("refresh never creates: an unknown token is gone for ever", () =>
    Effect.gen(function*() {
      const { a } = yield* world(make)
      for (let i = 0; i < 3; i++) gone(yield* a.refresh("unknown"))
      assert.deepInclude(yield* a.inspect(), { used: 0, waiting: 0, lastFence: 0, holders: [] })
      granted(yield* a.once("A"))
      gone(yield* a.refresh("unknown"))
      yield* a.leave("A")
      gone(yield* a.refresh("unknown"))
      gone(yield* a.refresh("A"))
    }))

  theorem("refresh renews a lease, and says its fence", () =>
    Effect.gen(function*() {
      const { a, b } = yield* world(make)
      const fence = granted(yield* a.once("A", { ttl: 10_000 }))
      const renewed = held(yield* a.refresh("A", { ttl: 50_000 }))
      almost(renewed.remainingMillis, 50_000)
      assert.isAbove(renewed.remainingMillis, 10_000)
      assert.strictEqual(renewed.fence, fence)
      almost((yield* b.inspect()).holders[0]!.remainingMillis, 50_000)
    }))

  theorem("a renewed lease is in force past its first end", () =>
    Effect.gen(function*() {
      const { a } = yield* world(make)
      yield* within(short, together([a.once("A", { ttl: short }), a.refresh("A")]))
      yield* elapse(pastShort)
      held(yield* a.refresh("A"))
    }))

  theorem("refresh never shortens a lease", () =>
    Effect.gen(function*() {
      const { a } = yield* world(make)
      yield* a.once("A", { ttl: 30_000 })
      almost(held(yield* a.refresh("A", { ttl: long })).remainingMillis, long)
      almost(held(yield* a.refresh("A", { ttl: short })).remainingMillis, long)
      almost(held(yield* a.refresh("A", { ttl: 1 })).remainingMillis, long)
      yield* elapse(pastShort)
      held(yield* a.refresh("A", { ttl: 1 }))
    }))

  theorem("refresh never shortens a waiter's liveness", () =>
    Effect.gen(function*() {
      const { a, b } = yield* world(make)
      yield* a.once("A")
      yield* b.lock("B")
      almost(waiting(yield* b.refresh("B", { liveness: short })).remainingMillis, long)
      yield* elapse(pastShort)
      waiting(yield* b.refresh("B", { liveness: 1 }))
    }))

  theorem("an expired holder cannot be renewed, though nobody has taken the lock", () =>
    Effect.gen(function*() {
      const { a, b } = yield* world(make)
      granted(yield* a.once("A", { ttl: short }))
      yield* elapse(pastShort)
      gone(yield* a.refresh("A"))
      gone(yield* a.refresh("A"))
      granted(yield* b.once("B"))
      gone(yield* a.refresh("A"))
    }))

  theorem("an expired lease passes to the first waiter", () =>
    Effect.gen(function*() {
      const { a, b, c } = yield* world(make)
      const answers = yield* within(short, together([a.once("A", { ttl: short }), a.lock("B"), a.lock("C")]))
      assert.deepStrictEqual(answers.map(({ _tag }) => _tag), ["Granted", "Waiting", "Waiting"])
      yield* elapse(pastShort)
      held(yield* b.refresh("B"))
      waiting(yield* c.refresh("C"))
      gone(yield* a.refresh("A"))
    }))

  theorem("a dead waiter stays dead: a refresh does not bring it back", () =>
    Effect.gen(function*() {
      const { a, b } = yield* world(make)
      yield* a.once("A")
      waiting(yield* b.lock("B", { liveness: short }))
      yield* elapse(pastShort)
      gone(yield* b.refresh("B"))
      gone(yield* b.refresh("B"))
      yield* a.leave("A")
      gone(yield* b.refresh("B"))
      assert.lengthOf((yield* a.inspect()).holders, 0)
    }))

  theorem("also settles a target without items: its first waiter is granted and told", () =>
    Effect.gen(function*() {
      const { a, b, c, key } = yield* world(make)
      yield* within(short, together([b.once("A", { ttl: short }), b.lock("B")]))
      yield* elapse(pastShort)
      yield* c.store.refresh({ items: [], subscribed: true, also: [target(`${key}-other`), target(key)] })
      const fence = held(yield* a.refresh("B")).fence
      assert.deepStrictEqual(yield* b.events, [{ _tag: "Granted", token: "B", fence }])
    }))

  theorem("a batch is answered in the order of its items, whatever lock each is of", () =>
    Effect.gen(function*() {
      const { a, key } = yield* world(make)
      const other = `${key}-other`
      const fence = granted(yield* a.once("A"))
      const otherFence = granted(yield* a.once("A", { key: other, ttl: 30_000 }))
      yield* a.lock("B")
      const times = { ttlMillis: 1, livenessMillis: 1 }
      const { answer, unsettled } = yield* a.store.refresh({
        subscribed: true,
        items: [
          { target: target(key), token: "B", ...times },
          { target: target(other), token: "unknown", ...times },
          { target: target(other), token: "A", ...times },
          { target: target(key), token: "A", ...times }
        ]
      })
      assert.deepStrictEqual(answer.map(({ _tag }) => _tag), ["Waiting", "Gone", "Held", "Held"])
      assert.strictEqual(held(answer[2]!).fence, otherFence)
      almost(held(answer[2]!).remainingMillis, 30_000)
      assert.strictEqual(held(answer[3]!).fence, fence)
      assert.deepStrictEqual(unsettled, [])
    }))

  theorem("a full batch is answered for every item", () =>
    Effect.gen(function*() {
      const { a, b, key } = yield* world(make)
      const keys = Array.from({ length: 256 }, (_, i) => `${key}-${i}`)
      yield* within(short, together(keys.map((key) => a.once("A", { key }))))
      const items = keys.map((key) => ({ target: target(key), token: "A", ttlMillis: long, livenessMillis: long }))
      const { answer } = yield* a.store.refresh({ items, subscribed: true })
      assert.deepStrictEqual(answer.map(({ _tag }) => _tag), keys.map(() => "Held"))
      const left = yield* a.store.leave(items)
      assert.deepStrictEqual(left, {
        answer: keys.map(() => ({ _tag: "Left" as const, was: "Holder" as const })),
        unsettled: []
      })
      granted(yield* b.once("B", { key: keys.at(-1)! }))
    }))
}
