/** What holds for semaphores. */
import { assert, describe } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import type { World } from "./world.js"
import { isFree, newKey, untilFree, untilWaiting } from "./world.js"

export const semaphore = ({ elapse, makeServer, name, test }: World): void => {
  describe(`semaphores on ${name}`, () => {
    const setup = Effect.gen(function*() {
      const process = yield* makeServer
      const key = yield* newKey
      const [a, b] = [yield* process, yield* process]
      const make = (permits: number) =>
        Effect.all([a.dlock.semaphore(key, { permits }), b.dlock.semaphore(key, { permits })])
      return { key, a, b, make, process }
    })
    const untilQueued = (dlock: Parameters<typeof untilWaiting>[0], key: string, count: number) =>
      untilWaiting(dlock, key, count, "semaphore")

    test("at most as many permits are out as there are, among all processes", () =>
      Effect.gen(function*() {
        const { a, key, make } = yield* setup
        const semaphores = yield* make(3)
        let inside = 0
        let most = 0
        const work = Effect.acquireUseRelease(
          Effect.sync(() => {
            most = Math.max(most, ++inside)
          }),
          () => Effect.repeat(Effect.yieldNow, { times: 5 }),
          () => Effect.sync(() => inside--)
        )
        yield* Effect.forEach(
          Array.from({ length: 30 }, (_, i) => semaphores[i % 2]!),
          (semaphore) => semaphore.withPermits(1)(work),
          { concurrency: "unbounded", discard: true }
        )
        assert.strictEqual(most, 3)
        yield* untilFree(a.dlock, key, "semaphore")
      }))

    test("permits are weighted and first in, first out: a large request blocks those behind it", () =>
      Effect.gen(function*() {
        const { a, key, make } = yield* setup
        const [one, two] = yield* make(4)
        const order: Array<string> = []
        const gate = yield* Deferred.make<void>()
        const note = (name: string) => Effect.sync(() => order.push(name))
        const holder = yield* Effect.forkChild(one.withPermits(2)(Deferred.await(gate)))
        yield* Effect.repeat(one.available, { until: (count) => count === 2 })
        const large = yield* Effect.forkChild(two.withPermits(4)(note("large")))
        yield* untilQueued(a.dlock, key, 1)
        const small = yield* Effect.forkChild(one.withPermits(1)(note("small")))
        yield* untilQueued(a.dlock, key, 2)
        assert.strictEqual(yield* one.available, 0)
        assert.isTrue(Option.isNone(yield* two.tryTake(1)))
        yield* Deferred.succeed(gate, void 0)
        for (const fiber of [holder, large, small]) yield* Fiber.join<unknown, unknown>(fiber)
        assert.deepStrictEqual(order, ["large", "small"])
      }))

    test("take holds until the scope closes, and available says how many are left", () =>
      Effect.gen(function*() {
        const { make } = yield* setup
        const [one, two] = yield* make(5)
        assert.strictEqual(yield* two.available, 5)
        yield* Effect.scoped(Effect.gen(function*() {
          const lock = yield* one.take(3)
          yield* lock.check
          assert.strictEqual(yield* two.available, 2)
          assert.isTrue(Option.isNone(yield* two.tryTake(3)))
          yield* Effect.scoped(Effect.gen(function*() {
            assert.isTrue(Option.isSome(yield* two.tryTake(2)))
            assert.strictEqual(yield* one.available, 0)
          }))
        }))
        assert.strictEqual(yield* two.available, 5)
      }))

    test("withPermitsIfAvailable runs the effect or does not, and tells the effect's own failure apart", () =>
      Effect.gen(function*() {
        const { a, key, make } = yield* setup
        const [one, two] = yield* make(1)
        const inTime = yield* one.withPermitsIfAvailable(1)(Effect.succeed("ran"))
        assert.strictEqual(Option.getOrUndefined(inTime), "ran")
        yield* Effect.scoped(Effect.gen(function*() {
          yield* one.take()
          const ran = two.withPermitsIfAvailable(1)(Effect.die(new Error("it must not run")))
          assert.isTrue(Option.isNone(yield* ran))
        }))
        yield* a.dlock.once(key)
        const error = yield* Effect.flip(one.withPermitsIfAvailable(1)(Effect.scoped(a.dlock.once(key))))
        assert.strictEqual(error._tag, "LockAcquisitionError")
        assert.isTrue(yield* isFree(a.dlock, key, "semaphore"))
      }))

    test("more than there are fails at once with OverLimit, whether it waits or not", () =>
      Effect.gen(function*() {
        const { make } = yield* setup
        const [one] = yield* make(2)
        const asks: ReadonlyArray<Effect.Effect<unknown, unknown, Scope.Scope>> = [
          one.take(3),
          one.tryTake(3),
          one.withPermits(3)(Effect.void)
        ]
        for (const ask of asks) {
          const error = yield* Effect.flip(ask)
          assert.deepInclude(error as object, {
            _tag: "LockAcquisitionError",
            reason: "OverLimit",
            permits: 2,
            requested: 3,
            message: `Semaphore "${one.key}" has 2 permits; 3 were requested.`
          })
        }
      }))

    test("a number of permits that is none is a mistake that names the option", () =>
      Effect.gen(function*() {
        const { a, key, make } = yield* setup
        const [one] = yield* make(2)
        for (const permits of [0, -1, 1.5, 2 ** 31 + 1, NaN, Infinity, "2"]) {
          const bad = permits as number
          const attempts: ReadonlyArray<Effect.Effect<unknown, unknown, Scope.Scope>> = [
            a.dlock.semaphore(key, { permits: bad }),
            one.take(bad),
            one.tryTake(bad),
            one.withPermits(bad)(Effect.void),
            one.withPermitsIfAvailable(bad)(Effect.void)
          ]
          for (const attempt of attempts) {
            const exit = yield* Effect.exit(attempt)
            assert(Exit.isFailure(exit))
            assert(Cause.hasDies(exit.cause))
            assert.include(String(Cause.squash(exit.cause)), "`permits`")
          }
        }
      }))

    test("a semaphore, a lock and a read-write lock of one key have nothing to do with each other", () =>
      Effect.gen(function*() {
        const { a, b, key, make } = yield* setup
        const [one] = yield* make(1)
        yield* one.take()
        yield* a.dlock.once(key)
        const both = yield* b.dlock.readWriteLock(key)
        yield* both.write
        assert.isTrue(Option.isNone(yield* one.tryTake()))
      }))

    test("a crashed holder frees its own permits after its ttl, and no others", () =>
      Effect.gen(function*() {
        const { a, key, make } = yield* setup
        const [one, two] = yield* make(3)
        const scope = yield* Scope.make()
        yield* Scope.provide(one.take(2), scope)
        yield* two.take()
        yield* a.crash
        yield* elapse(1.2)
        assert.strictEqual(yield* two.available, 2)
        assert.isTrue(Option.isSome(yield* two.tryTake(2)))
        assert.isTrue(Option.isNone(yield* two.tryTake(1)))
        yield* Scope.close(scope, Exit.void)
        assert.strictEqual(key, two.key)
      }))

    test("processes that disagree: the latest sets the limit, and inspect shows who asked for what", () =>
      Effect.gen(function*() {
        const { a, b, key } = yield* setup
        const one = yield* a.dlock.semaphore(key, { permits: 2 })
        const two = yield* b.dlock.semaphore(key, { permits: 3 })
        yield* one.take(2)
        assert.isTrue(Option.isNone(yield* one.tryTake()))
        yield* two.take(1)
        const found = yield* a.dlock.inspect(key, "semaphore")
        assert.deepInclude(found, { permits: 3, used: 3 })
        assert.deepStrictEqual(found.holders.map((holder) => [holder.permits, holder.of]), [[2, 2], [1, 3]])
      }))

    test("a waiter that asks for more than the limit is by now is told so", () =>
      Effect.gen(function*() {
        const { a, b, key, process } = yield* setup
        const large = yield* a.dlock.semaphore(key, { permits: 5 })
        const small = yield* b.dlock.semaphore(key, { permits: 2 })
        const holder = yield* small.take(1)
        const waiter = yield* Effect.forkChild(Effect.flip(large.withPermits(5)(Effect.void)))
        yield* untilQueued(a.dlock, key, 1)
        const next = yield* (yield* process).dlock.semaphore(key, { permits: 2 })
        const behind = yield* Effect.forkChild(next.withPermits(2)(Effect.succeed("in")))
        const error = yield* Fiber.join(waiter)
        assert(error._tag === "LockAcquisitionError")
        assert.deepInclude({ ...error }, { reason: "OverLimit", permits: 2, requested: 5 })
        yield* holder.release
        assert.strictEqual(yield* Fiber.join(behind), "in")
      }))
  })
}
