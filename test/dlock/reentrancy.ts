/** Waiting for what one holds is caught: it would wait for itself. */
import * as Edition from "#edition"
import * as TestEdition from "#test-edition"
import { assert, describe } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import type { Dlock } from "../../src/index.js"
import type { World } from "./world.js"
import { newKey, untilWaiting } from "./world.js"

export const reentrancy = ({ elapse, makeServer, name, test, ttlMillis }: World): void => {
  describe(`self-deadlock on ${name}`, () => {
    const setup = Effect.gen(function*() {
      const process = yield* makeServer
      const key = yield* newKey
      const [a, b] = [yield* process, yield* process]
      return { key, other: `${key}-other`, a: a.dlock, b: b.dlock }
    })
    const isReentrant = (effect: Effect.Effect<unknown, unknown>): Effect.Effect<void> =>
      Effect.map(Effect.flip(effect), (error) => {
        const { failed: [first] = [error] } = error as { readonly failed?: ReadonlyArray<unknown> }
        assert.deepInclude(first as object, { _tag: "LockAcquisitionError", reason: "Reentrant" })
      }).pipe(Effect.orDie)

    test("a fiber that waits for what it holds fails at once, however it got it and asks for it", () =>
      Effect.gen(function*() {
        const { a, key, other } = yield* setup
        const asks = [
          Effect.scoped(a.lock(key)),
          a.withLock(Effect.void, key),
          a.withMulti(Effect.void, [other, key])
        ]
        yield* Effect.scoped(Effect.andThen(a.once(key), Effect.forEach(asks, isReentrant)))
        yield* a.withLock(Effect.forEach(asks, isReentrant), key)
        yield* a.withMulti(Effect.forEach(asks, isReentrant), [key, `${key}-third`])
      }))

    test("so does a child of that fiber", () =>
      Effect.gen(function*() {
        const { a, key } = yield* setup
        const ask = isReentrant(a.withLock(Effect.void, key))
        yield* a.withLock(Effect.all([ask, ask], { concurrency: 2 }), key)
        yield* a.withLock(
          Effect.flatMap(Effect.forkChild(Effect.flatMap(Effect.forkChild(ask), Fiber.join)), Fiber.join),
          key
        )
      }))

    test("so does a fiber whose child got it for them both", () =>
      Effect.gen(function*() {
        const { a, key, other } = yield* setup
        yield* Effect.all([a.once(key), a.once(other)], { concurrency: 2 })
        yield* isReentrant(a.withLock(Effect.void, key))
        yield* isReentrant(a.withLock(Effect.void, other))
      }))

    test("so does a nested scope, and a fiber that is forked there", () =>
      Effect.gen(function*() {
        const { a, key } = yield* setup
        const ask = isReentrant(Effect.scoped(a.lock(key)))
        yield* Effect.scoped(Effect.gen(function*() {
          yield* a.once(key)
          yield* ask
          yield* Effect.scoped(Effect.all([ask, Effect.andThen(Effect.yieldNow, ask)], { concurrency: 2 }))
        }))
        yield* Effect.scoped(a.lock(key))
      }))

    test("so does what runs in a runtime that was captured inside", () =>
      Effect.gen(function*() {
        const { a, key } = yield* setup
        const ask = Effect.flatMap(
          Effect.withFiber<Edition.AnyFiber>((fiber) => Effect.succeed(fiber)),
          (fiber) => Fiber.join(Edition.starter<never>(fiber)(isReentrant(a.withLock(Effect.void, key))))
        )
        yield* a.withLock(ask, key)
        yield* Effect.scoped(Effect.andThen(a.once(key), ask))
      }))

    test("so does a fiber whose child took it for their scope and was only waited for", () =>
      Effect.gen(function*() {
        const { a, key } = yield* setup
        yield* Effect.flatMap(Effect.forkChild(a.once(key)), Fiber.await)
        yield* isReentrant(a.withLock(Effect.void, key))
      }))

    test("so does the body of guard, wherever the lock was taken", () =>
      Effect.gen(function*() {
        const { a, key } = yield* setup
        const scope = yield* Scope.make()
        const lock = yield* Scope.provide(a.once(key), scope)
        yield* lock.guard(isReentrant(a.withLock(Effect.void, key)))
        yield* Scope.close(scope, Exit.void)
      }))

    test("so it is where calls are traced", () =>
      Effect.gen(function*() {
        const { a, key } = yield* setup
        const ask = isReentrant(a.withLock(Effect.void, key))
        yield* Effect.scoped(
          Effect.andThen(a.lock(key), Effect.scoped(Effect.all([ask, Effect.scoped(ask)], { concurrency: 2 })))
        )
        yield* a.withLock(Effect.scoped(ask), key)
      }).pipe(TestEdition.traced(() => {})))

    test("fibers side by side in one scope may wait for each other", () =>
      Effect.gen(function*() {
        const { a, key } = yield* setup
        let inside = 0
        const work = Effect.gen(function*() {
          const lock = yield* a.lock(key)
          assert.strictEqual(++inside, 1)
          yield* Effect.yieldNow
          inside--
          yield* lock.release
        })
        yield* Effect.all(Array.from({ length: 8 }, () => work), { concurrency: 4 })
      }))

    test("a lock that is held for another scope, to be given back there, may be waited for", () =>
      Effect.gen(function*() {
        const { a, key } = yield* setup
        for (let round = 0; round < 3; round++) {
          const scope = yield* Scope.make()
          yield* Scope.provide(a.lock(key), scope)
          yield* Effect.forkDetach(Effect.andThen(Effect.yieldNow, Scope.close(scope, Exit.void)))
        }
      }))

    test("a daemon that was forked under the lock and wants it next may wait: reentrant is \"wait\"", () =>
      Effect.gen(function*() {
        const { a, key } = yield* setup
        const semaphore = yield* a.semaphore(key, { reentrant: "wait" })
        const both = yield* a.readWriteLock(key, { reentrant: "wait" })
        const next = Effect.succeed("next")
        const forms: ReadonlyArray<
          readonly [(body: Effect.Effect<string, unknown>) => Effect.Effect<unknown, unknown>, Dlock.Kind]
        > = [
          [(body) => a.withLock(body, key, { reentrant: "wait" }), "lock"],
          [(body) => a.withMulti(body, [key], { reentrant: "wait" }), "lock"],
          [(body) => Effect.scoped(Effect.andThen(a.lock(key, { reentrant: "wait" }), body)), "lock"],
          [(body) => a.singleton(key, body, { reentrant: "wait" }), "lock"],
          [semaphore.withPermits(1), "semaphore"],
          [both.withWrite, "readWriteLock"]
        ]
        for (const [form, kind] of forms) {
          const daemon = yield* Deferred.make<Fiber.Fiber<unknown, unknown>>()
          yield* form(
            Effect.forkDetach(form(next)).pipe(
              Effect.flatMap((fiber) => Deferred.succeed(daemon, fiber)),
              Effect.andThen(untilWaiting(a, key, 1, kind)),
              Effect.as("first")
            )
          )
          assert.strictEqual(yield* Effect.flatMap(Deferred.await(daemon), Fiber.join), "next")
        }
      }))

    test("the error names the key, and what to do", () =>
      Effect.gen(function*() {
        const { a, key } = yield* setup
        const error = yield* a.withLock(Effect.flip(a.withLock(Effect.void, key)), key)
        assert.strictEqual(
          error.message,
          `"${key}" is held by the code around this call. Take it once, outside, or release it first; if its holder does not ` +
            "wait for this fiber, use `reentrant: \"wait\"`."
        )
      }))

    test("what does not wait finds it held, as anybody would", () =>
      Effect.gen(function*() {
        const { a, key } = yield* setup
        yield* a.once(key)
        for (const ask of [a.once(key), a.lock(key, { wait: 0 })]) {
          const error = yield* Effect.flip(ask)
          assert.deepInclude(error, { _tag: "LockAcquisitionError", reason: "Held" })
        }
      }))

    test("after it was given back, or lost, it may be taken again", () =>
      Effect.gen(function*() {
        const { a, b, key } = yield* setup
        yield* a.withLock(Effect.void, key)
        yield* a.withLock(Effect.void, key)
        yield* Effect.scoped(a.lock(key))
        const lock = yield* a.lock(key)
        yield* lock.release
        const second = yield* a.lock(key)
        yield* b.forceRelease(key)
        yield* Effect.flip(second.lost)
        yield* a.withLock(Effect.void, key)
      }))

    test("another process, another key or another fiber may wait", () =>
      Effect.gen(function*() {
        const { a, b, key, other } = yield* setup
        yield* Effect.scoped(Effect.gen(function*() {
          yield* a.lock(key)
          yield* a.withLock(Effect.void, other)
          const error = yield* Effect.forkChild(Effect.flip(Effect.scoped(b.lock(key, { wait: ttlMillis / 5 }))))
          yield* elapse(0.3)
          assert.deepInclude(yield* Fiber.join(error), { reason: "Timeout" })
        }))
      }))

    test("permits of a semaphore are to be taken at once", () =>
      Effect.gen(function*() {
        const { a, key } = yield* setup
        const semaphore = yield* a.semaphore(key, { permits: 5 })
        yield* semaphore.take(1)
        yield* isReentrant(Effect.scoped(semaphore.take(1)))
        assert.strictEqual((yield* semaphore.tryTake(1))._tag, "Some")
      }))
  })
}
