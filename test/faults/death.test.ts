/** Processes that die by SIGKILL: for how long that holds up the others. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import { monotonicMicros } from "../support/workers.js"
import {
  atMost,
  clientOf,
  is,
  now,
  redis,
  serve,
  slack,
  test,
  timed,
  ttl,
  until,
  untilOnlyFences,
  untilWaiting,
  workerOf
} from "./support.js"

describe.concurrent("SIGKILL", () => {
  test("when a holder is killed, the next waiter has the lock within its ttl", () =>
    Effect.gen(function*() {
      const { url } = yield* redis
      const { dlock } = yield* serve(url)
      const rounds = [0, 1, 2]
      const holders = yield* Effect.forEach(rounds, (round) => workerOf("hold", { url, key: `k${round}` }), {
        concurrency: 3
      })
      for (const [round, holder] of holders.entries()) {
        const held = yield* Effect.promise(() => holder.next(is("held")))
        const waiter = yield* Effect.forkChild(dlock.lock(`k${round}`))
        yield* untilWaiting(dlock, `k${round}`, 1)
        // At different times after its last renewal, which comes every third of the ttl.
        yield* Effect.sleep(round * ttl / 9)
        const killedAt = now()
        yield* Effect.promise(() => holder.kill())
        const next = yield* Fiber.join(waiter)
        atMost("take-over after SIGKILL of the holder", now() - killedAt, ttl + slack)
        assert.isAbove(next.fencingToken, held.fence)
      }
    }))

  test("when a singleton is killed in the first third of its ttl, its key stays shut until hold is over, and no longer", () =>
    Effect.gen(function*() {
      const { url } = yield* redis
      const { dlock } = yield* serve(url)
      const hold = 4 * ttl
      const worker = yield* workerOf("single", { url, key: "k", hold })
      const { at } = yield* Effect.promise(() => worker.next(is("runs")))
      yield* Effect.promise(() => worker.kill())
      const [, took] = yield* timed(dlock.singleton("k", Effect.void))
      assert.isAtLeast((monotonicMicros() - at) / 1_000, hold - slack)
      atMost("SIGKILL of a singleton with hold", took, hold + slack)
    }))

  test("killed waiters do not delay those behind them, however many they are", () =>
    Effect.gen(function*() {
      const { url } = yield* redis
      const options = { url, key: "k", count: 50, ttl: 3_000 }
      const { dlock } = yield* serve(url, options)
      const scope = yield* Scope.make()
      yield* Scope.provide(dlock.once("k"), scope)
      const workers = yield* Effect.forEach([1, 2], () => workerOf("queue", options), { concurrency: 2 })
      yield* untilWaiting(dlock, "k", 2 * options.count)
      const behind = yield* Effect.forkChild(dlock.lock("k"))
      const admin = yield* clientOf(url)
      // All of them can be reached by messages: this is not about processes that have just started.
      const reachable = async () =>
        (await admin.hvals("dlock:lock:{k}:state")).filter((entry) => /^w \d+ \d+ \d+ 1/.test(entry))
      yield* until(reachable, 5_000, (entries) => entries.length === 2 * options.count + 1)
      yield* Effect.promise(() => Promise.all(workers.map((worker) => worker.kill())))
      // Redis has seen that they are gone.
      yield* until(() => admin.pubsub("CHANNELS", "*"), 1_000, (inboxes) => inboxes.length === 1)
      const [, took] = yield* timed(Effect.andThen(Scope.close(scope, Exit.void), Fiber.join(behind)))
      atMost(`hand-over past ${2 * options.count} killed waiters`, took, 100)
    }))

  test("a process that is killed leaves no key for longer than its ttl", () =>
    Effect.gen(function*() {
      const { url } = yield* redis
      const worker = yield* workerOf("queue", { url, key: "k", count: 5 })
      const { close, dlock } = yield* serve(url)
      yield* untilWaiting(dlock, "k", 4)
      yield* close
      yield* Effect.promise(() => worker.kill())
      // Nobody runs a script any more: the keys go by themselves.
      atMost("keys gone after the last process was killed", yield* untilOnlyFences(url), ttl + slack)
    }))
})
