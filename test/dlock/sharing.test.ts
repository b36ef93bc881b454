/** One resource for those who have the same keys. */
import { assert, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Scope } from "effect"
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
    ).pipe(Effect.zipLeft(outcome))
  return { events, sharing, make }
}

const [one, other] = [{}, {}]

it.effect("is made once for all who ask at the same time, for each pair of keys, and closed with the last", () =>
  Effect.gen(function*() {
    const { events, make, sharing } = setup()
    const slow = yield* Deferred.make<void>()
    const scopes = yield* Effect.all([Scope.make(), Scope.make(), Scope.make()])
    const get = (scope: Scope.Scope, key = other) =>
      Scope.extend(sharing.of(one, key, make(Deferred.await(slow))), scope)
    const asking = yield* Effect.forEach(scopes.slice(0, 2), (scope) => Effect.fork(get(scope)))
    yield* Effect.yieldNow()
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
    const get = Effect.scoped(sharing.of(one, other, make(Effect.zipRight(Effect.yieldNow(), Effect.fail("no")))))
    const asking = yield* Effect.forEach([1, 2], () => Effect.fork(Effect.flip(get)))
    assert.deepStrictEqual(yield* Effect.forEach(asking, Fiber.join), ["no", "no"])
    assert.deepStrictEqual(events, ["made 1", "closed 1"])
    assert.strictEqual(yield* Effect.scoped(sharing.of(one, other, make())), 2)
  }))
