/**
 * A semaphore that all processes share: at most `permits` are out at a time.
 *
 * Permits are leases, as locks are: renewed while they are held, and free again a `ttl` after their holder died. Requests
 * queue in the order they came. A large one is not starved by small ones: it blocks those behind it until it fits.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { BackendError, InvalidKeyError, LockAcquisitionError, LockLostError } from "./DlockError.js"
import { here } from "./internal/callSite.js"
import type { Dlock } from "./internal/tag.js"
import { withDlock } from "./internal/tag.js"
import type * as Lock from "./Lock.js"

/**
 * @since 0.1.0
 * @category Models
 */
export interface Semaphore {
  readonly key: string
  /** How many there are, by this process. When processes disagree, the latest to ask sets the limit. */
  readonly permits: number
  /**
   * Takes permits (default: 1), waiting for them in order of arrival. They are held until the scope closes.
   *
   * Fails with reason `OverLimit` when it asks for more than there are, with `Timeout` when `wait` is over, with
   * `Reentrant` when permits of it are held around the call: take all that are needed at once. **Interruption**:
   * interrupting it leaves nothing behind.
   *
   * **Gotchas**: the fencing tokens of several holders are not in the order of their work. Do not refuse lower ones.
   */
  readonly take: (
    permits?: number
  ) => Effect.Effect<Lock.Lock, LockAcquisitionError | BackendError, Scope.Scope>
  /** Takes permits if they are free and nobody waits; never waits itself. */
  readonly tryTake: (
    permits?: number
  ) => Effect.Effect<Option.Option<Lock.Lock>, LockAcquisitionError | BackendError, Scope.Scope>
  /**
   * Takes permits, waiting for them; runs the effect, or what a function of the handle gives; gives them back. Interrupts
   * the effect when their lease is lost.
   */
  readonly withPermits: (permits: number) => <A, E, R>(
    self: Lock.Body<Lock.Lock, A, E, R>
  ) => Effect.Effect<A, E | LockAcquisitionError | BackendError | LockLostError, R>
  /** The same if the permits are free and nobody waits. Otherwise `None`, and the effect does not run. */
  readonly withPermitsIfAvailable: (permits: number) => <A, E, R>(
    self: Lock.Body<Lock.Lock, A, E, R>
  ) => Effect.Effect<Option.Option<A>, E | LockAcquisitionError | BackendError | LockLostError, R>
  /** How many could be taken now: none while others wait. It may have changed by the time it is read. */
  readonly available: Effect.Effect<number, BackendError>
}

/**
 * @since 0.1.0
 * @category Models
 */
export interface Options extends Lock.Options {
  /**
   * How many permits there are, from 1 to 2^31. Defaults to 1. All processes should give the same number; while they do
   * not, the latest to ask sets it, each says so in its log once, and `Dlock.inspect` shows who asked for what.
   */
  readonly permits?: number | undefined
}

/**
 * The semaphore of that name. Nothing is asked of Redis before permits are taken. Its `wait`, `ttl`, `maxHold`, `renew`
 * and `metadata` are those of every take.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { Dlock } from "effect-dlock"
 *
 * const report = (customer: string) =>
 *   Effect.gen(function*() {
 *     const semaphore = yield* Dlock.semaphore("reports", { permits: 4 })
 *     yield* Effect.log(`a report for ${customer}`).pipe(semaphore.withPermits(1))
 *   })
 *
 * Effect.runPromise(report("42").pipe(Effect.provide(Dlock.layerMemory)))
 * ```
 *
 * @since 0.1.0
 * @category Constructors
 */
export const semaphore = (key: string, options?: Options): Effect.Effect<Semaphore, InvalidKeyError, Dlock> =>
  withDlock("semaphore", here(), (dlock) => dlock.semaphore(key, options))
