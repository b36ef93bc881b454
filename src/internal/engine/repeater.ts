/**
 * Sends what must reach the store. It may be awaited once by whoever asked for it; what that does not settle, and what
 * nobody waits for, is repeated here until the store confirms it or its time is over.
 */
import type * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import type { BackendError } from "../../DlockError.js"
import { monotonic } from "../alarm.js"

export interface Sending {
  /** One attempt. It fails when there is anything left to do. */
  readonly attempt: Effect.Effect<void, BackendError>
  /** Local time after which it is not repeated. */
  readonly until: number
  /** Called when it has failed and is not repeated. */
  readonly onGivenUp?: (cause: Cause.Cause<BackendError>) => void
}

export interface Repeater {
  /** Waits for the answer. To be run at once, uninterruptibly. When it fails, it is repeated in the background. */
  readonly now: (sending: Sending) => Effect.Effect<void, BackendError>
  /** Sends in the background. The command is sent before this returns, so before anything that is sent afterwards. */
  readonly later: (sending: Sending) => void
}

/** The pause before it is repeated, doubled each time. */
const retryAfterMillis = 100
const retryAfterMillisMax = 2_000

/** How long closing waits for what is under way. A dead connection must not hold it up. */
const closeWithin = Duration.seconds(1)

export const make: Effect.Effect<Repeater, never, Scope.Scope> = Effect.gen(function*() {
  const clock = yield* Effect.clockWith(Effect.succeed)
  const sends = yield* FiberSet.make<void>()
  const send = yield* FiberSet.runtime(sends)()
  const retry = yield* FiberSet.makeRuntime<never>()
  /** Those that wait for their next attempt. */
  const paused = new Set<() => void>()
  let closed = false

  const attempt = (sending: Sending, pauseMillis: number): Effect.Effect<void, BackendError> =>
    Effect.tapCause(sending.attempt, (cause) => Effect.sync(() => again(sending, cause, pauseMillis)))

  const again = (sending: Sending, cause: Cause.Cause<BackendError>, pauseMillis: number): void => {
    if (closed || monotonic(clock) >= sending.until) return sending.onGivenUp?.(cause)
    const next = Math.min(2 * pauseMillis, retryAfterMillisMax)
    const repeat = (): void => {
      if (paused.delete(repeat)) background(attempt(sending, next))
    }
    paused.add(repeat)
    retry(Effect.interruptible(Effect.delay(Effect.sync(repeat), Duration.millis(pauseMillis))))
  }
  const background = (sent: Effect.Effect<void, BackendError>): void =>
    void send(Effect.interruptible(Effect.ignore(sent)))

  yield* Effect.addFinalizer(() => {
    closed = true
    // The store may be back: what failed before goes once more.
    for (const repeat of paused) repeat()
    return FiberSet.awaitEmpty(sends).pipe(Effect.interruptible, Effect.timeout(closeWithin), Effect.ignore)
  })

  return {
    now: (sending) => attempt(sending, retryAfterMillis),
    later: (sending) => background(attempt(sending, retryAfterMillis))
  }
})
