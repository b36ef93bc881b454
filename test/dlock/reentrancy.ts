/** Waiting for what one holds is caught: it would wait for itself. */
import { assert, describe } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import type { World } from "./world.js"
import { newKey } from "./world.js"

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
        yield* Effect.scoped(Effect.zipRight(a.once(key), Effect.forEach(asks, isReentrant)))
        yield* a.withLock(Effect.forEach(asks, isReentrant), key)
        yield* a.withMulti(Effect.forEach(asks, isReentrant), [key, `${key}-third`])
      }))

    test("so does a child of that fiber", () =>
      Effect.gen(function*() {
        const { a, key } = yield* setup
        const ask = isReentrant(a.withLock(Effect.void, key))
        yield* a.withLock(Effect.all([ask, ask], { concurrency: 2 }), key)
        yield* a.withLock(Effect.flatMap(Effect.fork(Effect.flatMap(Effect.fork(ask), Fiber.join)), Fiber.join), key)
      }))

    test("so does a fiber whose child got it for them both", () =>
      Effect.gen(function*() {
        const { a, key, other } = yield* setup
        yield* Effect.all([a.once(key), a.once(other)], { concurrency: 2 })
        yield* isReentrant(a.withLock(Effect.void, key))
        yield* isReentrant(a.withLock(Effect.void, other))
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
          const error = yield* Effect.fork(Effect.flip(Effect.scoped(b.lock(key, { wait: ttlMillis / 5 }))))
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
