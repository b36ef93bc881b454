/** What holds for read-write locks. */
import { assert, describe } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import type { World } from "./world.js"
import { newKey, untilFree, untilWaiting } from "./world.js"

const kind = "readWriteLock"

export const readWrite = ({ elapse, makeServer, name, test }: World): void => {
  describe(`read-write locks on ${name}`, () => {
    const setup = Effect.gen(function*() {
      const process = yield* makeServer
      const key = yield* newKey
      const [a, b] = [yield* process, yield* process]
      return { key, a, b, one: yield* a.dlock.readWriteLock(key), two: yield* b.dlock.readWriteLock(key) }
    })

    test("many read together, and one writes alone", () =>
      Effect.gen(function*() {
        const { a, key, one, two } = yield* setup
        let readers = 0
        let writers = 0
        let together = 0
        const read = Effect.acquireUseRelease(
          Effect.sync(() => {
            readers++
            together = Math.max(together, readers)
            assert.strictEqual(writers, 0)
          }),
          () => Effect.repeat(Effect.yieldNow, { times: 20 }),
          () => Effect.sync(() => readers--)
        )
        const write = Effect.acquireUseRelease(
          Effect.sync(() => {
            writers++
            assert.deepStrictEqual([readers, writers], [0, 1])
          }),
          () => Effect.repeat(Effect.yieldNow, { times: 5 }),
          () => Effect.sync(() => writers--)
        )
        yield* Effect.forEach(
          Array.from({ length: 24 }, (_, i) => i),
          (i) => i % 6 === 5 ? (i % 2 ? one : two).withWrite(write) : (i % 2 ? one : two).withRead(read),
          { concurrency: "unbounded", discard: true }
        )
        assert.isAbove(together, 1)
        yield* untilFree(a.dlock, key, kind)
      }))

    test("inspect speaks of readers and of a writer", () =>
      Effect.gen(function*() {
        const { a, b, key, one } = yield* setup
        const { fencingToken } = yield* one.write
        const found = yield* a.dlock.inspect(key, kind)
        assert.deepInclude(found, { key, kind, readers: [], waiting: 0, lastFencingToken: fencingToken })
        assert.deepInclude(found.writer, { fencingToken, metadata: "" })
        assert.notMatch(JSON.stringify(found), /permits|2147483648/)
        const other = yield* a.dlock.readWriteLock(`${key}2`, { metadata: "first" })
        const first = yield* other.read
        yield* Effect.flatMap(b.dlock.readWriteLock(`${key}2`), (both) => both.read)
        const shown = yield* a.dlock.inspect(`${key}2`, kind)
        assert.isUndefined(shown.writer)
        assert.deepStrictEqual(shown.readers.map(({ fencingToken, metadata }) => [fencingToken, metadata])[0], [
          first.fencingToken,
          "first"
        ])
        assert.lengthOf(shown.readers, 2)
      }))

    test("a waiting writer stops readers that come later, and readers side by side enter together", () =>
      Effect.gen(function*() {
        const { a, key, one, two } = yield* setup
        const order: Array<string> = []
        const gate = yield* Deferred.make<void>()
        const reader = yield* Effect.forkChild(one.withRead(Deferred.await(gate)))
        yield* Effect.repeat(a.dlock.inspect(key, kind), { until: (found) => found.readers.length === 1 })
        const writer = yield* Effect.forkChild(two.withWrite(Effect.sync(() => order.push("writer"))))
        yield* untilWaiting(a.dlock, key, 1, kind)
        const meet = yield* Deferred.make<void>()
        // Each waits for the other inside: they must be in at the same time.
        const first = yield* Effect.forkChild(
          one.withRead(Effect.andThen(Effect.sync(() => order.push("reader")), Deferred.await(meet)))
        )
        yield* untilWaiting(a.dlock, key, 2, kind)
        const second = yield* Effect.forkChild(two.withRead(Deferred.succeed(meet, void 0)))
        yield* untilWaiting(a.dlock, key, 3, kind)
        assert.deepStrictEqual(order, [])
        yield* Deferred.succeed(gate, void 0)
        yield* Fiber.join(reader)
        for (const fiber of [writer, first, second]) yield* Fiber.join<unknown, unknown>(fiber)
        assert.deepStrictEqual(order, ["writer", "reader"])
      }))

    test("a writer that downgrades lets readers in, and no writer between", () =>
      Effect.gen(function*() {
        const { a, key, one, two } = yield* setup
        const scope = yield* Scope.make()
        const lock = yield* Scope.provide(one.write, scope)
        const reader = yield* Effect.forkChild(two.withRead(Effect.succeed("read")))
        yield* untilWaiting(a.dlock, key, 1, kind)
        const writer = yield* Effect.forkChild(two.withWrite(Effect.succeed("wrote")))
        yield* untilWaiting(a.dlock, key, 2, kind)
        yield* lock.downgrade
        assert.strictEqual(yield* Fiber.join(reader), "read")
        yield* lock.check
        assert.strictEqual((yield* a.dlock.inspect(key, kind)).waiting, 1)
        yield* elapse(1.5)
        yield* lock.check
        yield* Scope.close(scope, Exit.void)
        assert.strictEqual(yield* Fiber.join(writer), "wrote")
      }))

    test("downgrading twice is downgrading once, and after the end it fails with LockLostError", () =>
      Effect.gen(function*() {
        const { b, key, one, two } = yield* setup
        const lock = yield* one.write
        yield* lock.downgrade
        yield* lock.downgrade
        yield* Effect.scoped(two.read)
        assert.strictEqual(yield* b.dlock.forceRelease(key, kind), 1)
        assert.strictEqual((yield* Effect.flip(lock.lost))._tag, "LockLostError")
        assert.strictEqual((yield* Effect.flip(lock.downgrade))._tag, "LockLostError")
      }))

    test("to go from reading to writing is a typed error at once", () =>
      Effect.gen(function*() {
        const { one } = yield* setup
        yield* one.read
        const error = yield* Effect.flip(one.withWrite(Effect.void))
        assert(error._tag === "LockAcquisitionError")
        assert.strictEqual(error.reason, "Reentrant")
      }))
  })
}
