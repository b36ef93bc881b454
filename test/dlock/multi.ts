/** What holds for several keys at once. */
import { assert, describe } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import type { World } from "./world.js"
import { isFree, newKey, untilFree, untilWaiting } from "./world.js"

export const multi = ({ elapse, makeServer, name, test, ttlMillis }: World): void => {
  describe(`several keys on ${name}`, () => {
    const setup = Effect.gen(function*() {
      const process = yield* makeServer
      const key = yield* newKey
      return { keys: ["a", "b", "c"].map((end) => `${key}${end}`), a: yield* process, b: yield* process }
    })

    test("strings and arrays are flattened, and each key counts once", () =>
      Effect.gen(function*() {
        const { a, b, keys: [x = "", y = "", z = ""] } = yield* setup
        yield* Effect.scoped(Effect.gen(function*() {
          const lock = yield* a.dlock.multi([z, [x, y], x, [x]])
          assert.sameMembers([...lock.keys], [x, y, z])
          assert.sameMembers([...lock.fencingTokens.keys()], [x, y, z])
          for (const [key, fence] of lock.fencingTokens) {
            assert.strictEqual((yield* b.dlock.inspect(key)).lastFencingToken, fence)
            assert.strictEqual((yield* Effect.flip(b.dlock.once(key)))._tag, "LockAcquisitionError")
          }
          assert.isAbove(Duration.toMillis(yield* lock.remaining), 0)
        }))
        for (const key of [x, y, z]) assert.isTrue(yield* isFree(b.dlock, key))
      }))

    test("all or none: the error names every key that is held, by whom and for how long", () =>
      Effect.gen(function*() {
        const { a, b, keys } = yield* setup
        const [x = "", y = "", z = ""] = keys
        yield* a.dlock.once(x, { metadata: "one" })
        yield* a.dlock.once(z, { metadata: "two" })
        const error = yield* Effect.flip(Effect.scoped(b.dlock.multi(keys)))
        assert(error._tag === "MultiLockError")
        assert.deepStrictEqual([...error.keys], keys)
        assert.deepStrictEqual(
          error.failed.map(({ holder, key, reason }) => [key, reason, holder]),
          [[x, "Held", "one"], [z, "Held", "two"]]
        )
        for (const { retryAfter } of error.failed) {
          assert.isAtMost(Duration.toMillis(retryAfter ?? Duration.infinity), ttlMillis)
        }
        assert.include(error.message, x)
        assert.isTrue(yield* isFree(a.dlock, y))
      }))

    test("no keys is a mistake that names the option, and a bad key is an InvalidKeyError", () =>
      Effect.gen(function*() {
        const { a, keys: [x = ""] } = yield* setup
        const exit = yield* Effect.exit(a.dlock.multi([[], []]))
        assert(Exit.isFailure(exit))
        assert.include(String(Cause.squash(exit.cause)), "`keys`")
        const error = yield* Effect.flip(a.dlock.multi([x, ""]))
        assert.strictEqual(error._tag, "InvalidKeyError")
        assert.isTrue(yield* isFree(a.dlock, x))
      }))

    test("one that waits gets all keys in the end, and keeps its place in each queue against single locks", () =>
      Effect.gen(function*() {
        const { a, b, keys } = yield* setup
        const [x = "", y = "", z = ""] = keys
        const order: Array<string> = []
        const gates = yield* Effect.all([Deferred.make<void>(), Deferred.make<void>()])
        const held = yield* Effect.all([
          Effect.forkChild(a.dlock.withLock(Deferred.await(gates[0]), x)),
          Effect.forkChild(a.dlock.withLock(Deferred.await(gates[1]), z))
        ])
        yield* Effect.repeat(a.dlock.inspect(x), { until: (found) => found.holders.length === 1 })
        yield* Effect.repeat(a.dlock.inspect(z), { until: (found) => found.holders.length === 1 })
        const all = yield* Effect.forkChild(b.dlock.withMulti(Effect.sync(() => order.push("all")), keys))
        yield* untilWaiting(a.dlock, x, 1)
        const single = yield* Effect.forkChild(a.dlock.withLock(Effect.sync(() => order.push("x")), x))
        yield* untilWaiting(a.dlock, x, 2)
        yield* Deferred.succeed(gates[0], void 0)
        yield* untilWaiting(a.dlock, z, 1)
        // It has x now, and y, and waits for z: whoever came later for x waits still.
        assert.deepStrictEqual(order, [])
        assert.strictEqual((yield* a.dlock.inspect(y)).holders.length, 1)
        yield* Deferred.succeed(gates[1], void 0)
        for (const fiber of [...held, all, single]) yield* Fiber.join<unknown, unknown>(fiber)
        assert.deepStrictEqual(order, ["all", "x"])
        for (const key of keys) yield* untilFree(a.dlock, key)
      }))

    test("a wait that is over gives back what it had, and names the key it waited for", () =>
      Effect.gen(function*() {
        const { a, b, keys } = yield* setup
        const [x = "", y = "", z = ""] = keys
        yield* a.dlock.once(z, { metadata: "holder of z" })
        const fiber = yield* Effect.forkChild(
          Effect.flip(b.dlock.withMulti(Effect.void, keys, { wait: ttlMillis / 5 }))
        )
        yield* untilWaiting(a.dlock, z, 1)
        yield* elapse(0.3)
        const error = yield* Fiber.join(fiber)
        assert(error._tag === "MultiLockError")
        assert.deepStrictEqual(error.failed.map(({ holder, key, reason }) => [key, reason, holder]), [
          [z, "Timeout", "holder of z"]
        ])
        for (const key of [x, y]) assert.isTrue(yield* isFree(a.dlock, key))
        yield* untilWaiting(a.dlock, z, 0)
      }))

    test("interrupting one that waits leaves nothing, in no queue", () =>
      Effect.gen(function*() {
        const { a, b, keys } = yield* setup
        const [x = "", y = "", z = ""] = keys
        yield* a.dlock.once(z)
        const fiber = yield* Effect.forkChild(b.dlock.withMulti(Effect.void, keys))
        yield* untilWaiting(a.dlock, z, 1)
        yield* Fiber.interrupt(fiber)
        yield* untilWaiting(a.dlock, z, 0)
        for (const key of [x, y]) yield* untilFree(a.dlock, key)
      }))

    test("two with the same keys in another order do not wait for each other for ever", () =>
      Effect.gen(function*() {
        const { a, b, keys } = yield* setup
        let runs = 0
        const run = (dlock: typeof a.dlock, given: ReadonlyArray<string>) =>
          dlock.withMulti(Effect.andThen(Effect.sync(() => runs++), Effect.yieldNow), given)
        yield* Effect.forEach(
          Array.from({ length: 20 }, (_, i) => i),
          (i) => run(i % 2 ? a.dlock : b.dlock, i % 3 ? keys : [...keys].reverse()),
          { concurrency: "unbounded", discard: true }
        )
        assert.strictEqual(runs, 20)
        for (const key of keys) yield* untilFree(a.dlock, key)
      }))

    test("extend renews all", () =>
      Effect.gen(function*() {
        const { a, b, keys } = yield* setup
        const lock = yield* a.dlock.multi(keys)
        yield* lock.extend(ttlMillis * 5)
        for (const key of keys) {
          const { holders: [holder] } = yield* b.dlock.inspect(key)
          assert.isAbove(Duration.toMillis(holder?.remaining ?? Duration.zero), ttlMillis * 4)
        }
        assert.isAbove(Duration.toMillis(yield* lock.remaining), ttlMillis * 4)
      }))

    test("the loss of one key is the loss of all: the rest is given back and the effect interrupted", () =>
      Effect.gen(function*() {
        const { a, b, keys } = yield* setup
        const [x = "", y = "", z = ""] = keys
        const fiber = yield* Effect.forkChild(Effect.flip(a.dlock.withMulti(Effect.never, keys)))
        yield* Effect.repeat(b.dlock.inspect(x), { until: (found) => found.holders.length === 1 })
        assert.strictEqual(yield* b.dlock.forceRelease(y), 1)
        const error = yield* Fiber.join(fiber)
        assert(error._tag === "LockLostError")
        assert.strictEqual(error.reason, "Revoked")
        assert.sameMembers([...error.keys], keys)
        for (const key of [x, z]) yield* untilFree(b.dlock, key)
      }))

    test("what was waited for one by one is lost and given back as one too", () =>
      Effect.gen(function*() {
        const { a, b, keys } = yield* setup
        const [x = "", y = "", z = ""] = keys
        const first = yield* b.dlock.once(y)
        const fiber = yield* Effect.forkChild(Effect.flip(a.dlock.withMulti(Effect.never, keys)))
        yield* untilWaiting(b.dlock, y, 1)
        yield* first.release
        yield* Effect.repeat(b.dlock.inspect(z), { until: (found) => found.holders.length === 1 })
        yield* elapse(1.5)
        assert.strictEqual((yield* b.dlock.inspect(x)).holders.length, 1)
        assert.strictEqual(yield* b.dlock.forceRelease(z), 1)
        assert.strictEqual((yield* Fiber.join(fiber))._tag, "LockLostError")
        for (const key of keys) yield* untilFree(b.dlock, key)
      }))

    test("all are renewed while they are held, and free a ttl after their holder died", () =>
      Effect.gen(function*() {
        const { a, b, keys } = yield* setup
        const scope = yield* Scope.make()
        yield* Scope.provide(a.dlock.multi(keys), scope)
        yield* elapse(2.5)
        for (const key of keys) assert.strictEqual((yield* b.dlock.inspect(key)).holders.length, 1)
        yield* a.crash
        yield* elapse(1.1)
        yield* Effect.scoped(b.dlock.multi(keys))
        yield* Scope.close(scope, Exit.void)
      }))
  })
}
