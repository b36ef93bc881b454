/** What holds for the effect that runs under a lock, in every form that takes one. */
import { assert, describe } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber } from "effect"
import type { Dlock } from "../../src/index.js"
import type { World } from "./world.js"
import { newKey } from "./world.js"

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
        Effect.flatten(semaphore.withPermitsIfAvailable(1)(body)),
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
        for (const form of forms(Effect.fork(Deferred.await(gate)))) {
          const job = yield* form
          assert.strictEqual((yield* Effect.yieldNow().pipe(Effect.zipRight(Fiber.poll(job))))._tag, "None")
        }
        const jobs = yield* Effect.all(
          forms(Effect.fork(Effect.fork(Deferred.await(gate)).pipe(Effect.flatMap(Fiber.join))))
        )
        yield* Deferred.succeed(gate, "done")
        for (const job of jobs) assert.strictEqual(yield* Fiber.join(job), "done")
      }))

    test("so it does when the lock is lost, and until the fiber ends that asked for the lock", () =>
      Effect.gen(function*() {
        const { a, b, key } = yield* setup
        const forked = yield* Deferred.make<Fiber.RuntimeFiber<never>>()
        const over = yield* Deferred.make<void>()
        const body = Effect.zipRight(
          Effect.flatMap(Effect.fork(Effect.never), (job) => Deferred.succeed(forked, job)),
          Effect.never
        )
        const lost = yield* Deferred.make<string>()
        const caller = yield* Effect.fork(
          Effect.exit(a.dlock.withLock(body, key)).pipe(
            Effect.tap((exit) => Deferred.succeed(lost, Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "")),
            Effect.zipRight(Deferred.await(over))
          )
        )
        const job = yield* Deferred.await(forked)
        assert.strictEqual(yield* b.dlock.forceRelease(key), 1)
        assert.include(yield* Deferred.await(lost), "LockLostError")
        assert.strictEqual((yield* Fiber.poll(job))._tag, "None")
        yield* Deferred.succeed(over, void 0)
        yield* Fiber.join(caller)
        assert.isTrue(Exit.isInterrupted(yield* Fiber.await(job)))
      }))

    test("a body that fails by itself after its lock was lost: the loss comes first, and its own failure is kept", () =>
      Effect.gen(function*() {
        const { b, forms, key } = yield* setup
        const kinds = ["lock", "semaphore", "readWriteLock"] as const
        for (const own of [Effect.fail("own"), Effect.dieMessage("own")]) {
          const body = Effect.forEach(kinds, (kind) => Effect.orDie(b.dlock.forceRelease(key, kind))).pipe(
            Effect.zipRight(elapse(0.1)),
            Effect.zipRight(own),
            Effect.uninterruptible
          )
          // The loss of its lock is a singleton's own business.
          for (const form of forms(body).slice(0, -1)) {
            const cause = yield* Effect.flip(Effect.sandbox(form))
            const told = yield* Effect.flip(
              Effect.catchTag(
                Effect.failCause(cause as Cause.Cause<Dlock.LockLostError>),
                "LockLostError",
                (lost) => Effect.fail(lost.reason)
              )
            )
            assert.strictEqual(told, "Revoked")
            const [, ...others] = [...Cause.failures(cause), ...Cause.defects(cause)]
            assert.deepStrictEqual(others.map((one) => one instanceof Error ? one.message : one), ["own"])
            assert.isFalse(Cause.isInterrupted(cause))
          }
        }
      }))
  })
}
