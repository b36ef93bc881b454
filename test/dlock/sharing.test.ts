/** Who shares what: one resource for those who have the same keys, and a store in memory for each `provide`. */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import { Dlock } from "../../src/index.js"
import { Sharing } from "../../src/internal/sharing.js"

const setup = () => {
  const events: Array<string> = []
  const sharing = new Sharing<number, string>()
  let made = 0
  const make = (outcome: Effect.Effect<unknown, string> = Effect.void) =>
    Effect.acquireRelease(
      Effect.sync(() => {
        events.push(`made ${++made}`)
        return made
      }),
      (n) => Effect.sync(() => events.push(`closed ${n}`))
    ).pipe(Effect.tap(outcome))
  return { events, sharing, make }
}

const [one, other] = [{}, {}]

it.effect("is made once for all who ask at the same time, for each pair of keys, and closed with the last", () =>
  Effect.gen(function*() {
    const { events, make, sharing } = setup()
    const slow = yield* Deferred.make<void>()
    const scopes = yield* Effect.all([Scope.make(), Scope.make(), Scope.make()])
    const get = (scope: Scope.Scope, key = other) =>
      Scope.provide(sharing.of(one, key, make(Deferred.await(slow))), scope)
    const asking = yield* Effect.forEach(scopes.slice(0, 2), (scope) => Effect.forkChild(get(scope)))
    yield* Effect.yieldNow
    yield* Deferred.succeed(slow, undefined)
    assert.deepStrictEqual(yield* Effect.forEach(asking, Fiber.join), [1, 1])
    assert.strictEqual(yield* get(scopes[2], one), 2)
    yield* Scope.close(scopes[0], Exit.void)
    yield* Scope.close(scopes[2], Exit.void)
    assert.deepStrictEqual(events, ["made 1", "made 2", "closed 2"])
    yield* Scope.close(scopes[1], Exit.void)
    assert.deepStrictEqual(events, ["made 1", "made 2", "closed 2", "closed 1"])
    assert.strictEqual(yield* Effect.scoped(sharing.of(one, other, make())), 3)
    assert.deepStrictEqual(events.slice(-2), ["made 3", "closed 3"])
  }))

it.effect("that cannot be made fails for all, leaves nothing, and is made anew for who asks later", () =>
  Effect.gen(function*() {
    const { events, make, sharing } = setup()
    const get = Effect.scoped(sharing.of(one, other, make(Effect.andThen(Effect.yieldNow, Effect.fail("no")))))
    const asking = yield* Effect.forEach([1, 2], () => Effect.forkChild(Effect.flip(get)))
    assert.deepStrictEqual(yield* Effect.forEach(asking, Fiber.join), ["no", "no"])
    assert.deepStrictEqual(events, ["made 1", "closed 1"])
    assert.strictEqual(yield* Effect.scoped(sharing.of(one, other, make())), 2)
  }))

describe("a store in memory", () => {
  const isFree = Effect.map(Effect.exit(Effect.scoped(Dlock.once("key"))), Exit.isSuccess)
  const holding = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.scoped(Effect.andThen(Dlock.once("key"), effect))

  for (
    const [name, layer] of [["layerMemory", Dlock.layerMemory], ["options", Dlock.layerMemoryOptions({})]] as const
  ) {
    it.effect(`is made by each provide, also inside of another (${name})`, () =>
      Effect.gen(function*() {
        const inner = Effect.provide(isFree, layer)
        const [outside, inside] = yield* holding(Effect.all([isFree, inner])).pipe(Effect.provide(layer))
        assert.isFalse(outside)
        assert.isTrue(inside)
      }))

    it.effect(`is one for a graph of layers (${name})`, () => {
      class Probe extends Context.Service<Probe, Effect.Effect<boolean>>()("Probe") {}
      const probe = Layer.effect(
        Probe,
        Effect.map(Effect.context<Dlock.Dlock>(), (context) => Effect.provide(isFree, context))
      )
      const holder = Layer.effectDiscard(Dlock.once("key"))
      return Effect.gen(function*() {
        assert.isFalse(yield* Effect.flatMap(Probe, (isFree) => isFree))
      }).pipe(Effect.provide(Layer.merge(Layer.provide(probe, layer), Layer.provide(holder, layer))))
    })
  }
})

it.live("fencing tokens in memory begin with the time of day, so that they rise from one process to the next", () =>
  Effect.gen(function*() {
    const { fencingToken } = yield* Dlock.once("key")
    assert.approximately(fencingToken / 1_000, Date.now(), 60_000)
  }).pipe(Effect.provide(Dlock.layerMemory)))
