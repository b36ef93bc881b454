/**
 * Gives back tokens. A release is awaited once by whoever asked for it; what that does not settle, and what nobody waits
 * for (an interrupted waiter, a lost lease), is repeated until the store confirms it or the lease must be over.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { BackendError } from "../../DlockError.js"
import { monotonic } from "../alarm.js"
import type { Store, Target } from "../store.js"
import type { Lease } from "./lease.js"
import * as L from "./lease.js"
import type { Sending } from "./repeater.js"
import * as Repeater from "./repeater.js"

export interface Leaver {
  /**
   * Waits for the answer. To be run at once, uninterruptibly. When it fails, it is repeated in the background. `false` when
   * the store certainly did not know a token of the lease any more (R45).
   */
  readonly now: (lease: Lease) => Effect.Effect<boolean, BackendError>
  /** Leaves in the background. The command is sent before this returns, so before anything that is sent afterwards. */
  readonly later: (lease: Lease) => void
  /** Leaves for good what was left to be kept, and says whether it was: who asked for it may have crossed that leave. */
  readonly giveUpKept: (token: string) => boolean
}

export const make = (options: {
  readonly store: Store
  readonly commandTimeoutMillis: number
  readonly settle: (targets: ReadonlyArray<Target>) => void
  /** Runs in the background until it ends or the service closes. */
  readonly fork: (effect: Effect.Effect<void>) => void
}): Effect.Effect<Leaver, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { settle, store } = options
    const clock = yield* Effect.clockWith(Effect.succeed)
    const repeater = yield* Repeater.make
    /** Left, and kept by the store for a while. */
    const kept = new Map<string, Lease>()

    const keep = (lease: Lease, now: number): void => {
      for (const [token, { keepUntil }] of kept) if (keepUntil <= now) kept.delete(token)
      kept.set(lease.token, lease)
    }

    /** Whoever waits has heard of a lease that ends later, and would not look by then. */
    const settleAfter = (targets: ReadonlyArray<Target>, millis: number): void =>
      options.fork(Effect.delay(Effect.sync(() => settle(targets)), Duration.millis(millis + 1)))

    const leave = (lease: Lease, onUnknown?: () => void): Sending => {
      let items = L.toItems(lease)
      let attempts = 0
      return {
        attempt: Effect.suspend(() => {
          attempts++
          const now = monotonic(clock)
          const keepMillis = lease.keepUntil - now
          if (keepMillis > 0) keep(lease, now)
          const leaving = keepMillis > 0 ? items.map((item) => ({ ...item, keepMillis })) : items
          return Effect.flatMap(store.leave(leaving), ({ answer, unsettled }) => {
            settle(unsettled)
            if (keepMillis > 0) settleAfter(lease.claims, keepMillis)
            // A later attempt may find the work of one before.
            if (attempts === 1 && answer.some((one) => one._tag === "Left" && one.was === "Unknown")) onUnknown?.()
            // What the store could not do goes once more, and nothing else.
            items = items.filter((_, i) => answer[i]?._tag === "Failed")
            const failure = answer.find((one) => one._tag === "Failed")
            return failure === undefined ? Effect.void : Effect.fail(failure.error)
          })
        }),
        // The lease cannot outlive this: the latest moment its last request may be carried out, and what that asked for.
        until: monotonic(clock) + options.commandTimeoutMillis + lease.longestMillis
      }
    }

    return {
      now: (lease) =>
        Effect.suspend(() => {
          let known = true
          const sending = leave(lease, () => {
            known = false
          })
          return Effect.map(repeater.now(sending), () => known)
        }),
      later: (lease) => repeater.later(leave(lease)),
      giveUpKept: (token) => {
        const lease = kept.get(token)
        if (lease === undefined) return false
        kept.delete(token)
        lease.keepUntil = -Infinity
        repeater.later(leave(lease))
        return true
      }
    }
  })
