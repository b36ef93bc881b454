import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { Backend } from "../world.js"
import { granted, held, refused, waiting, world } from "../world.js"

export const reach = ({ make, theorem }: Backend): void => {
  theorem("an unsubscribed waiter is granted in turn, untold, and learns by refresh", () =>
    Effect.gen(function*() {
      const { a, b, c } = yield* world(make)
      yield* a.once("A")
      yield* b.lock("B", { subscribed: false })
      yield* c.lock("C")
      yield* b.process.deafen
      yield* a.leave("A")
      held(yield* b.refresh("B", { subscribed: false }))
      waiting(yield* c.refresh("C"))
      assert.deepStrictEqual(yield* c.events, [])
    }))

  theorem("a waiter that says it is not subscribed gets no message even where it could", () =>
    Effect.gen(function*() {
      const { a, b } = yield* world(make)
      yield* a.once("A")
      yield* b.lock("B", { subscribed: false })
      yield* a.leave("A")
      assert.strictEqual((yield* a.inspect()).used, 1)
      assert.deepStrictEqual(yield* b.events, [])
    }))

  theorem("a waiter that nobody can reach is passed over: the next is granted", () =>
    Effect.gen(function*() {
      const { a, b, c } = yield* world(make)
      yield* a.once("A")
      yield* b.lock("B")
      yield* c.lock("C")
      yield* b.process.deafen
      yield* a.leave("A")
      const { fence } = held(yield* c.refresh("C"))
      assert.deepStrictEqual(yield* c.events, [{ _tag: "Granted", token: "C", fence }])
    }))

  theorem("a waiter that was passed over keeps its place before later ones", () =>
    Effect.gen(function*() {
      const { a, b, c } = yield* world(make)
      yield* a.once("A")
      yield* b.lock("B")
      yield* c.lock("C1")
      yield* c.lock("C2")
      yield* b.process.deafen
      yield* a.leave("A")
      held(yield* c.refresh("C1"))
      assert.strictEqual(waiting(yield* b.refresh("B", { subscribed: false })).rank, 0)
      assert.strictEqual(waiting(yield* c.refresh("C2")).rank, 1)
      yield* c.leave("C1")
      held(yield* b.refresh("B", { subscribed: false }))
      waiting(yield* c.refresh("C2"))
    }))

  theorem("a waiter that was passed over takes a free lock when it refreshes", () =>
    Effect.gen(function*() {
      const { a, b } = yield* world(make)
      yield* a.once("A")
      yield* b.lock("B")
      yield* b.process.deafen
      yield* a.leave("A")
      assert.strictEqual((yield* a.inspect()).used, 0)
      held(yield* b.refresh("B"))
    }))

  theorem("a waiter that was passed over does not keep a free lock from others", () =>
    Effect.gen(function*() {
      const { a, b, c } = yield* world(make)
      yield* a.once("A")
      yield* b.lock("B")
      yield* b.process.deafen
      yield* a.leave("A")
      granted(yield* c.once("C"))
      assert.strictEqual(waiting(yield* b.refresh("B", { subscribed: false })).rank, 0)
    }))

  theorem("a waiter that was passed over can leave", () =>
    Effect.gen(function*() {
      const { a, b, c } = yield* world(make)
      yield* a.once("A")
      yield* b.lock("B")
      yield* b.process.deafen
      yield* a.leave("A")
      yield* b.leave("B")
      granted(yield* c.once("C"))
      yield* c.leave("C")
      assert.deepInclude(yield* c.inspect(), { used: 0, waiting: 0 })
    }))

  theorem("a refresh decides whether the next grant is told", () =>
    Effect.gen(function*() {
      const { a, b, c } = yield* world(make)
      yield* a.once("A")
      yield* b.lock("B")
      yield* c.lock("C", { subscribed: false })
      waiting(yield* b.refresh("B", { subscribed: false }))
      waiting(yield* c.refresh("C", { subscribed: true }))
      yield* a.leave("A")
      yield* a.leave("B")
      assert.deepStrictEqual(yield* b.events, [])
      const { fence } = held(yield* c.refresh("C"))
      assert.deepStrictEqual(yield* c.events, [{ _tag: "Granted", token: "C", fence }])
    }))

  theorem("a holder is not touched when nobody can reach it", () =>
    Effect.gen(function*() {
      const { a, b } = yield* world(make)
      const fence = granted(yield* a.once("A"))
      yield* a.process.deafen
      refused(yield* b.once("B"))
      assert.strictEqual(held(yield* a.refresh("A")).fence, fence)
    }))
}
