/** What holds for the effect that runs under a lock, in every form that takes one. */
import * as Edition from "#edition"
import * as TestEdition from "#test-edition"
import { assert, describe } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type { Lock } from "../../src/index.js"
import { Dlock } from "../../src/index.js"
import type { World } from "./world.js"
import { isFree, newKey } from "./world.js"

export const bodies = ({ elapse, makeServer, name, test }: World): void => {
  describe(`bodies on ${name}`, () => {
    const setup = Effect.gen(function*() {
      const process = yield* makeServer
      const [a, b] = [yield* process, yield* process]
      const key = yield* newKey
      const semaphore = yield* a.dlock.semaphore(key, { permits: 2 })
      const both = yield* a.dlock.readWriteLock(key)
      /** Every form with a body. */
      const forms = <A>(body: Effect.Effect<A, unknown>): ReadonlyArray<Effect.Effect<A, unknown>> => [
        a.dlock.withLock(body, key),
        Effect.scoped(Effect.flatMap(a.dlock.once(key), (lock) => lock.guard(body))),
        Effect.scoped(Effect.flatMap(a.dlock.multi([key]), (lock) => lock.guard(body))),
        a.dlock.withMulti(body, [key]),
        semaphore.withPermits(1)(body),
        Effect.map(semaphore.withPermitsIfAvailable(1)(body), Option.getOrThrow),
        both.withRead(body),
        both.withWrite(body),
        a.dlock.singleton(key, body)
      ]
      return { key, a, b, forms }
    })

    test("what a body forked lives on when the body has ended, as with Effect's own semaphore", () =>
      Effect.gen(function*() {
        const { forms } = yield* setup
        const gate = yield* Deferred.make<string>()
        for (const form of forms(Effect.forkChild(Deferred.await(gate)))) {
          const job = yield* form
          assert.strictEqual((yield* Effect.yieldNow.pipe(Effect.andThen(TestEdition.poll(job))))._tag, "None")
        }
        const jobs = yield* Effect.all(
          forms(Effect.forkChild(Effect.forkChild(Deferred.await(gate)).pipe(Effect.flatMap(Fiber.join))))
        )
        yield* Deferred.succeed(gate, "done")
        for (const job of jobs) assert.strictEqual(yield* Fiber.join(job), "done")
      }))

    test("a function of the handle is as good as an effect, and its handle is that of the very hold", () =>
      Effect.gen(function*() {
        const { a, b, key } = yield* setup
        const semaphore = yield* a.dlock.semaphore(key, { permits: 2 })
        const both = yield* a.dlock.readWriteLock(key)
        const isOurs = (kind: Dlock.Kind) => (lock: Lock.Lock) =>
          Effect.gen(function*() {
            yield* lock.check
            assert.strictEqual(lock.key, key)
            assert.strictEqual((yield* b.dlock.inspect(key, kind)).lastFencingToken, lock.fencingToken)
            return "ran"
          })
        assert.strictEqual(yield* a.dlock.withLock(isOurs("lock"), key), "ran")
        assert.deepStrictEqual(yield* a.dlock.withLockIfAvailable(isOurs("lock"), key), Option.some("ran"))
        assert.strictEqual(yield* a.dlock.singleton(key, isOurs("lock")), "ran")
        assert.strictEqual(yield* semaphore.withPermits(2)(isOurs("semaphore")), "ran")
        assert.deepStrictEqual(yield* semaphore.withPermitsIfAvailable(2)(isOurs("semaphore")), Option.some("ran"))
        assert.strictEqual(yield* both.withRead(isOurs("readWriteLock")), "ran")
        assert.strictEqual(
          yield* both.withWrite((lock) => Effect.andThen(lock.downgrade, isOurs("readWriteLock")(lock))),
          "ran"
        )
        const fences = yield* a.dlock.withMulti((lock) => Effect.succeed(lock.fencingTokens), [key, `${key}b`])
        assert.strictEqual(fences.get(key), (yield* b.dlock.inspect(key)).lastFencingToken)
        const thrown = yield* Effect.exit(a.dlock.withLock((): Effect.Effect<void> => {
          throw new Error("in the function")
        }, key))
        assert.isTrue(Exit.isFailure(thrown) && Cause.hasDies(thrown.cause))
        assert.isTrue(yield* isFree(b.dlock, key))
      }))

    test("a lock that its own body releases is lost to it, and the error does not speak of others", () =>
      Effect.gen(function*() {
        const { a, key } = yield* setup
        const error = yield* Effect.flip(a.dlock.withLock((lock) => Effect.andThen(lock.release, Effect.never), key))
        assert(error._tag === "LockLostError")
        assert.strictEqual(error.reason, "Released")
        assert.notInclude(error.message, "nother")
        assert.include(error.message, key)
      }))

    test("withLockIfAvailable runs the effect or does not, never waits, and tells its own failure apart", () =>
      Effect.gen(function*() {
        const { a, b, key } = yield* setup
        const mustNotRun = Effect.die(new Error("it must not run"))
        assert.deepStrictEqual(yield* a.dlock.withLockIfAvailable(Effect.succeed(1), key), Option.some(1))
        const nested = a.dlock.withLockIfAvailable(b.dlock.withLockIfAvailable(mustNotRun, key), key)
        assert.deepStrictEqual(yield* nested, Option.some(Option.none()))
        const own = yield* Effect.flip(
          a.dlock.withLockIfAvailable(Effect.scoped(b.dlock.once(key)), key, { wait: "1 minute" })
        )
        assert.deepInclude(own, { _tag: "LockAcquisitionError", reason: "Held" })
        assert.strictEqual((yield* Effect.flip(a.dlock.withLockIfAvailable(mustNotRun, "")))._tag, "InvalidKeyError")
        assert.isTrue(yield* isFree(a.dlock, key))
      }))

    test("so it does when the lock is lost, and until the fiber ends that asked for the lock", () =>
      Effect.gen(function*() {
        const { a, b, key } = yield* setup
        const forked = yield* Deferred.make<Fiber.Fiber<never>>()
        const over = yield* Deferred.make<void>()
        const body = Effect.andThen(
          Effect.flatMap(Effect.forkChild(Effect.never), (job) => Deferred.succeed(forked, job)),
          Effect.never
        )
        const lost = yield* Deferred.make<string>()
        const caller = yield* Effect.forkChild(
          Effect.exit(a.dlock.withLock(body, key)).pipe(
            Effect.tap((exit) => Deferred.succeed(lost, Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "")),
            Effect.andThen(Deferred.await(over))
          )
        )
        const job = yield* Deferred.await(forked)
        assert.strictEqual(yield* b.dlock.forceRelease(key), 1)
        assert.include(yield* Deferred.await(lost), "LockLostError")
        assert.strictEqual((yield* TestEdition.poll(job))._tag, "None")
        yield* Deferred.succeed(over, void 0)
        yield* Fiber.join(caller)
        assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(job)))
      }))

    test("a body that fails by itself after its lock was lost: the loss comes first, and its own failure is kept", () =>
      Effect.gen(function*() {
        const { b, forms, key } = yield* setup
        const kinds = ["lock", "semaphore", "readWriteLock"] as const
        for (const own of [Effect.fail("own"), Effect.die(new Error("own"))]) {
          const body = Effect.forEach(kinds, (kind) => Effect.orDie(b.dlock.forceRelease(key, kind))).pipe(
            Effect.andThen(elapse(0.1)),
            Effect.andThen(own),
            Effect.uninterruptible
          )
          // The loss of its lock is a singleton's own business.
          for (const form of forms(body).slice(0, -1)) {
            const cause = yield* Effect.flip(Effect.sandbox(form))
            const [lost, ...others] = Edition.errorsIn(cause)
            assert(lost instanceof Dlock.LockLostError)
            assert.strictEqual(lost.reason, "Revoked")
            assert.deepStrictEqual(others.map((one) => one instanceof Error ? one.message : one), ["own"])
            assert.isFalse(Cause.hasInterrupts(cause))
          }
        }
      }))
  })
}
