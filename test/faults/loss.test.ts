/** A Redis that stops, or forgets everything, while a lock is held: when its holder is told, and what comes after. */
import { assert, describe } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type { Service } from "./support.js"
import {
  atMost,
  clientOf,
  commandTimeout,
  nothingUnhandled,
  now,
  redis,
  serve,
  slack,
  test,
  timed,
  ttl,
  untilWaiting
} from "./support.js"

/** Runs a body that never ends under the lock. Says when it was interrupted, and by what. */
const holdUntilLost = ({ dlock }: Pick<Service, "dlock">, key: string) =>
  Effect.gen(function*() {
    const inside = yield* Deferred.make<void>()
    let interruptedAt = NaN
    const body = Effect.andThen(Deferred.succeed(inside, void 0), Effect.never).pipe(
      Effect.onInterrupt(() =>
        Effect.sync(() => {
          interruptedAt = now()
        })
      )
    )
    const fiber = yield* Effect.forkChild(Effect.flip(dlock.withLock(body, key)))
    yield* Deferred.await(inside)
    const enteredAt = now()
    const lost = Effect.map(Fiber.join(fiber), (error) => {
      assert.strictEqual(error._tag, "LockLostError")
      return { error: error as Extract<typeof error, { readonly _tag: "LockLostError" }>, interruptedAt }
    })
    return { lost, enteredAt }
  })

/** Tries at once and again until it is had. */
const onceSoon = ({ dlock }: Pick<Service, "dlock">, key: string) =>
  Effect.retry(Effect.scoped(dlock.once(key)), { times: 1_000 })

describe.concurrent("loss", () => {
  test("when Redis freezes, withLock interrupts before a ttl has passed since the last renewal", () =>
    Effect.gen(function*() {
      yield* nothingUnhandled
      const server = yield* redis
      const holder = yield* serve(server.url)
      const other = yield* serve(server.url)
      yield* other.dlock.inspect("k")
      // Just after the grant; and after renewals.
      for (const renewals of [0, 1.5, 2.1]) {
        const { enteredAt, lost } = yield* holdUntilLost(holder, "k")
        yield* Effect.sleep(renewals * ttl / 3)
        server.freeze()
        const frozenAt = now()
        const began = performance.now()
        const { error, interruptedAt } = yield* lost
        if (renewals === 0) atMost("freeze: interrupted after it entered", interruptedAt - enteredAt, ttl)
        atMost("freeze: interrupted after the freeze", interruptedAt - frozenAt, ttl)
        assert.isAtLeast(performance.now() - began, ttl / 2, "not before it must")
        assert.strictEqual(error.reason, "Unreachable")
        server.thaw()
        const [next, took] = yield* timed(onceSoon(other, "k"))
        atMost("freeze: first success after the thaw", took, ttl + slack)
        assert.isAbove(next.fencingToken, error.fencingToken)
      }
    }))

  test("a waiter of a Redis that freezes for long gets a BackendError, for a short time it waits on", () =>
    Effect.gen(function*() {
      yield* nothingUnhandled
      const server = yield* redis
      const { dlock } = yield* serve(server.url)
      const holder = yield* serve(server.url, { ttl: 30_000 })
      const lock = yield* holder.dlock.once("k")
      const patient = yield* Effect.forkChild(dlock.lock("k", { ttl: 10_000 }))
      const [exit, took] = yield* timed(Effect.gen(function*() {
        const waiter = yield* Effect.forkChild(dlock.lock("k"))
        yield* untilWaiting(holder.dlock, "k", 2)
        server.freeze()
        return yield* Fiber.await(waiter)
      }))
      assert.include(String(exit), "BackendError")
      atMost("freeze: a waiter is told", took, ttl + commandTimeout + slack)
      server.thaw()
      const [, handOver] = yield* timed(
        Effect.andThen(Effect.retry(lock.release, { times: 100 }), Fiber.join(patient))
      )
      atMost("freeze: the other waiter has it after the thaw", handOver, ttl + slack)
    }))

  test("after FLUSHALL the holder is told within a renewal period, and the next fencing token is higher", () =>
    Effect.gen(function*() {
      const { url } = yield* redis
      const admin = yield* clientOf(url)
      const holder = yield* serve(url)
      const other = yield* serve(url)
      for (const renewals of [0, 0.5, 1.9]) {
        const { lost } = yield* holdUntilLost(holder, "k")
        yield* Effect.sleep(renewals * ttl / 3)
        yield* Effect.promise(() => admin.flushall())
        const flushedAt = now()
        const { error, interruptedAt } = yield* lost
        atMost("FLUSHALL: interrupted", interruptedAt - flushedAt, ttl / 3 + slack)
        assert.strictEqual(error.reason, "Superseded")
        const next = yield* Effect.scoped(other.dlock.once("k"))
        assert.isAbove(next.fencingToken, error.fencingToken)
      }
    }))

  test("a holder that was granted anew after FLUSHALL, while the older runs on, has the higher token", () =>
    Effect.gen(function*() {
      const { url } = yield* redis
      const admin = yield* clientOf(url)
      const holder = yield* serve(url)
      const other = yield* serve(url)
      const lock = yield* holder.dlock.once("k")
      yield* Effect.promise(() => admin.flushall())
      const next = yield* other.dlock.once("k")
      assert.isAbove(next.fencingToken, lock.fencingToken)
      const [, took] = yield* timed(Effect.flip(lock.lost))
      atMost("FLUSHALL: the older of two holders is told", took, ttl / 3 + slack)
      yield* next.check
    }))

  test("waiters survive a FLUSHALL and are served one by one", () =>
    Effect.gen(function*() {
      const { url } = yield* redis
      const admin = yield* clientOf(url)
      const holder = yield* serve(url)
      const others = [yield* serve(url), yield* serve(url)]
      const { lost } = yield* holdUntilLost(holder, "k")
      let inside = 0
      const body = Effect.sync(() => assert.strictEqual(++inside, 1)).pipe(
        Effect.andThen(Effect.sleep(5)),
        Effect.andThen(Effect.sync(() => inside--))
      )
      const waiters = yield* Effect.forEach(
        Array.from({ length: 20 }, (_, i) => others[i % 2]!),
        ({ dlock }) => Effect.forkChild(dlock.withLock(body, "k"))
      )
      yield* untilWaiting(holder.dlock, "k", 20)
      yield* Effect.promise(() => admin.flushall())
      const [, took] = yield* timed(Effect.forEach(waiters, Fiber.join))
      atMost("FLUSHALL: 20 waiters of two processes served", took, ttl + slack)
      assert.strictEqual((yield* lost).error.reason, "Superseded")
      assert.isTrue(Exit.isSuccess(yield* Effect.exit(Effect.scoped(holder.dlock.once("k")))))
    }))
})
