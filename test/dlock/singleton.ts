/** What holds for singletons. */
import * as TestEdition from "#test-edition"
import { assert, describe } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as SubscriptionRef from "effect/SubscriptionRef"
import type { Singleton } from "../../src/index.js"
import type { World } from "./world.js"
import { newKey, untilFree, untilWaiting } from "./world.js"

export const singleton = ({ elapse, makeServer, name, test, ttlMillis }: World): void => {
  describe(`singletons on ${name}`, () => {
    const setup = Effect.gen(function*() {
      const process = yield* makeServer
      return { key: yield* newKey, a: yield* process, b: yield* process, process }
    })
    const untilHeld = (dlock: Parameters<typeof untilFree>[0], key: string) =>
      Effect.repeat(Effect.orDie(dlock.inspect(key)), { until: (found) => found.holders.length === 1 })

    test("one copy runs, and another process takes over when that one is interrupted", () =>
      Effect.gen(function*() {
        const { a, b, key } = yield* setup
        const running: Array<string> = []
        const job = (name: string) =>
          Effect.acquireUseRelease(
            Effect.sync(() => running.push(name)),
            () => Effect.never,
            () => Effect.sync(() => running.splice(running.indexOf(name), 1))
          )
        const one = yield* Effect.forkChild(a.dlock.singleton(key, job("one")))
        yield* untilHeld(a.dlock, key)
        const two = yield* Effect.forkChild(b.dlock.singleton(key, job("two")))
        yield* untilWaiting(a.dlock, key, 1)
        assert.deepStrictEqual(running, ["one"])
        yield* Fiber.interrupt(one)
        yield* untilWaiting(a.dlock, key, 0)
        yield* Effect.repeat(Effect.andThen(Effect.yieldNow, Effect.sync(() => running.length)), {
          until: (count) => count === 1
        })
        assert.deepStrictEqual(running, ["two"])
        yield* Fiber.interrupt(two)
        yield* untilFree(a.dlock, key)
      }))

    test("on loss the effect is interrupted before another starts, and this one stands again", () =>
      Effect.gen(function*() {
        const { a, b, key } = yield* setup
        let starts = 0
        let ends = 0
        const job = Effect.acquireUseRelease(
          Effect.sync(() => {
            starts++
          }),
          () => Effect.never,
          () => Effect.sync(() => ends++)
        )
        const fiber = yield* Effect.forkChild(a.dlock.singleton(key, job))
        const untilStarted = (times: number) =>
          Effect.repeat(Effect.andThen(Effect.yieldNow, Effect.sync(() => starts)), { until: (n) => n === times })
        yield* untilStarted(1)
        assert.strictEqual(yield* b.dlock.forceRelease(key), 1)
        yield* untilStarted(2)
        assert.strictEqual(ends, 1)
        yield* Fiber.interrupt(fiber)
      }))

    test("so it does when it is asked to let go: it stands again, behind those who wait", () =>
      Effect.gen(function*() {
        const { a, b, key } = yield* setup
        const runs: Array<string> = []
        const job = (name: string) => Effect.andThen(Effect.sync(() => runs.push(name)), Effect.never)
        const one = yield* Effect.forkChild(a.dlock.singleton(key, job("one"), { hold: ttlMillis * 10 }))
        yield* untilHeld(a.dlock, key)
        const two = yield* Effect.forkChild(b.dlock.singleton(key, job("two")))
        yield* untilWaiting(a.dlock, key, 1)
        assert.strictEqual(yield* b.dlock.askRelease(key), 1)
        yield* Effect.repeat(Effect.andThen(Effect.yieldNow, Effect.sync(() => runs.length)), {
          until: (n) => n === 2
        })
        yield* untilWaiting(a.dlock, key, 1)
        assert.deepStrictEqual(runs, ["one", "two"])
        yield* Effect.forEach([one, two], Fiber.interrupt)
      }))

    test("an effect that releases its lock steps down: it is interrupted, and stands again behind those who wait", () =>
      Effect.gen(function*() {
        const { a, b, key } = yield* setup
        const runs: Array<string> = []
        const one = yield* Effect.forkChild(a.dlock.singleton(key, (lock) =>
          Effect.gen(function*() {
            runs.push("one")
            if (runs.length > 1) return "done"
            yield* untilWaiting(b.dlock, key, 1)
            yield* lock.release
            return yield* Effect.never
          })))
        yield* untilHeld(a.dlock, key)
        const two = yield* Effect.forkChild(b.dlock.singleton(key, Effect.sync(() => runs.push("two"))))
        assert.strictEqual(yield* Fiber.join(one), "done")
        yield* Fiber.join(two)
        assert.deepStrictEqual(runs, ["one", "two", "one"])
      }))

    test("an effect that fails by itself as its lock is lost is heard of in the log, and stands again", () =>
      Effect.gen(function*() {
        const { a, b, key } = yield* setup
        const inside = yield* Deferred.make<void>()
        const logged: Array<string> = []
        let runs = 0
        const job = Effect.suspend(() =>
          ++runs > 1 ? Effect.succeed("done") : Effect.andThen(Deferred.succeed(inside, void 0), Effect.never).pipe(
            Effect.ensuring(Effect.die(new Error("it cannot clean up")))
          )
        )
        const fiber = yield* Effect.forkChild(
          a.dlock.singleton(key, job).pipe(
            TestEdition.loggedTo(({ cause, message }) => void logged.push(`${message} ${cause}`))
          )
        )
        yield* Deferred.await(inside)
        assert.strictEqual(yield* b.dlock.forceRelease(key), 1)
        assert.strictEqual(yield* Fiber.join(fiber), "done")
        assert.lengthOf(logged, 1)
        assert.match(logged[0] ?? "", /^The effect of a singleton failed.*it cannot clean up/s)
      }))

    test("a process that died is followed within its ttl", () =>
      Effect.gen(function*() {
        const { a, b, key } = yield* setup
        const one = yield* Effect.forkChild(a.dlock.singleton(key, Effect.never))
        yield* untilHeld(b.dlock, key)
        const took = yield* Deferred.make<void>()
        const two = yield* Effect.forkChild(
          b.dlock.singleton(key, Effect.andThen(Deferred.succeed(took, void 0), Effect.never))
        )
        yield* untilWaiting(b.dlock, key, 1)
        yield* a.crash
        yield* elapse(1.2)
        yield* Deferred.await(took)
        yield* Effect.forEach([two, one], Fiber.interrupt)
      }))

    test("closing the layer ends those that lead and those that wait, with BackendError", () =>
      Effect.gen(function*() {
        const { b, key, process } = yield* setup
        const scope = yield* Scope.make()
        const { dlock } = yield* Scope.provide(process, scope)
        const leading = yield* Effect.forkChild(Effect.flip(dlock.singleton(key, Effect.never)))
        yield* untilHeld(b.dlock, key)
        const other = yield* newKey
        yield* b.dlock.once(other)
        const waiting = yield* Effect.forkChild(Effect.flip(dlock.singleton(other, Effect.never)))
        yield* untilWaiting(b.dlock, other, 1)
        yield* Scope.close(scope, Exit.void)
        for (const fiber of [leading, waiting]) assert.strictEqual((yield* Fiber.join(fiber))._tag, "BackendError")
      }))

    test("it ends as the effect ends, with its success or its failure", () =>
      Effect.gen(function*() {
        const { a, key } = yield* setup
        assert.strictEqual(yield* a.dlock.singleton(key, Effect.succeed(1)), 1)
        assert.strictEqual(yield* Effect.flip(a.dlock.singleton(key, Effect.fail("no"))), "no")
        yield* untilFree(a.dlock, key)
      }))

    test("hold keeps the key for that long after a short job, and no longer while the process lives", () =>
      Effect.gen(function*() {
        const { a, b, key } = yield* setup
        const options = { hold: ttlMillis * 2, wait: 0 }
        assert.strictEqual(yield* a.dlock.singleton(key, Effect.succeed("ran"), options), "ran")
        yield* elapse(1.5)
        const error = yield* Effect.flip(b.dlock.singleton(key, Effect.die(new Error("it must not run")), options))
        assert.deepInclude(error, { _tag: "LockAcquisitionError", reason: "Held" })
        yield* elapse(0.7)
        assert.strictEqual(yield* b.dlock.singleton(key, Effect.succeed("again"), options), "again")
      }))

    test("hold stands when the process stops before it is over", () =>
      Effect.gen(function*() {
        const { a, b, key } = yield* setup
        yield* a.dlock.singleton(key, Effect.void, { hold: ttlMillis * 2 })
        yield* a.crash
        yield* elapse(1.5)
        const error = yield* Effect.flip(b.dlock.singleton(key, Effect.void, { wait: 0 }))
        assert.deepInclude(error, { _tag: "LockAcquisitionError", reason: "Held" })
        yield* elapse(0.7)
        yield* b.dlock.singleton(key, Effect.void, { wait: 0 })
      }))

    test("so it does when the process dies while its job runs, however short the ttl", () =>
      Effect.gen(function*() {
        const { a, b, key } = yield* setup
        const one = yield* Effect.forkChild(a.dlock.singleton(key, Effect.never, { hold: ttlMillis * 3 }))
        // It is held for that long before the job starts.
        yield* Effect.repeat(Effect.orDie(b.dlock.inspect(key)), {
          until: ({ holders: [holder] }) => holder !== undefined && Duration.toMillis(holder.remaining) > ttlMillis * 2
        })
        yield* a.crash
        yield* elapse(2)
        const error = yield* Effect.flip(b.dlock.singleton(key, Effect.void, { wait: 0 }))
        assert.deepInclude(error, { _tag: "LockAcquisitionError", reason: "Held" })
        yield* elapse(1.2)
        yield* b.dlock.singleton(key, Effect.void, { wait: 0 })
        yield* Fiber.interrupt(one)
      }))

    test("a job that outlasts hold gives its key back when it ends", () =>
      Effect.gen(function*() {
        const { a, b, key } = yield* setup
        const gate = yield* Deferred.make<void>()
        const one = yield* Effect.forkChild(a.dlock.singleton(key, Deferred.await(gate), { hold: ttlMillis * 1.5 }))
        yield* untilHeld(b.dlock, key)
        yield* elapse(2)
        assert.deepInclude(yield* Effect.flip(b.dlock.singleton(key, Effect.void, { wait: 0 })), { reason: "Held" })
        yield* Deferred.succeed(gate, void 0)
        yield* Fiber.join(one)
        yield* b.dlock.singleton(key, Effect.void, { wait: 0 })
      }))

    for (const end of ["askRelease", "forceRelease"] as const) {
      test(`${end} ends a hold at once, also when nobody is there any more who could hear of it`, () =>
        Effect.gen(function*() {
          const { a, b, key } = yield* setup
          yield* a.dlock.singleton(key, Effect.void, { hold: ttlMillis * 10 })
          yield* a.crash
          assert.strictEqual(yield* b.dlock[end](key), 1)
          yield* b.dlock.singleton(key, Effect.void, { wait: 0 })
        }))
    }

    for (const when of ["while its job runs", "after its job has ended"]) {
      test(`a layer that closes ${when} leaves the key shut until hold is over, and no longer`, () =>
        Effect.gen(function*() {
          const { b, key, process } = yield* setup
          const scope = yield* Scope.make()
          const { dlock } = yield* Scope.provide(process, scope)
          const job = when === "while its job runs" ? Effect.never : Effect.void
          const one = yield* Effect.forkChild(dlock.singleton(key, job, { hold: ttlMillis * 0.7 }))
          yield* when === "while its job runs" ? untilHeld(b.dlock, key) : Fiber.join(one)
          yield* elapse(0.2)
          yield* Scope.close(scope, Exit.void)
          const error = yield* Effect.flip(b.dlock.singleton(key, Effect.void, { wait: 0 }))
          assert.deepInclude(error, { _tag: "LockAcquisitionError", reason: "Held" })
          // No longer than that: its lease would last until a ttl after its last renewal.
          yield* elapse(0.55)
          yield* b.dlock.singleton(key, Effect.void, { wait: 0 })
          yield* Fiber.interrupt(one)
        }))
    }

    test("hold shorter than the ttl ends when it says, not with the lease", () =>
      Effect.gen(function*() {
        const { a, b, key } = yield* setup
        yield* a.dlock.singleton(key, Effect.void, { hold: ttlMillis / 5 })
        yield* elapse(0.3)
        yield* untilFree(b.dlock, key)
      }))

    test("a job that every host starts by the clock runs once a tick", () =>
      Effect.gen(function*() {
        const { a, b, key } = yield* setup
        let runs = 0
        const job = Effect.sync(() => {
          runs++
        })
        const host = ({ dlock }: typeof a) =>
          dlock.singleton(key, job, { wait: 0, hold: ttlMillis / 2 }).pipe(
            Effect.catchTag("LockAcquisitionError", () => Effect.void)
          )
        // Some hosts are late, but by less than `hold`.
        const tick = Effect.andThen(
          Effect.all([host(a), host(b), host(a), host(b)], { concurrency: "unbounded" }),
          Effect.andThen(elapse(0.2), host(b))
        )
        for (let ticks = 1; ticks <= 3; ticks++) {
          yield* tick
          assert.strictEqual(runs, ticks)
          yield* elapse(0.5)
          yield* untilFree(a.dlock, key)
        }
      }))

    test("a leader has the whole schedule, and whoever takes over goes on with it", () =>
      Effect.gen(function*() {
        const { a, b, key } = yield* setup
        const ran: Array<string> = []
        const every = Schedule.spaced(ttlMillis / 10)
        const host = ({ dlock }: typeof a, name: string) =>
          Effect.forkChild(dlock.singleton(key, Effect.schedule(Effect.sync(() => ran.push(name)), every)))
        const one = yield* host(a, "one")
        yield* untilHeld(a.dlock, key)
        const two = yield* host(b, "two")
        yield* untilWaiting(a.dlock, key, 1)
        yield* elapse(0.5)
        assert.isAbove(ran.length, 1)
        assert.notInclude(ran, "two")
        yield* Fiber.interrupt(one)
        const before = ran.length
        yield* elapse(0.5)
        assert.isAbove(ran.length, before)
        assert.deepStrictEqual(new Set(ran.slice(before)), new Set(["two"]))
        yield* Fiber.interrupt(two)
      }))

    test("the leader ref tells who leads, here and elsewhere", () =>
      Effect.gen(function*() {
        const { a, b, key } = yield* setup
        const none: Option.Option<Singleton.Leader> = Option.none()
        const [refA, refB] = yield* Effect.all([SubscriptionRef.make(none), SubscriptionRef.make(none)])
        const see = (ref: typeof refA, metadata: string, isSelf: boolean) =>
          Effect.repeat(Effect.andThen(Effect.yieldNow, SubscriptionRef.get(ref)), {
            until: Option.exists((leader) => leader.metadata === metadata && leader.isSelf === isSelf)
          })
        const one = yield* Effect.forkChild(a.dlock.singleton(key, Effect.never, { leader: refA, metadata: "one" }))
        yield* see(refA, "one", true)
        const two = yield* Effect.forkChild(b.dlock.singleton(key, Effect.never, { leader: refB, metadata: "two" }))
        yield* see(refB, "one", false)
        yield* Fiber.interrupt(one)
        yield* see(refB, "two", true)
        assert.isTrue(Option.isNone(yield* SubscriptionRef.get(refA)))
        yield* Fiber.interrupt(two)
      }))

    test("the leader ref says that nobody is known any more, when this one stops standing: interrupted, or out of time", () =>
      Effect.gen(function*() {
        const { a, b, key } = yield* setup
        yield* a.dlock.once(key, { metadata: "one" })
        for (const end of ["interrupted", "out of time"]) {
          const ref = yield* SubscriptionRef.make<Option.Option<Singleton.Leader>>(Option.none())
          const wait = end === "interrupted" ? {} : { wait: ttlMillis / 5 }
          const standing = yield* Effect.forkChild(b.dlock.singleton(key, Effect.never, { leader: ref, ...wait }))
          yield* Effect.repeat(Effect.andThen(Effect.yieldNow, SubscriptionRef.get(ref)), { until: Option.isSome })
          yield* end === "interrupted" ? Fiber.interrupt(standing) : elapse(0.3)
          yield* Fiber.await(standing)
          assert.isTrue(Option.isNone(yield* SubscriptionRef.get(ref)))
        }
      }))
  })
}
