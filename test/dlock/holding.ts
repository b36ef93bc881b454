/** What holds for a lock that is held: renewal, loss, release, fencing; and for the effect that runs under it. */
import * as TestEdition from "#test-edition"
import { assert, describe } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import { inspect } from "node:util"
import type { Dlock } from "../../src/index.js"
import type { World } from "./world.js"
import { isFree, newKey, untilFree, untilWaiting } from "./world.js"

export const holding = ({ elapse, makeServer, name, test, ttlMillis }: World): void => {
  describe(`holding on ${name}`, () => {
    const setup = Effect.gen(function*() {
      const process = yield* makeServer
      return { key: yield* newKey, a: yield* process, b: yield* process }
    })
    const lostReason = (exit: Exit.Exit<unknown, unknown>): unknown => {
      const error = Exit.isFailure(exit) ? Option.getOrUndefined(Cause.findErrorOption(exit.cause)) : undefined
      return error !== null && typeof error === "object" && "reason" in error ? error.reason : error
    }

    test("what was done under a lock that the server forgot, or passed on, was not done under it, and is told so", () =>
      Effect.gen(function*() {
        const { a, b, key } = yield* setup
        const semaphore = yield* a.dlock.semaphore(key, { permits: 2 })
        const readWrite = yield* a.dlock.readWriteLock(key)
        type Form = (body: Effect.Effect<string>) => Effect.Effect<unknown, unknown>
        const forms: ReadonlyArray<readonly [Form, Dlock.Kind]> = [
          [(body) => a.dlock.withLock(body, key), "lock"],
          [(body) => a.dlock.withMulti(body, [key, `${key}-2`]), "lock"],
          [semaphore.withPermits(1), "semaphore"],
          [semaphore.withPermitsIfAvailable(1), "semaphore"],
          [readWrite.withRead, "readWriteLock"],
          [readWrite.withWrite, "readWriteLock"]
        ]
        for (const [form, kind] of forms) {
          const passedOn = kind === "lock" ? Effect.scoped(Effect.asVoid(b.dlock.once(key))) : Effect.void
          const meanwhile = Effect.orDie(Effect.andThen(a.lose(key, kind), passedOn))
          const succeeds = yield* Effect.exit(form(Effect.as(meanwhile, "done")))
          assert.strictEqual(lostReason(succeeds), "Superseded")
          const dies = yield* Effect.exit(form(Effect.andThen(meanwhile, Effect.die("own"))))
          assert(Exit.isFailure(dies))
          assert.include(Cause.pretty(dies.cause), "own")
          assert.include(Cause.pretty(dies.cause), "LockLostError")
        }
      }))

    test("a lock that was extended to many ttls is told of its loss as soon as any other (R43)", () =>
      Effect.gen(function*() {
        const { a, key } = yield* setup
        const lock = yield* a.dlock.once(key)
        yield* lock.extend(ttlMillis * 12)
        const lost = yield* Effect.forkChild(Effect.flip(lock.lost))
        yield* a.lose(key)
        yield* elapse(1)
        assert.isTrue(Option.isSome(yield* TestEdition.poll(lost)))
        assert.strictEqual((yield* Fiber.join(lost)).reason, "Superseded")
      }))

    test("a release of a lock that the server does not know any more, or that was lost before, says so", () =>
      Effect.gen(function*() {
        const { a, key } = yield* setup
        const lock = yield* a.dlock.once(key)
        yield* a.lose(key)
        assert.strictEqual(lostReason(yield* Effect.exit(lock.release)), "Superseded")
        assert.strictEqual(lostReason(yield* Effect.exit(lock.check)), "Superseded")
        const second = yield* a.dlock.once(key, { renew: false })
        yield* elapse(1.1)
        assert.strictEqual(lostReason(yield* Effect.exit(second.release)), "Expired")
        const third = yield* a.dlock.once(key)
        yield* third.release
        yield* third.release
        assert.strictEqual(lostReason(yield* Effect.exit(third.check)), "Released")
      }))

    test("a held lock is renewed for as long as its scope is open", () =>
      Effect.gen(function*() {
        const { a, b, key } = yield* setup
        const lock = yield* a.dlock.once(key)
        yield* elapse(3)
        yield* lock.check
        assert.isAbove(Duration.toMillis(yield* lock.remaining), ttlMillis / 3)
        assert.strictEqual((yield* Effect.flip(b.dlock.once(key)))._tag, "LockAcquisitionError")
      }))

    test("without renewal the lease ends after its ttl, and the holder is told before another gets in", () =>
      Effect.gen(function*() {
        const { a, b, key } = yield* setup
        const lock = yield* a.dlock.once(key, { renew: false })
        const told: Array<string> = []
        yield* Effect.forkChild(Effect.catch(lock.lost, () => Effect.sync(() => told.push("lost"))))
        const next = yield* Effect.forkChild(Effect.tap(b.dlock.lock(key), () => Effect.sync(() => told.push("next"))))
        yield* elapse(1.2)
        yield* Fiber.join(next)
        assert.deepStrictEqual(told, ["lost", "next"])
        assert.strictEqual(lostReason(yield* Effect.exit(lock.check)), "Expired")
        assert.strictEqual(Duration.toMillis(yield* lock.remaining), 0)
      }))

    test("a lock granted out of the queue without renewal lasts a whole ttl", () =>
      Effect.gen(function*() {
        const { a, b, key } = yield* setup
        const holder = yield* a.dlock.once(key)
        const waiter = yield* Effect.forkChild(b.dlock.lock(key, { renew: false }))
        yield* untilWaiting(a.dlock, key, 1)
        yield* elapse(0.2)
        yield* holder.release
        const lock = yield* Fiber.join(waiter)
        assert.isAbove(Duration.toMillis(yield* lock.remaining), ttlMillis * 0.85)
      }))

    test("maxHold ends a lease however often it was renewed", () =>
      Effect.gen(function*() {
        const { a, key } = yield* setup
        const lock = yield* a.dlock.once(key, { maxHold: ttlMillis * 1.5 })
        yield* elapse(1)
        yield* lock.check
        yield* elapse(1)
        assert.strictEqual(lostReason(yield* Effect.exit(lock.check)), "MaxHold")
        yield* untilFree(a.dlock, key)
      }))

    test("extend lengthens the lease and never shortens it", () =>
      Effect.gen(function*() {
        const { a, key } = yield* setup
        const lock = yield* a.dlock.once(key, { renew: false })
        yield* lock.extend(ttlMillis * 3)
        const long = Duration.toMillis(yield* lock.remaining)
        assert.isAbove(long, ttlMillis * 2.5)
        yield* lock.extend(ttlMillis / 2)
        assert.isAbove(Duration.toMillis(yield* lock.remaining), ttlMillis * 2.4)
      }))

    test("release gives the lock back once; a second release, and the scope's, touch nobody else's", () =>
      Effect.gen(function*() {
        const { a, b, key } = yield* setup
        const scope = yield* Scope.make()
        const lock = yield* Scope.provide(a.dlock.once(key), scope)
        yield* lock.release
        const next = yield* b.dlock.once(key)
        yield* lock.release
        yield* Scope.close(scope, Exit.void)
        assert.isTrue(Exit.isFailure(yield* Effect.exit(lock.check)))
        assert.deepStrictEqual((yield* a.dlock.inspect(key)).holders.map((holder) => holder.fencingToken), [
          next.fencingToken
        ])
      }))

    test("fencing tokens grow with every owner, and owner tokens are never used twice", () =>
      Effect.gen(function*() {
        const { a, b, key } = yield* setup
        const locks = yield* Effect.forEach(
          Array.from({ length: 20 }, (_, i) => i % 2 === 0 ? a.dlock : b.dlock),
          (dlock) => Effect.scoped(dlock.once(key))
        )
        locks.slice(1).forEach((lock, i) => assert.isAbove(lock.fencingToken, locks[i]?.fencingToken ?? Infinity))
        assert.strictEqual(new Set(locks.map((lock) => lock.token)).size, 20)
        assert.isTrue(locks.every((lock) => Number.isSafeInteger(lock.fencingToken)))
      }))

    test("a forced release tells the holder at once, interrupts its effect, and spares the next holder", () =>
      Effect.gen(function*() {
        const { a, b, key } = yield* setup
        const inside = yield* Deferred.make<void>()
        const interrupted = yield* Deferred.make<void>()
        const body = Effect.andThen(Deferred.succeed(inside, void 0), Effect.never).pipe(
          Effect.onInterrupt(() => Deferred.succeed(interrupted, void 0))
        )
        const holder = yield* Effect.forkChild(Effect.exit(a.dlock.withLock(body, key)))
        yield* Deferred.await(inside)
        assert.strictEqual(yield* b.dlock.forceRelease(key), 1)
        yield* Deferred.await(interrupted)
        assert.strictEqual(lostReason(yield* Fiber.join(holder)), "Revoked")
        const next = yield* b.dlock.once(key)
        yield* next.check
        assert.strictEqual((yield* a.dlock.inspect(key)).holders.length, 1)
      }))

    test("a holder that is asked to let go is interrupted, and the next enters when it has let go", () =>
      Effect.gen(function*() {
        const { a, b, key } = yield* setup
        const order: Array<string> = []
        const inside = yield* Deferred.make<void>()
        const holder = yield* Effect.forkChild(
          a.dlock.withLock(
            Effect.andThen(Deferred.succeed(inside, void 0), Effect.never).pipe(
              Effect.ensuring(Effect.repeat(Effect.yieldNow, { times: 50 })),
              Effect.ensuring(Effect.sync(() => order.push("first has ended")))
            ),
            key
          )
        )
        yield* Deferred.await(inside)
        const next = yield* Effect.forkChild(b.dlock.withLock(Effect.sync(() => order.push("second")), key))
        yield* untilWaiting(b.dlock, key, 1)
        assert.strictEqual(yield* b.dlock.askRelease(key), 1)
        const error = yield* Effect.flip(Fiber.join(holder))
        assert.deepInclude({ ...error }, { _tag: "LockLostError", reason: "Revoked" })
        yield* Fiber.join(next)
        assert.deepStrictEqual(order, ["first has ended", "second"])
      }))

    test("a holder that is asked to let go and does not has it still", () =>
      Effect.gen(function*() {
        const { a, b, key } = yield* setup
        const lock = yield* a.dlock.once(key)
        assert.strictEqual(yield* b.dlock.askRelease(key), 1)
        assert.strictEqual((yield* Effect.flip(lock.lost)).reason, "Revoked")
        assert.strictEqual((yield* Effect.flip(lock.check))._tag, "LockLostError")
        yield* elapse(1.5)
        assert.strictEqual((yield* Effect.flip(b.dlock.once(key)))._tag, "LockAcquisitionError")
        yield* lock.release
        yield* Effect.scoped(b.dlock.once(key))
      }))

    test("forcing a lock that nobody holds releases nothing", () =>
      Effect.gen(function*() {
        const { a, key } = yield* setup
        assert.strictEqual(yield* a.dlock.forceRelease(key), 0)
      }))

    test("withLock gives the result of its effect and releases, whether it succeeds, fails, dies or is interrupted", () =>
      Effect.gen(function*() {
        const { a, key } = yield* setup
        assert.strictEqual(yield* a.dlock.withLock(Effect.succeed(1), key), 1)
        assert.isTrue(yield* isFree(a.dlock, key))
        assert.strictEqual(yield* Effect.flip(a.dlock.withLock(Effect.fail("no"), key)), "no")
        assert.isTrue(yield* isFree(a.dlock, key))
        const died = yield* Effect.exit(a.dlock.withLock(Effect.die(new Error("bug")), key))
        assert.isTrue(Exit.isFailure(died) && Cause.hasDies(died.cause))
        assert.isTrue(yield* isFree(a.dlock, key))
        const inside = yield* Deferred.make<void>()
        const fiber = yield* Effect.forkChild(
          a.dlock.withLock(Effect.andThen(Deferred.succeed(inside, void 0), Effect.never), key)
        )
        yield* Deferred.await(inside)
        yield* Fiber.interrupt(fiber)
        assert.isTrue(yield* isFree(a.dlock, key))
      }))

    test("withLock works where nothing may be interrupted", () =>
      Effect.gen(function*() {
        const { a, key } = yield* setup
        assert.strictEqual(yield* Effect.uninterruptible(a.dlock.withLock(Effect.succeed(1), key)), 1)
        assert.isTrue(yield* isFree(a.dlock, key))
      }))

    test("an effect that cannot be interrupted runs on after its lease, and withLock fails in the end", () =>
      Effect.gen(function*() {
        const { a, b, key } = yield* setup
        const inside = yield* Deferred.make<void>()
        const gate = yield* Deferred.make<void>()
        let ended = false
        const body = Effect.andThen(Deferred.succeed(inside, void 0), Deferred.await(gate)).pipe(
          Effect.andThen(Effect.sync(() => ended = true)),
          Effect.uninterruptible
        )
        const holder = yield* Effect.forkChild(Effect.exit(a.dlock.withLock(body, key, { maxHold: ttlMillis / 2 })))
        yield* Deferred.await(inside)
        yield* elapse(1)
        yield* untilFree(b.dlock, key)
        const next = yield* b.dlock.once(key)
        assert.isFalse(ended)
        yield* Deferred.succeed(gate, void 0)
        assert.strictEqual(lostReason(yield* Fiber.join(holder)), "MaxHold")
        assert.isTrue(ended)
        yield* next.check
      }))

    test("a wait of nothing does not wait", () =>
      Effect.gen(function*() {
        const { a, b, key } = yield* setup
        yield* a.dlock.once(key)
        assert.strictEqual((yield* Effect.flip(b.dlock.lock(key, { wait: 0 })))._tag, "LockAcquisitionError")
        assert.strictEqual((yield* a.dlock.inspect(key)).waiting, 0)
      }))

    test("what is left of a budget is no mistake, however little it is", () =>
      Effect.gen(function*() {
        const { a, b, key } = yield* setup
        yield* a.dlock.once(key)
        for (const wait of [1, 9]) {
          const waiter = yield* Effect.forkChild(Effect.flip(b.dlock.lock(key, { wait })))
          yield* elapse(0.1)
          const error = yield* Fiber.join(waiter)
          assert.strictEqual(error._tag === "LockAcquisitionError" ? error.reason : error._tag, "Timeout")
        }
      }))

    test("a printed lock shows no token", () =>
      Effect.gen(function*() {
        const { a, key } = yield* setup
        const lock = yield* a.dlock.once(key)
        assert.notInclude(inspect(lock, { depth: 10 }) + JSON.stringify(lock), lock.token)
      }))

    test("guard interrupts its effect when the lock is released under it", () =>
      Effect.gen(function*() {
        const { a, key } = yield* setup
        const lock = yield* a.dlock.once(key)
        const fiber = yield* Effect.forkChild(Effect.exit(lock.guard(Effect.never)))
        yield* Effect.yieldNow
        yield* lock.release
        assert.isTrue(Exit.isFailure(yield* Fiber.join(fiber)))
      }))

    test("options that can only be a mistake die, and the message names the option", () =>
      Effect.gen(function*() {
        const { a, key } = yield* setup
        const bad = [
          { ttl: 0 },
          { ttl: -1 },
          { ttl: Infinity },
          { ttl: 1 },
          { maxHold: 0 },
          {
            metadata: "x".repeat(257)
          },
          { metadata: "half \ud83d" },
          { reentrant: "maybe" as "wait" }
        ]
        for (const options of bad) {
          const exit = yield* Effect.exit(a.dlock.lock(key, options))
          assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
          assert.include(Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "", Object.keys(options)[0] ?? "?")
        }
      }))
  })
}
