/** What holds for `once` and `lock`: who gets in, in which order, and what is left behind. */
import * as TestEdition from "#test-edition"
import { assert, describe } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import type { World } from "./world.js"
import { isFree, newKey, untilFree, untilWaiting } from "./world.js"

export const acquiring = ({ elapse, makeServer, name, test, ttlMillis }: World): void => {
  describe(`acquiring on ${name}`, () => {
    const setup = Effect.gen(function*() {
      const process = yield* makeServer
      return { key: yield* newKey, a: yield* process, b: yield* process, process }
    })

    test("a free lock is held until its scope closes", () =>
      Effect.gen(function*() {
        const { a, key } = yield* setup
        const scope = yield* Scope.make()
        const lock = yield* Scope.provide(a.dlock.once(key, { metadata: "me" }), scope)
        assert.strictEqual(lock.key, key)
        const { holders } = yield* a.dlock.inspect(key)
        assert.deepStrictEqual(holders.map((holder) => [holder.fencingToken, holder.metadata]), [
          [lock.fencingToken, "me"]
        ])
        yield* Scope.close(scope, Exit.void)
        assert.isTrue(yield* isFree(a.dlock, key))
      }))

    test("once fails at once when another process holds, and says who and for how long", () =>
      Effect.gen(function*() {
        const { a, b, key } = yield* setup
        yield* a.dlock.once(key, { metadata: "first" })
        const error = yield* Effect.flip(b.dlock.once(key))
        assert.strictEqual(error._tag, "LockAcquisitionError")
        if (error._tag !== "LockAcquisitionError") return
        assert.deepInclude({ ...error }, { key, reason: "Held", holder: "first" })
        assert.include(error.message, key)
        assert.isDefined(error.retryAfter)
        assert.strictEqual((yield* a.dlock.inspect(key)).waiting, 0)
      }))

    test("the same process is held off as any other", () =>
      Effect.gen(function*() {
        const { a, key } = yield* setup
        yield* a.dlock.once(key)
        assert.strictEqual((yield* Effect.flip(a.dlock.once(key)))._tag, "LockAcquisitionError")
      }))

    test("once never overtakes the queue", () =>
      Effect.gen(function*() {
        const { a, b, key, process } = yield* setup
        const c = yield* process
        const scope = yield* Scope.make()
        const holder = yield* Scope.provide(a.dlock.once(key), scope)
        const waiter = yield* Effect.forkChild(b.dlock.lock(key))
        yield* untilWaiting(a.dlock, key, 1)
        yield* holder.release
        const error = yield* Effect.flip(c.dlock.once(key))
        assert.strictEqual(error._tag, "LockAcquisitionError")
        yield* Fiber.join(waiter)
      }))

    test("waiters of all processes get in one after the other, in the order they came", () =>
      Effect.gen(function*() {
        const { a, b, key, process } = yield* setup
        const services = [a.dlock, b.dlock, (yield* process).dlock]
        const gate = yield* Deferred.make<void>()
        const order: Array<number> = []
        let inside = 0
        const enter = (i: number) =>
          Effect.gen(function*() {
            assert.strictEqual(++inside, 1)
            order.push(i)
            yield* Effect.yieldNow
            inside--
          })
        const first = yield* Effect.forkChild(a.dlock.withLock(Deferred.await(gate), key))
        yield* Effect.repeat(a.dlock.inspect(key), { until: (found) => found.holders.length === 1 })
        const fibers: Array<Fiber.Fiber<void, unknown>> = []
        for (let i = 0; i < 12; i++) {
          const service = services[i % 3] ?? a.dlock
          fibers.push(yield* Effect.forkChild(service.withLock(enter(i), key)))
          yield* untilWaiting(a.dlock, key, i + 1)
        }
        yield* Deferred.succeed(gate, void 0)
        yield* Fiber.join(first)
        yield* Effect.forEach(fibers, Fiber.join)
        assert.deepStrictEqual(order, Array.from({ length: 12 }, (_, i) => i))
        yield* untilFree(a.dlock, key)
      }))

    test("a wait that is over fails with Timeout and leaves no place in the queue", () =>
      Effect.gen(function*() {
        const { a, b, key } = yield* setup
        yield* a.dlock.once(key)
        const waiter = yield* Effect.forkChild(Effect.flip(b.dlock.lock(key, { wait: ttlMillis / 5 })))
        yield* untilWaiting(a.dlock, key, 1)
        yield* elapse(0.3)
        const error = yield* Fiber.join(waiter)
        assert.strictEqual(error._tag, "LockAcquisitionError")
        if (error._tag === "LockAcquisitionError") assert.strictEqual(error.reason, "Timeout")
        yield* untilWaiting(a.dlock, key, 0)
      }))

    test("an interrupted waiter leaves no place in the queue, and the one behind it moves up", () =>
      Effect.gen(function*() {
        const { a, b, key } = yield* setup
        const holder = yield* a.dlock.once(key)
        const first = yield* Effect.forkChild(b.dlock.lock(key))
        yield* untilWaiting(a.dlock, key, 1)
        const second = yield* Effect.forkChild(b.dlock.lock(key))
        yield* untilWaiting(a.dlock, key, 2)
        yield* Fiber.interrupt(first)
        yield* untilWaiting(a.dlock, key, 1)
        yield* holder.release
        yield* Fiber.join(second)
      }))

    test("interrupting waiters at any moment, their grant crossing or not, leaves nothing", () =>
      Effect.gen(function*() {
        const { a, b, key } = yield* setup
        for (let round = 0; round < 40; round++) {
          const holder = yield* a.dlock.once(key)
          const waiter = yield* Effect.forkChild(b.dlock.withLock(Effect.never, key))
          if (round % 2 === 0) yield* untilWaiting(a.dlock, key, 1)
          const release = yield* Effect.forkChild(holder.release)
          for (let i = 0; i < round % 10; i++) yield* Effect.yieldNow
          yield* Fiber.interrupt(waiter)
          yield* Fiber.join(release)
          yield* untilFree(a.dlock, key)
        }
      }))

    test("a crashed holder blocks others for its ttl at most", () =>
      Effect.gen(function*() {
        const { a, b, key } = yield* setup
        yield* a.dlock.once(key)
        const waiter = yield* Effect.forkChild(b.dlock.lock(key))
        yield* untilWaiting(b.dlock, key, 1)
        yield* a.crash
        yield* elapse(1.2)
        assert.isTrue((yield* TestEdition.poll(waiter))._tag === "Some")
        yield* Fiber.join(waiter)
      }))

    test("a crashed waiter does not keep those behind it from getting in", () =>
      Effect.gen(function*() {
        const { a, b, key, process } = yield* setup
        const c = yield* process
        const holder = yield* a.dlock.once(key)
        yield* Effect.forkChild(b.dlock.lock(key))
        yield* untilWaiting(a.dlock, key, 1)
        const live = yield* Effect.forkChild(c.dlock.lock(key))
        yield* untilWaiting(a.dlock, key, 2)
        yield* b.crash
        yield* holder.release
        yield* elapse(1.2)
        yield* Fiber.join(live)
      }))

    test("a key that cannot name a lock fails with InvalidKeyError", () =>
      Effect.gen(function*() {
        const { a } = yield* setup
        for (const key of ["", "x".repeat(1025), "\ud800", "é".repeat(513)]) {
          assert.strictEqual((yield* Effect.flip(a.dlock.once(key)))._tag, "InvalidKeyError")
        }
      }))

    test("keys with braces, newlines, NUL and emoji work, and none is another", () =>
      Effect.gen(function*() {
        const { a, b } = yield* setup
        const unique = yield* newKey
        const keys = ["{", "}", "{}", "{a}b", "a}b{c", "{a", "a}", "a", "{a}", "\n", "\0", "🔒", "x".repeat(900), "a:b"]
          .map((key) => key + unique)
        for (const key of keys) yield* a.dlock.once(key)
        for (const key of keys) {
          assert.strictEqual((yield* b.dlock.inspect(key)).holders.length, 1)
          assert.strictEqual((yield* Effect.flip(b.dlock.once(key)))._tag, "LockAcquisitionError")
        }
      }))
  })
}
