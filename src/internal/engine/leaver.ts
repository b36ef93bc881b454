/**
 * Gives back tokens. A release is awaited once by whoever asked for it; what that does not settle, and what nobody waits
 * for (an interrupted waiter, a lost lease), is repeated here until the store confirms it or the lease must be over.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import type { BackendError } from "../../DlockError.js"
import { monotonic } from "../alarm.js"
import type { LeaveItem, Store, Target } from "../store.js"
import type { Lease } from "./lease.js"
import * as L from "./lease.js"

export interface Leaver {
  /** Waits for the answer. To be run at once, uninterruptibly. When it fails, it is repeated in the background. */
  readonly now: (lease: Lease) => Effect.Effect<void, BackendError>
  /** Leaves in the background. The command is sent before this returns, so before anything that is sent afterwards. */
  readonly later: (lease: Lease) => void
}

/** The pause before a leave is repeated, doubled each time. */
const retryAfterMillis = 100
const retryAfterMillisMax = 2_000

/** How long closing waits for leaves that are under way. A dead connection must not hold it up. */
const closeWithin = Duration.seconds(1)

export const make = (options: {
  readonly store: Store
  readonly commandTimeoutMillis: number
  readonly settle: (targets: ReadonlyArray<Target>) => void
}): Effect.Effect<Leaver, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { settle, store } = options
    const clock = yield* Effect.clock
    const sends = yield* FiberSet.make<void>()
    const send = yield* FiberSet.runtime(sends)()
    const retry = yield* FiberSet.makeRuntime<never>()
    let closed = false

    const attempt = (
      items: ReadonlyArray<LeaveItem>,
      until: number,
      pauseMillis: number
    ): Effect.Effect<void, BackendError> =>
      Effect.matchCauseEffect(store.leave(items), {
        onFailure: (cause) => {
          again(items, until, pauseMillis)
          return Effect.failCause(cause)
        },
        onSuccess: ({ answer, unsettled }) => {
          settle(unsettled)
          const failure = answer.find((error) => error !== undefined)
          if (failure === undefined) return Effect.void
          again(items.filter((_, i) => answer[i] !== undefined), until, pauseMillis)
          return Effect.fail(failure)
        }
      })

    const again = (items: ReadonlyArray<LeaveItem>, until: number, pauseMillis: number): void => {
      if (closed || monotonic(clock) >= until) return
      const next = Math.min(2 * pauseMillis, retryAfterMillisMax)
      const repeat = Effect.sync(() => background(attempt(items, until, next)))
      retry(Effect.interruptible(Effect.delay(repeat, Duration.millis(pauseMillis))))
    }
    const background = (leave: Effect.Effect<void, BackendError>): void =>
      void send(Effect.interruptible(Effect.ignore(leave)))

    const leave = (lease: Lease): Effect.Effect<void, BackendError> =>
      attempt(
        L.toItems(lease),
        // The lease cannot outlive this: the latest moment its request may be carried out, and a ttl from then.
        monotonic(clock) + options.commandTimeoutMillis + lease.terms.ttlMillis,
        retryAfterMillis
      )

    yield* Effect.addFinalizer(() => {
      closed = true
      return FiberSet.awaitEmpty(sends).pipe(Effect.interruptible, Effect.timeout(closeWithin), Effect.ignore)
    })

    return {
      now: leave,
      later: (lease) => background(leave(lease))
    }
  })
