/**
 * A lock that many may hold to read, or one to write.
 *
 * It is fair: a waiting writer stops readers that come later, and readers that stand next to each other in the queue
 * enter together.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
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
export interface WriteLock extends Lock.Lock {
  /**
   * Makes it a lock to read, without a gap in which another could write. Readers that are next in the queue enter. It is
   * given back with the same scope. One round trip.
   *
   * Fails with `LockLostError` when the lease had ended. After a `BackendError` it may have been carried out: do not write any
   * more. There is no way back up: a reader that wants to write gives back
   * first, because two that waited for each other would wait for ever.
   */
  readonly downgrade: Effect.Effect<void, LockLostError | BackendError>
}

/**
 * All wait in order of arrival, for `wait` of the options at most. Where the lock is held already, to read or to
 * write, a call fails with `LockAcquisitionError` (`Reentrant`), as with `Lock.lock`.
 *
 * @since 0.1.0
 * @category Models
 */
export interface ReadWriteLock {
  readonly key: string
  /**
   * Held to read until the scope closes.
   *
   * **Gotchas**: the fencing tokens of readers are not in the order of their work. Do not refuse lower ones.
   */
  readonly read: Effect.Effect<Lock.Lock, LockAcquisitionError | BackendError, Scope.Scope>
  /** Held to write until the scope closes. */
  readonly write: Effect.Effect<WriteLock, LockAcquisitionError | BackendError, Scope.Scope>
  /** Runs the effect, or what a function of the handle gives, as a reader. Interrupts it when the lease is lost. */
  readonly withRead: <A, E, R>(
    self: Lock.Body<Lock.Lock, A, E, R>
  ) => Effect.Effect<A, E | LockAcquisitionError | BackendError | LockLostError, R>
  /** Runs the effect, or what a function of the handle gives, as the only one. Interrupts it when the lease is lost. */
  readonly withWrite: <A, E, R>(
    self: Lock.Body<WriteLock, A, E, R>
  ) => Effect.Effect<A, E | LockAcquisitionError | BackendError | LockLostError, R>
}

/**
 * The read-write lock of that name. Nothing is asked of Redis before it is taken. The options are those of every taking.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { Dlock } from "effect-dlock"
 *
 * const refresh = Effect.scoped(
 *   Effect.gen(function*() {
 *     const prices = yield* Dlock.readWriteLock("prices")
 *     const lock = yield* prices.write
 *     yield* Effect.log("writing")
 *     yield* lock.downgrade
 *     yield* Effect.log("reading what was written, beside other readers")
 *   })
 * )
 *
 * Effect.runPromise(refresh.pipe(Effect.provide(Dlock.layerMemory)))
 * ```
 *
 * @since 0.1.0
 * @category Constructors
 */
export const readWriteLock = (
  key: string,
  options?: Lock.Options
): Effect.Effect<ReadWriteLock, InvalidKeyError, Dlock> =>
  withDlock("readWriteLock", here(), (dlock) => dlock.readWriteLock(key, options))
