/** One who wants the lock: all that the demo does with the library, but for `inspect`. The same in each process. */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { Dlock } from "../../src/index.js"
import type { DlockError } from "../../src/index.js"
import { monotonicMicros } from "../../test/support/workers.js"

export const lockKey = "the-lock"
export const ttlMillis = 1500

/** What happens to a contender. `at` is microseconds on a clock that all processes of one machine share. */
export type Event =
  | { readonly type: "asks"; readonly at: number }
  | { readonly type: "holds"; readonly at: number; readonly fence: number }
  | { readonly type: "writes"; readonly at: number; readonly fence: number }
  | { readonly type: "releases"; readonly at: number }
  | { readonly type: "lost"; readonly at: number; readonly reason: DlockError.LockLostError["reason"] }
  // What is done to it, as told by whoever does it.
  | { readonly type: "killed" | "died" | "frozen" | "wakes"; readonly at: number }

/** The world outside of a contender. */
export interface Outside {
  readonly tell: (event: Event) => Effect.Effect<void>
  /** Writes to the one thing that the lock guards. Over when that has taken the write. */
  readonly write: (fence: number) => Effect.Effect<void>
}

/** Waits for the lock, writes every 50 ms for as long as it is to be held, gives the lock back. */
export const contend = (name: string, holdMillis: number, outside: Outside) =>
  Effect.gen(function*() {
    yield* outside.tell({ type: "asks", at: monotonicMicros() })
    const lock = yield* Dlock.lock(lockKey, { ttl: ttlMillis, metadata: name })
    yield* outside.tell({ type: "holds", at: monotonicMicros(), fence: lock.fencingToken })

    // `guard` interrupts the work when the lease ends. `check` asks the clock once more right before each write, because
    // a process that was frozen may come to its next write before any timer has fired.
    const work = lock.check.pipe(
      Effect.andThen(outside.write(lock.fencingToken)),
      Effect.repeat(Schedule.fixed("50 millis").pipe(Schedule.upTo({ duration: holdMillis })))
    )
    const releases = Effect.suspend(() => outside.tell({ type: "releases", at: monotonicMicros() }))
    yield* lock.guard(work).pipe(
      Effect.tapErrorTag(
        "LockLostError",
        ({ reason }) => outside.tell({ type: "lost", at: monotonicMicros(), reason })
      ),
      Effect.onInterrupt(() => releases)
    )
    yield* releases
  }).pipe(
    Effect.scoped, // the lock is released here
    Effect.catchTag("LockLostError", () => Effect.void) // told above; the write that was due is not made
  )
