/** Waiters that are interrupted at any moment, by the thousand. */
import * as TestEdition from "#test-edition"
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import { allKeys, watchCommands } from "../support/redisSpy.js"
import type { ServiceOptions } from "./support.js"
import { atMost, now, redis, serve, slack, test, timed, until, untilOnlyFences } from "./support.js"

const count = 10_000

/** Longer than what is waited for: nothing goes away by itself. */
const options = { ttl: 3_000, commandTimeout: 3_000 }

test("10,000 waiters interrupted at any moment leave the fence key, no fiber, and a lock that is free", () =>
  Effect.gen(function*() {
    const { url } = yield* redis
    const crowd = TestEdition.crowd()
    const fibers = Effect.sync(crowd.size)
    const serveCounted = (options: ServiceOptions) => crowd.watch(serve(url, options))
    // Its alarms sleep until its last call would have timed out, so the one that is at rest soon is counted.
    const model = yield* serveCounted({ ttl: 100, commandTimeout: 100 })
    yield* Effect.sleep(200)
    const atRest = yield* fibers
    yield* model.close
    assert.strictEqual(yield* fibers, 0)
    const services = [yield* serveCounted(options), yield* serveCounted(options)] as const

    let inside = 0
    let entered = 0
    const body = Effect.gen(function*() {
      assert.strictEqual(++inside, 1, "one at a time")
      entered++
      yield* Effect.yieldNow
    }).pipe(Effect.ensuring(Effect.sync(() => inside--)))
    const outcomes = { interrupted: 0, done: 0 }
    const waiter = (i: number) =>
      Effect.gen(function*() {
        const fiber = yield* Effect.forkChild(services[i % 2 as 0 | 1].dlock.withLock(body, "k"))
        // Most of them at once, some after so long that they are first in the queue, or inside.
        yield* Effect.sleep(Math.random() ** 12 * 1_000)
        const exit = yield* TestEdition.interrupted(fiber)
        if (Exit.hasInterrupts(exit)) outcomes.interrupted++
        else if (Exit.isSuccess(exit)) outcomes.done++
        else return yield* exit
      })
    const [, took] = yield* timed(
      Effect.forEach(Array.from({ length: count }, (_, i) => i), waiter, { concurrency: 300, discard: true })
    )
    atMost("10,000 waiters, all interrupted or done", took, 15_000)
    assert.isAbove(outcomes.interrupted, count / 4)
    assert.isAbove(entered, 10)
    assert.strictEqual(outcomes.interrupted + outcomes.done, count)

    atMost("only the fence key left after that", yield* untilOnlyFences(url), 1_000)
    assert.deepStrictEqual(yield* Effect.promise(() => allKeys(url)), ["dlock:lock:{k}:fence"])
    for (const { dlock } of services) {
      const [, took] = yield* timed(Effect.scoped(dlock.once("k")))
      atMost("once after that", took, slack)
    }
    // Whoever still counted as a holder or a waiter would get a heartbeat or a probe by now.
    const quiet = yield* Effect.promise(() => watchCommands(url, Effect.sleep(options.ttl / 3 + 100)))
    assert.deepStrictEqual(quiet.issued, {})
    yield* until(() => Effect.runPromise(fibers), options.commandTimeout + 1_000, (now) => now === 2 * atRest)
    for (const { close } of services) yield* close
    assert.strictEqual(yield* fibers, 0)
  }))

test("a waiter interrupted in the very step of its grant passes the lock on", () =>
  Effect.gen(function*() {
    const { url } = yield* redis
    const { dlock } = yield* serve(url, options)
    const scope = yield* Scope.make()
    yield* Scope.provide(dlock.once("k"), scope)
    const waiters = yield* Effect.forEach(
      Array.from({ length: 500 }),
      () => Effect.forkChild(Effect.scoped(Effect.andThen(dlock.lock("k"), Effect.never)))
    )
    const last = yield* Effect.forkChild(dlock.lock("k"))
    yield* Scope.close(scope, Exit.void)
    const from = now()
    // Each is interrupted while the grant that the one before it passed on is under way.
    for (const waiter of waiters) yield* Fiber.interrupt(waiter)
    yield* Fiber.join(last)
    atMost("lock had after 500 interrupted before it", now() - from, 2_000)
  }))
