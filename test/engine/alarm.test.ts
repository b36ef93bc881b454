/** One sleep for many deadlines. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as Alarm from "../../src/internal/alarm.js"
import { settleFibers } from "./handStore.js"

/** An alarm that notes when it rang, and what it then says is next. */
const setup = (next: (rungBefore: number) => number = () => Infinity) =>
  Effect.gen(function*() {
    const clock = yield* Effect.clockWith(Effect.succeed)
    const now = () => Alarm.monotonic(clock)
    const start = now()
    const rang: Array<number> = []
    const alarm = yield* Alarm.make(() => {
      rang.push(now() - start)
      return start + next(rang.length - 1)
    })
    const pass = (millis: number) => Effect.andThen(TestClock.adjust(millis), settleFibers)
    return { rang, pass, at: (millis: number) => alarm.notLaterThan(start + millis), notLaterThan: alarm.notLaterThan }
  })

describe("an alarm", () => {
  it.effect("rings once, at the earliest time that was asked for, in whatever order", () =>
    Effect.gen(function*() {
      for (const order of [[300, 100, 200], [100, 200, 300], [200, 300, 100]]) {
        const { at, pass, rang } = yield* setup()
        for (const millis of order) at(millis)
        yield* pass(99)
        assert.deepStrictEqual(rang, [])
        yield* pass(1_000)
        assert.deepStrictEqual(rang, [100])
      }
    }))

  it.effect("is moved forward while it sleeps, and rings where `onRing` wants it next", () =>
    Effect.gen(function*() {
      const { at, pass, rang } = yield* setup((rungBefore) => rungBefore === 0 ? 500 : Infinity)
      at(1_000)
      yield* pass(50)
      at(60)
      yield* pass(10)
      assert.deepStrictEqual(rang, [60])
      yield* pass(439)
      assert.deepStrictEqual(rang, [60])
      yield* pass(1_000)
      assert.deepStrictEqual(rang, [60, 500])
    }))

  it.effect("rings at once for a time that is over, but after the step that asked", () =>
    Effect.gen(function*() {
      const { at, pass, rang } = yield* setup()
      yield* pass(10)
      at(5)
      assert.deepStrictEqual(rang, [])
      yield* settleFibers
      assert.deepStrictEqual(rang, [10])
    }))

  it.effect("rings again for what is asked while it rings, not inside of that", () =>
    Effect.gen(function*() {
      let inside = 0
      const { at, notLaterThan, rang } = yield* setup((rungBefore) => {
        if (rungBefore === 0) {
          notLaterThan(-Infinity)
          inside = rang.length
        }
        return Infinity
      })
      at(0)
      yield* settleFibers
      assert.strictEqual(inside, 1)
      assert.deepStrictEqual(rang, [0, 0])
    }))

  it.effect("does not ring after its scope has closed", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const { at, pass, rang } = yield* Scope.provide(setup(), scope)
      at(10)
      yield* Scope.close(scope, Exit.void)
      at(5)
      yield* pass(100)
      assert.deepStrictEqual(rang, [])
    }))
})
