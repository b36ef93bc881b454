/** What is kept of locks that were released before their scope closes: nothing. */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import type { Lock } from "../../src/index.js"
import { Dlock } from "../../src/index.js"

// The same as the flag --expose-gc, which a parent would have to know of.
setFlagsFromString("--expose-gc")
const collectGarbage: () => void = runInNewContext("gc")

const heapUsed = Effect.andThen(
  Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve))),
  Effect.sync(() => {
    collectGarbage()
    return process.memoryUsage().heapUsed
  })
)

describe("a lock that is released before its scope closes", () => {
  const takes: Record<string, Effect.Effect<Lock.Lease, unknown, Dlock.Dlock | Scope.Scope>> = {
    once: Dlock.once("k"),
    lock: Dlock.lock("k"),
    multi: Dlock.multi("k", "l"),
    take: Effect.flatMap(Dlock.semaphore("k", { permits: 2 }), (semaphore) => semaphore.take(2)),
    write: Effect.flatMap(Dlock.readWriteLock("k"), (both) => both.write)
  }
  for (const [name, take] of Object.entries(takes)) {
    it.live(`leaves nothing: ${name}`, () =>
      Effect.gen(function*() {
        // It would be in the way of everything that depends on its order.
        yield* Dlock.once("held")
        const round = Effect.flatMap(take, (lock) => lock.release)
        const times = 5_000
        const grown: Array<number> = []
        yield* Effect.repeat(round, { times: times })
        // What the compiler keeps comes now and then, and what a lock keeps comes with each: in every round.
        while (grown.length < 10 && !(Math.min(...grown) / times < 10)) {
          const before = yield* heapUsed
          yield* Effect.repeat(round, { times: times })
          grown.push((yield* heapUsed) - before)
        }
        assert.isBelow(Math.min(...grown) / times, 10, "bytes for each")
      }).pipe(Effect.scoped, Effect.provide(Dlock.layerMemory)), 60_000)
  }

  it.live("is released in the order of finalizers: what came later goes first", () =>
    Effect.gen(function*() {
      const order: Array<string> = []
      const scope = yield* Scope.make()
      const note = (what: string) =>
        Effect.addFinalizer(() =>
          Effect.gen(function*() {
            const free = yield* Effect.filter(["a", "b", "c"], (key) =>
              Effect.map(Dlock.inspect(key), ({ holders }) => holders.length === 0))
            order.push(`${what}: ${free.join("")}`)
          }).pipe(Effect.orDie)
        )
      yield* Effect.gen(function*() {
        yield* note("last")
        yield* Dlock.once("a")
        yield* note("second")
        const b = yield* Dlock.once("b")
        yield* Dlock.once("c")
        yield* note("first")
        yield* b.release
      }).pipe(Scope.provide(scope))
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(order, ["first: b", "second: bc", "last: abc"])
    }).pipe(Effect.provide(Dlock.layerMemory)))

  it.live("is released at once when its scope has closed before it was granted", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const holder = yield* Scope.make()
      yield* Scope.provide(Dlock.once("k"), holder)
      const waiting = yield* Deferred.make<void>()
      const late = yield* Effect.forkChild(
        Effect.andThen(Deferred.succeed(waiting, void 0), Scope.provide(Dlock.lock("k"), scope))
      )
      yield* Deferred.await(waiting)
      yield* Effect.repeat(Dlock.inspect("k"), { until: (found) => found.waiting === 1 })
      yield* Scope.close(scope, Exit.void)
      yield* Scope.close(holder, Exit.void)
      yield* Fiber.join(late)
      assert.lengthOf((yield* Dlock.inspect("k")).holders, 0)
    }).pipe(Effect.provide(Dlock.layerMemory)))
})
