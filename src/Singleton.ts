/**
 * Exactly one copy of an effect among all processes: a leader with its work.
 *
 * @since 0.1.0
 */
import type * as Edition from "#edition"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as SubscriptionRef from "effect/SubscriptionRef"
import type { BackendError, InvalidKeyError, LockAcquisitionError } from "./DlockError.js"
import { keyFirst } from "./internal/dual.js"
import type { Dlock } from "./internal/tag.js"
import { withDlock } from "./internal/tag.js"
import type * as Lock from "./Lock.js"

/**
 * Who runs the effect.
 *
 * @since 0.1.0
 * @category Models
 */
export interface Leader {
  readonly fencingToken: number
  /** What it gave as `metadata`. */
  readonly metadata: string
  /** Whether it is this call. */
  readonly isSelf: boolean
}

/**
 * @since 0.1.0
 * @category Models
 */
export interface Options extends Pick<Lock.Options, "ttl" | "wait" | "reentrant" | "metadata"> {
  /**
   * Keeps the key until the effect has ended, and for at least that long after it was taken: also when the effect ended, the
   * layer was closed or this process died before, whatever `ttl` says. So hosts whose clocks differ by less do not run a
   * short job twice. `askRelease` and `forceRelease` end it sooner. It costs one command before the effect starts when it
   * is longer than the lease; when Redis does not confirm that, the effect does not start.
   */
  readonly hold?: Edition.DurationInput | undefined
  /**
   * Kept up to date with who leads: at once for this process, with each heartbeat (every third of `ttl`) for others;
   * `None` while nobody is known to, and from the end of this call on. Follow it with `changes`.
   */
  readonly leader?: SubscriptionRef.SubscriptionRef<Option.Option<Leader>> | undefined
}

/**
 * Waits to be the only one, in order of arrival, and runs the effect, or what a function of the handle gives. When the lease is lost, the effect is interrupted
 * before another process can start it, and this one queues again. Ends as the effect ends, and then another process that
 * waits runs it; so what is to go on for ever should not end.
 *
 * It goes on waiting while Redis is away or refuses for now (`RefusedForNow`). `BackendError` comes only when Redis refuses
 * for good, when there is a `wait`, and within some seconds after the layer was closed. A loss that Redis tells of only
 * when the effect has ended is logged, and counted in `dlock_lost_total`. What the effect itself fails with
 * when its lock is lost is logged, too.
 *
 * An effect that releases its lock (`release` of the handle) steps down: it is interrupted, and this call queues again.
 *
 * **Interruption**: interrupts the effect, waits for its end, and passes on at once, unless `hold` says otherwise.
 *
 * A job that many hosts start by the clock runs once for each tick: either one host at a time has the whole schedule, or
 * each has it, and those that come second find the key held (`wait: 0`) for as long as their clocks may differ (`hold`). A
 * failure ends a schedule, so handle inside of it what may fail.
 *
 * @example
 * ```ts
 * import { Effect, Schedule } from "effect"
 * import { Dlock } from "effect-dlock"
 *
 * const report = Effect.log("the nightly report")
 * const nightly = Schedule.cron("0 3 * * *")
 *
 * // The leader has the schedule. Another takes over when it dies.
 * export const byLeader = Dlock.singleton("nightly", Effect.schedule(report, nightly))
 *
 * // Every host has the schedule. The first of each night runs the report.
 * export const byFirst = Dlock.singleton("nightly", report, { wait: 0, hold: "1 minute" }).pipe(
 *   Effect.catchTag("LockAcquisitionError", () => Effect.void),
 *   Effect.catchTag("BackendError", (error) => Effect.logWarning(error.message)),
 *   Effect.schedule(nightly)
 * )
 * ```
 *
 * @since 0.1.0
 * @category Combinators
 */
export const singleton: {
  (key: string, options?: Options): <A, E, R>(
    self: Lock.Body<Lock.Lock, A, E, R>
  ) => Effect.Effect<A, E | LockAcquisitionError | BackendError | InvalidKeyError, R | Dlock>
  <A, E, R>(
    key: string,
    self: Lock.Body<Lock.Lock, A, E, R>,
    options?: Options
  ): Effect.Effect<A, E | LockAcquisitionError | BackendError | InvalidKeyError, R | Dlock>
} = keyFirst((site, key, self: Lock.Body<Lock.Lock, unknown, unknown, unknown>, options: Options | undefined) =>
  withDlock("singleton", site, (dlock) => dlock.singleton(key, self, options))
)
