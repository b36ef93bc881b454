/** A holder that does not run for longer than its lease: nobody can tell it in time, so it must notice by itself. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { monotonicMicros } from "../support/workers.js"
import { atMost, is, nothingUnhandled, redis, serve, test, timed, until, untilWaiting, workerOf } from "./support.js"

const ttl = 600

const block = (millis: number) =>
  Effect.sync(() => {
    const end = performance.now() + millis
    while (performance.now() < end);
    return "done"
  })

test("a body that blocked the event loop past its lease fails with LockLostError although it succeeded", () =>
  Effect.gen(function*() {
    yield* nothingUnhandled
    const { url } = yield* redis
    const { dlock } = yield* serve(url, { ttl })
    const lost = yield* Effect.flip(dlock.withLock(block(ttl + 50), "k"))
    assert.strictEqual(lost._tag, "LockLostError")
    if (lost._tag === "LockLostError") assert.include(["Expired", "Unreachable"], lost.reason)
    // Not much shorter, and it is fine.
    assert.strictEqual(yield* dlock.withLock(block(ttl / 2), "k"), "done")
    assert.strictEqual(
      yield* dlock.withLock(Effect.andThen(block(ttl / 2), Effect.sleep(ttl / 2)), "k"),
      undefined
    )
  }))

test("nothing of the body runs after a block that outlasted the lease", () =>
  Effect.gen(function*() {
    yield* nothingUnhandled
    const { url } = yield* redis
    const { dlock } = yield* serve(url, { ttl })
    let written = false
    const body = block(ttl + 50).pipe(
      Effect.andThen(Effect.yieldNow),
      // A timer that is overdue comes before one that is not.
      Effect.andThen(Effect.sleep(20)),
      Effect.andThen(Effect.sync(() => {
        written = true
      }))
    )
    assert.strictEqual((yield* Effect.flip(dlock.withLock(body, "k")))._tag, "LockLostError")
    assert.isFalse(written)
    const lock = yield* dlock.once("check")
    yield* block(ttl + 50)
    assert.isTrue(Exit.isFailure(yield* Effect.exit(lock.check)))
  }))

test("a waiter whose process blocked for longer than it counts as alive gets in all the same", () =>
  Effect.gen(function*() {
    yield* nothingUnhandled
    const { url } = yield* redis
    const { dlock } = yield* serve(url, { ttl })
    const other = yield* serve(url, { ttl })
    const lock = yield* other.dlock.once("k", { ttl: 60_000 })
    const waiter = yield* Effect.forkChild(dlock.lock("k"))
    yield* untilWaiting(dlock, "k", 1)
    yield* block(ttl + 100)
    const [, took] = yield* timed(Effect.andThen(lock.release, Fiber.join(waiter)))
    atMost("waiter blocked past its liveness: has the lock after the release", took, ttl)
  }))

describe.concurrent("a worker that was stopped for longer than its ttl", () => {
  test("finds its lock lost at the first check after it goes on", () =>
    Effect.gen(function*() {
      const { url } = yield* redis
      const { dlock } = yield* serve(url, { ttl })
      const worker = yield* workerOf("check", { url, key: "k", ttl })
      const held = yield* Effect.promise(() => worker.next(is("held")))
      yield* Effect.promise(() => worker.next(is("checked")))
      worker.freeze()
      const next = yield* dlock.lock("k")
      assert.isAbove(next.fencingToken, held.fence)
      const thawedAt = monotonicMicros()
      worker.thaw()
      const after = (message: any) => message.type === "checked" && message.from >= thawedAt
      const first = yield* Effect.promise(() => worker.next(after))
      assert.isFalse(first.holds)
      atMost("first check after SIGCONT", (first.from - thawedAt) / 1_000, 500)
      const checks: ReadonlyArray<any> = worker.messages.filter(is("checked"))
      assert.isTrue(checks.some((check) => check.holds), "it held before")
      assert.isFalse(checks.some((check) => check.holds && check.from >= thawedAt))
      yield* next.check
    }))

  test("writes at most what it had begun, then stops, and stands behind the others", () =>
    Effect.gen(function*() {
      const { url } = yield* redis
      const { dlock } = yield* serve(url, { ttl })
      const worker = yield* workerOf("write", { url, key: "k", ttl })
      worker.send("go")
      const { fence } = yield* Effect.promise(() => worker.next(is("write")))
      worker.freeze()
      const next = yield* dlock.lock("k")
      const thawedAt = monotonicMicros()
      worker.thaw()
      const left = yield* Effect.promise(() => worker.next(is("leave")))
      atMost("withLock interrupted after SIGCONT", (left.at - thawedAt) / 1_000, 500)
      const late = worker.messages.filter((message: any) => message.type === "write" && message.at >= thawedAt)
      assert.isAtMost(late.length, 1)
      assert.isAbove(next.fencingToken, fence)
      yield* until(() => Effect.runPromise(dlock.inspect("k")), 2_000, (found) => found.waiting === 1)
      yield* next.check
    }))
})
