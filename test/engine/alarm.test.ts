/** One sleep for many deadlines. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Scope, TestClock } from "effect"
import * as Alarm from "../../src/internal/alarm.js"
import { settleFibers } from "./handStore.js"

/** An alarm that notes when it rang, and what it then says is next. */
const setup = (next: (rungBefore: number) => number = () => Infinity) =>
  Effect.gen(function*() {
    const clock = yield* Effect.clock
    const now = () => Alarm.monotonic(clock)
    const start = now()
    const rang: Array<number> = []
    const alarm = yield* Alarm.make(() => {
      rang.push(now() - start)
      return start + next(rang.length - 1)
    })
    const pass = (millis: number) => Effect.zipRight(TestClock.adjust(millis), settleFibers)
    return { rang, pass, at: (millis: number) => alarm.notLaterThan(start + millis), notLaterThan: alarm.notLaterThan }
  })

describe("an alarm", () => {
  it.scoped("rings once, at the earliest time that was asked for, in whatever order", () =>
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

  it.scoped("is moved forward while it sleeps, and rings where `onRing` wants it next", () =>
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

  it.scoped("rings at once for a time that is over, but after the step that asked", () =>
    Effect.gen(function*() {
      const { at, pass, rang } = yield* setup()
      yield* pass(10)
      at(5)
      assert.deepStrictEqual(rang, [])
      yield* settleFibers
      assert.deepStrictEqual(rang, [10])
    }))

  it.scoped("rings again for what is asked while it rings, not inside of that", () =>
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
      const { at, pass, rang } = yield* Scope.extend(setup(), scope)
      at(10)
      yield* Scope.close(scope, Exit.void)
      at(5)
      yield* pass(100)
      assert.deepStrictEqual(rang, [])
    }))
})
