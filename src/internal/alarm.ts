/**
 * One sleep until the earliest of many deadlines, instead of a timer for each.
 *
 * `onRing` does what is due and says when it wants to run next. `notLaterThan` moves that forward. It is cheap when the
 * alarm rings early enough already, which is the usual case.
 *
 * Invariants: at most one fiber sleeps, until `ringsAt`, and none when that is `Infinity`. `onRing` never runs inside
 * `notLaterThan`, whose callers are in the middle of a step, nor inside itself.
 */
import * as Edition from "#edition"
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"

export interface Alarm {
  /** In milliseconds of `monotonic`. */
  readonly notLaterThan: (at: number) => void
}

const timerMillisMax = 2 ** 31 - 1

/** Milliseconds of a clock that never steps. The wall clock does, so no deadline is ever taken from it (R23). */
export const monotonic = (clock: Clock.Clock): number => Edition.monotonicMillis(clock)

export const make = (onRing: () => number): Effect.Effect<Alarm, never, Scope.Scope> =>
  Effect.gen(function*() {
    const clock = yield* Effect.clockWith(Effect.succeed)
    const fork = yield* Effect.interruptible(FiberSet.makeRuntime())
    let ringsAt = Infinity
    let sleeper: Fiber.Fiber<void> | undefined

    const notLaterThan = (at: number): void => {
      if (at >= ringsAt) return
      ringsAt = at
      if (sleeper !== undefined) Edition.interrupt(sleeper)
      sleeper = fork(sleepThenRing)
    }

    const sleepThenRing = Effect.suspend(() => {
      const millis = ringsAt - monotonic(clock)
      // Not here, in the middle of a step of whoever calls.
      if (millis <= 0) return Effect.andThen(Effect.yieldNow, ring)
      // Whole milliseconds, and no more of them than a timer can count.
      return Effect.andThen(clock.sleep(Duration.millis(Math.min(timerMillisMax, Math.ceil(millis)))), ring)
    })

    const ring = Effect.sync(() => {
      // It is over already: not for what `onRing` itself moves to be interrupted by.
      sleeper = undefined
      ringsAt = Infinity
      notLaterThan(onRing())
    })

    return { notLaterThan }
  })
