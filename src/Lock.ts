/**
 * A lock that is held: a lease on a key, kept alive until its scope closes.
 *
 * A lease can end before the work does: Redis may be unreachable, or this process paused. `lost` and `guard` say so in
 * time, by a local clock that does not depend on Redis. What no lease can promise is that a paused process stops writing
 * at once; for that, `fencingToken` lets a resource refuse a late writer.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type { BackendError, LockLostError } from "./DlockError.js"

/**
 * @since 0.1.0
 * @category Models
 */
export interface Lock {
  /** The key as it was given. */
  readonly key: string
  /** The secret that owns the lock. Made before the command is sent; a new one for each attempt. */
  readonly token: string
  /**
   * Grows with every grant of the key, over all processes and over a loss of Redis' data. A safe integer (the server's
   * time in microseconds, or one more than the last). A resource that remembers the highest it saw can refuse a lower.
   */
  readonly fencingToken: number
  /** How long the lease still lasts by the local deadline; zero when it has ended. No round trip. */
  readonly remaining: Effect.Effect<Duration.Duration>
  /**
   * Renews now, for `ttl` from now (default: the ttl of the lock). Never shortens. One round trip.
   *
   * Fails with `LockLostError` when it was too late, with `BackendError` when it is not known to have worked; then the
   * lease goes on as before and is renewed by itself.
   */
  readonly extend: (ttl?: Duration.DurationInput) => Effect.Effect<void, LockLostError | BackendError>
  /**
   * Gives the lock back before the scope closes. Idempotent, and by token: the lock of a later owner is never touched.
   * On `BackendError` the release goes on in the background. **Interruption**: waits for the answer all the same, at most
   * `commandTimeout`.
   */
  readonly release: Effect.Effect<void, BackendError>
  /** Fails when the lease has ended. Reads the clock: no round trip, and no trust in timers. */
  readonly check: Effect.Effect<void, LockLostError>
  /** Suspends until the lease has ended, and fails then. */
  readonly lost: Effect.Effect<never, LockLostError>
  /**
   * Runs the effect under the lease: interrupts it when the lease ends, and then fails with `LockLostError`. It also
   * fails so when the effect succeeded too late, because it had blocked the event loop for longer than the lease.
   *
   * **Gotchas**: a process that was paused past its lease (a frozen machine, a long garbage collection) may take one more
   * step before it is told. Ask `check` right before a write that must not come late, or fence it.
   */
  readonly guard: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | LockLostError, R>
}

/**
 * @since 0.1.0
 * @category Models
 */
export interface Options {
  /** How long a holder that died can block others. Renewed every third of it. Defaults to the layer's `ttl`. */
  readonly ttl?: Duration.DurationInput | undefined
  /** How long to wait for the lock at most; 0 is not at all, as `once` does. Defaults to no limit. */
  readonly wait?: Duration.DurationInput | undefined
  /** Whether to renew the lease while it is held. Defaults to `true`. */
  readonly renew?: boolean | undefined
  /** The lease is lost after that long (reason `MaxHold`), however often it was renewed. Defaults to no limit. */
  readonly maxHold?: Duration.DurationInput | undefined
  /** Shown to others who find the lock held, and by `Dlock.inspect`. At most 256 characters. No secrets. */
  readonly metadata?: string | undefined
}
