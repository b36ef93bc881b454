/**
 * One fiber that sleeps until the earliest of many deadlines, instead of a timer for each.
 *
 * `onRing` does what is due and says when it wants to run next. `notLaterThan` moves that forward. It is cheap when the
 * alarm rings early enough already, which is the usual case; an alarm that rings early finds nothing due.
 */
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

export interface Alarm {
  /** In milliseconds of `monotonic`. */
  readonly notLaterThan: (at: number) => void
}

const timerMillisMax = 2 ** 31 - 1

/** Milliseconds of a clock that never steps. The wall clock does, so no deadline is ever taken from it (R23). */
export const monotonic = (clock: Clock.Clock): number => Number(clock.unsafeCurrentTimeNanos()) / 1e6

export const make = (onRing: Effect.Effect<number>): Effect.Effect<Alarm, never, Scope.Scope> =>
  Effect.gen(function*() {
    const clock = yield* Effect.clock
    const moved = Effect.unsafeMakeLatch(false)
    let ringsAt = Infinity

    const sleep = Effect.suspend(() =>
      ringsAt === Infinity
        ? moved.await
        // Whole milliseconds, and no more of them than a timer can count.
        : Effect.raceFirst(
          moved.await,
          clock.sleep(Duration.millis(Math.min(timerMillisMax, Math.ceil(Math.max(0, ringsAt - monotonic(clock))))))
        )
    )
    yield* sleep.pipe(
      Effect.zipRight(Effect.suspend(() => {
        moved.unsafeClose()
        ringsAt = Infinity
        return onRing
      })),
      Effect.tap((next) =>
        Effect.sync(() => {
          ringsAt = Math.min(ringsAt, next)
        })
      ),
      Effect.forever,
      Effect.forkScoped,
      Effect.interruptible
    )

    return {
      notLaterThan: (at) => {
        if (at >= ringsAt) return
        ringsAt = at
        moved.unsafeOpen()
      }
    }
  })
