/** What the job of a flight runs with: a scope of its own, and all of its first caller's but what only that one may use. */
import * as TestEdition from "#test-edition"
import { assert, describe } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type { World } from "../dlock/world.js"
import { newKey } from "../dlock/world.js"
import { settle } from "./sharing.js"

/** Something that a job acquires, which can be used only until its scope closes. */
const makeResource = () => {
  let isOpen = false
  const log: Array<string> = []
  return {
    acquire: Effect.acquireRelease(
      Effect.sync(() => {
        isOpen = true
        log.push("acquired")
      }),
      () =>
        Effect.sync(() => {
          isOpen = false
          log.push("released")
        })
    ),
    use: Effect.suspend(() => isOpen ? Effect.succeed("used") : Effect.die(new Error("it is closed"))),
    log
  }
}

class Tenant extends Context.Service<Tenant, string>()("test/Tenant") {}

export const jobs = (world: World) => {
  const { test } = world
  const two = Effect.gen(function*() {
    const start = yield* world.makeServer
    return [yield* start, yield* start] as const
  })

  describe(`the job of a flight: ${world.name}`, () => {
    test("has a scope of its own: its first caller times out and closes its scope, and the others have the value", () =>
      Effect.gen(function*() {
        const [a, b] = yield* two
        const id = yield* newKey
        const resource = makeResource()
        const started = yield* Deferred.make<void>()
        const goOn = yield* Deferred.make<void>()
        const job = resource.acquire.pipe(
          Effect.andThen(Deferred.succeed(started, undefined)),
          Effect.andThen(Deferred.await(goOn)),
          Effect.andThen(resource.use)
        )
        const first = yield* Effect.forkChild(Effect.scoped(a.dlock.fanout(id, job)))
        yield* Deferred.await(started)
        const others = yield* Effect.forEach([a, b], ({ dlock }) => Effect.forkChild(dlock.fanout(id, job)))
        yield* settle(world)
        yield* Fiber.interrupt(first)
        yield* settle(world)
        assert.deepStrictEqual(resource.log, ["acquired"])
        yield* Deferred.succeed(goOn, undefined)
        assert.deepStrictEqual(yield* Effect.forEach(others, Fiber.join), ["used", "used"])
        assert.deepStrictEqual(resource.log, ["acquired", "released"])
      }))

    test("has ended when its finalizers have run: nobody has its outcome before, and no other job starts (R31)", () =>
      Effect.gen(function*() {
        const [a, b] = yield* two
        const id = yield* newKey
        const closing = yield* Deferred.make<void>()
        const close = yield* Deferred.make<void>()
        const log: Array<string> = []
        const job = Effect.acquireRelease(
          Effect.sync(() => void log.push("acquired")),
          () =>
            Deferred.succeed(closing, undefined).pipe(
              Effect.andThen(Deferred.await(close)),
              Effect.andThen(Effect.sync(() => void log.push("released")))
            )
        )
        const first = yield* Effect.forkChild(a.dlock.fanout(id, Effect.as(job, 1)))
        yield* Deferred.await(closing)
        // It is asked for while the finalizers run, so it is in the same flight.
        const second = yield* Effect.forkChild(
          b.dlock.fanout(id, Effect.as(Effect.sync(() => void log.push("again")), 2))
        )
        yield* settle(world)
        assert.strictEqual((yield* TestEdition.poll(first))._tag, "None")
        assert.strictEqual((yield* TestEdition.poll(second))._tag, "None")
        yield* Deferred.succeed(close, undefined)
        assert.strictEqual(yield* Fiber.join(first), 1)
        assert.strictEqual(yield* Fiber.join(second), 1)
        assert.deepStrictEqual(log, ["acquired", "released"])
      }))

    test("that is interrupted, because nobody waits any more, closes its scope before its id is free", () =>
      Effect.gen(function*() {
        const [a, b] = yield* two
        const id = yield* newKey
        const resource = makeResource()
        const opened = yield* Deferred.make<void>()
        const closing = yield* Deferred.make<void>()
        const close = yield* Deferred.make<void>()
        const job = resource.acquire.pipe(
          Effect.andThen(
            Effect.addFinalizer(() => Effect.andThen(Deferred.succeed(closing, undefined), Deferred.await(close)))
          ),
          Effect.andThen(Deferred.succeed(opened, undefined)),
          Effect.andThen(Effect.never)
        )
        const first = yield* Effect.forkChild(a.dlock.fanout(id, job))
        yield* Deferred.await(opened)
        yield* Fiber.interrupt(first)
        yield* Deferred.await(closing)
        const second = yield* Effect.forkChild(b.dlock.fanout(id, Effect.sync(() => [...resource.log])))
        yield* settle(world)
        yield* Deferred.succeed(close, undefined)
        assert.deepStrictEqual(yield* Fiber.join(second), ["acquired", "released"])
      }))

    test("whose finalizer dies is a defect for everybody", () =>
      Effect.gen(function*() {
        const [a] = yield* two
        const job = Effect.addFinalizer(() => Effect.die(new Error("cannot close")))
        const exit = yield* Effect.exit(a.dlock.fanout(yield* newKey, job))
        assert(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
        assert.strictEqual((Cause.squash(exit.cause) as Error).message, "cannot close")
      }))

    test("sees the services, the log annotations and the span of its first caller", () =>
      Effect.gen(function*() {
        const [a] = yield* two
        const id = yield* newKey
        const goOn = yield* Deferred.make<void>()
        const job = Effect.gen(function*() {
          yield* Deferred.await(goOn)
          const span = yield* Effect.currentSpan
          const annotations = yield* TestEdition.logAnnotations
          return [yield* Tenant, annotations["who"] as string, span.name]
        })
        const asked = (who: string) =>
          a.dlock.fanout(id, job).pipe(
            Effect.withSpan(who),
            Effect.annotateLogs("who", who),
            Effect.provideService(Tenant, who),
            Effect.forkChild
          )
        const callers = [yield* asked("first"), yield* asked("second")]
        yield* settle(world)
        yield* Deferred.succeed(goOn, undefined)
        for (const caller of callers) {
          assert.deepStrictEqual(yield* Fiber.join(caller), ["first", "first", "first"])
        }
      }))

    test("starts without the locks of its first caller: it waits for them, and its other callers with it", () =>
      Effect.gen(function*() {
        const [a] = yield* two
        const id = yield* newKey
        const key = yield* newKey
        const job = a.dlock.withLock(Effect.succeed("got it"), key)
        const holding = yield* Deferred.make<void>()
        const leave = yield* Deferred.make<void>()
        const first = yield* Effect.forkChild(Effect.exit(a.dlock.withLock(
          Effect.raceFirst(
            a.dlock.fanout(id, job),
            Effect.andThen(Deferred.succeed(holding, undefined), Deferred.await(leave))
          ),
          key
        )))
        yield* Deferred.await(holding)
        yield* settle(world)
        const second = yield* Effect.forkChild(a.dlock.fanout(id, job))
        yield* settle(world)
        assert.strictEqual((yield* TestEdition.poll(second))._tag, "None")
        yield* Deferred.succeed(leave, undefined)
        assert.isTrue(Exit.isSuccess(yield* Fiber.join(first)))
        assert.strictEqual(yield* Fiber.join(second), "got it")
      }))

    test("a callback of push has a scope of its own, and may wait for the locks of the caller that registered it", () =>
      Effect.gen(function*() {
        const [a] = yield* two
        const id = yield* newKey
        const key = yield* newKey
        const resource = makeResource()
        const used = yield* Deferred.make<string>()
        const after = yield* Deferred.make<string>()
        const callback = Effect.scoped(a.dlock.lock(key)).pipe(
          Effect.andThen(resource.acquire),
          Effect.andThen(resource.use),
          Effect.flatMap((words) => Deferred.succeed(used, words)),
          Effect.catchCause((cause) => Deferred.failCause(used, cause as never))
        )
        // Opened first, so closed last.
        const whole = Effect.andThen(Effect.addFinalizer(() => Deferred.succeed(after, "closed")), callback)
        yield* a.dlock.push(id, () => Effect.asVoid(whole)).pipe(
          Effect.flatMap(({ complete }) => complete(Exit.succeed(1))),
          Effect.tap(settle(world)),
          Effect.scoped,
          (effect) => a.dlock.withLock(effect, key)
        )
        assert.strictEqual(yield* Deferred.await(used), "used")
        assert.strictEqual(yield* Deferred.await(after), "closed")
        assert.deepStrictEqual(resource.log, ["acquired", "released"])
      }))
  })
}
