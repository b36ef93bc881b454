/**
 * A lock that is held: a lease on a key, kept alive until its scope closes.
 *
 * A lease can end before the work does: Redis may be unreachable, or this process paused. `lost` and `guard` say so in
 * time, by a local clock that does not depend on Redis. What no lease can promise is that a paused process stops writing
 * at once; for that, `fencingToken` lets a resource refuse a late writer.
 *
 * @since 0.1.0
 */
import type * as Edition from "#edition"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type {
  BackendError,
  InvalidKeyError,
  LockAcquisitionError,
  LockLostError,
  MultiLockError
} from "./DlockError.js"
import { here } from "./internal/callSite.js"
import { bodyFirst } from "./internal/dual.js"
import type { Dlock } from "./internal/tag.js"
import { withDlock } from "./internal/tag.js"

/**
 * What is held, however many keys it is on.
 *
 * @since 0.1.0
 * @category Models
 */
export interface Lease {
  /** How long the lease still lasts by the local deadline; zero when it has ended. No round trip. */
  readonly remaining: Effect.Effect<Duration.Duration>
  /**
   * Renews now, for `ttl` from now (default: the ttl of the lock). Never shortens. One round trip.
   *
   * Fails with `LockLostError` when it was too late, with `BackendError` when it is not known to have worked; then the
   * lease goes on as before and is renewed by itself.
   */
  readonly extend: (ttl?: Edition.DurationInput) => Effect.Effect<void, LockLostError | BackendError>
  /**
   * Releases the lock before the scope closes. Idempotent, and by token: the lock of a later owner is never touched.
   *
   * Fails with `LockLostError` when the lease had ended before, or when Redis no longer knew it (reason `Superseded`): what
   * was done under it may have met another holder. On `BackendError` the release continues in the background.
   *
   * **Interruption**: waits for the answer all the same, at most `commandTimeout`.
   */
  readonly release: Effect.Effect<void, LockLostError | BackendError>
  /** Fails when the lease has ended. Reads the clock: no round trip, and no trust in timers. */
  readonly check: Effect.Effect<void, LockLostError>
  /** Suspends until the lease has ended, and fails then. */
  readonly lost: Effect.Effect<never, LockLostError>
  /**
   * Runs the effect under the lease: interrupts it when the lease ends, and then fails with `LockLostError`. It also
   * fails so when the effect succeeded too late, because it had blocked the event loop for longer than the lease. What the
   * effect failed with by itself is kept in the cause, behind the loss.
   *
   * Fibers that the effect forks live on after it, until the fiber that runs `guard` ends, as they do with Effect's own
   * semaphore; also when the lease is lost.
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
export interface Lock extends Lease {
  /** The key as it was given. */
  readonly key: string
  /** The secret that owns the lock. Made before the command is sent; a new one for each attempt. */
  readonly token: string
  /**
   * Grows with every grant of the key, over all processes and over a loss of Redis' data. A safe integer (the server's
   * time in microseconds, or one more than the last). A resource that remembers the highest it saw can refuse a lower.
   */
  readonly fencingToken: number
}

/**
 * Several keys, held as one: they are renewed together, and the loss of one is the loss of all.
 *
 * @since 0.1.0
 * @category Models
 */
export interface MultiLock extends Lease {
  /** Each once, in the order of their names. */
  readonly keys: ReadonlyArray<string>
  /** The fencing token of each key. */
  readonly fencingTokens: ReadonlyMap<string, number>
}

/**
 * What runs under a lock: an effect, or a function of the handle that gives one.
 *
 * @since 0.1.0
 * @category Models
 */
export type Body<L, A, E, R> = Effect.Effect<A, E, R> | ((lock: L) => Effect.Effect<A, E, R>)

/**
 * An option that can only be a mistake is a defect (a `TypeError` that names it): `ttl` and `maxHold` must be from 10 ms to 365
 * days, `metadata` well-formed Unicode of 256 characters at most.
 *
 * @since 0.1.0
 * @category Models
 */
export interface Options {
  /** How long a holder that died can block others. Renewed every third of it. Defaults to the layer's `ttl`. */
  readonly ttl?: Edition.DurationInput | undefined
  /**
   * How long to stay in the queue at most; 0 is not at all, as `once` does. Defaults to no limit. Redis's first answer is
   * awaited in any case, for `commandTimeout` at most: a free lock is taken however short the wait, and an outage is a
   * `BackendError`.
   */
  readonly wait?: Edition.DurationInput | undefined
  /** Whether to renew the lease while it is held. Defaults to `true`. */
  readonly renew?: boolean | undefined
  /** The lease is lost after that long (reason `MaxHold`), however often it was renewed. Defaults to no limit. */
  readonly maxHold?: Edition.DurationInput | undefined
  /**
   * What a call that waits does when the lock is held around it (see `lock`): `"fail"` at once with reason `Reentrant`, or
   * `"wait"`. Use `"wait"` in a daemon that its holder does not wait for. Defaults to `"fail"`.
   */
  readonly reentrant?: "fail" | "wait" | undefined
  /** Shown to others who find the lock held, and by `Dlock.inspect`. At most 256 characters. No secrets. */
  readonly metadata?: string | undefined
}

/**
 * Acquires the lock if it is free and nobody waits for it, or fails at once, whatever `options.wait` says. It is held until
 * the scope closes.
 *
 * **Interruption**: interrupting the acquisition leaves nothing behind. When the scope closes, the lock is released before
 * the close completes; a Redis that does not answer delays that by `commandTimeout` at most.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { Dlock } from "effect-dlock"
 *
 * const program = Effect.scoped(
 *   Effect.gen(function*() {
 *     const lock = yield* Dlock.once("nightly-report")
 *     yield* Effect.log(`mine, fencing token ${lock.fencingToken}`)
 *   })
 * ).pipe(Effect.catchTag("LockAcquisitionError", () => Effect.log("another process does it")))
 *
 * Effect.runPromise(program.pipe(Effect.provide(Dlock.layerMemory)))
 * ```
 *
 * @since 0.1.0
 * @category Constructors
 */
export const once = (
  key: string,
  options?: Options
): Effect.Effect<Lock, LockAcquisitionError | BackendError | InvalidKeyError, Dlock | Scope.Scope> =>
  withDlock("once", here(), (dlock) => dlock.once(key, options))

/**
 * Acquires the lock, waiting for it in order of arrival. It is held until the scope closes.
 *
 * Locks are not re-entrant. A call that waits for a key fails at once with reason `Reentrant` when the key is held around it:
 * in the body of a `with…` form, of `singleton` or of `guard`; or in a scope that holds it, after it was taken there, by the
 * same fiber or by one that has ended. That includes nested scopes, and fibers that are forked there. See `reentrant`.
 *
 * Fails with reason `Timeout` when `options.wait` is over and Redis has said that somebody holds the lock or waits for it.
 * Fails with `BackendError` when Redis did not answer at all, when it was silent for so long that the place in the queue
 * must be gone, and when `ttl` is shorter than the round trip to Redis.
 *
 * **Interruption**: interrupting a waiter takes it out of the queue, also when its grant is just under way.
 *
 * **Ordering**: first in, first out, by arrival at Redis, among the waiters that are alive.
 *
 * @since 0.1.0
 * @category Constructors
 */
export const lock = (
  key: string,
  options?: Options
): Effect.Effect<Lock, LockAcquisitionError | BackendError | InvalidKeyError, Dlock | Scope.Scope> =>
  withDlock("lock", here(), (dlock) => dlock.lock(key, options))

/**
 * Acquires the lock, waiting in order of arrival; runs the effect; releases. Instead of an effect it takes a function of
 * the handle, too, for an effect that needs its fencing token.
 *
 * When the lease is lost the effect is interrupted, and the result fails with `LockLostError`: before another process can
 * get the lock, unless this one was paused.
 *
 * Fibers that the effect forks live on after it, as with `guard`: what must not outlive the lock is joined, or forked in a
 * scope, inside.
 *
 * **Interruption**: interrupting while it waits leaves no key and no place in the queue. Interrupting while it runs
 * interrupts the effect, then releases.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { Dlock } from "effect-dlock"
 *
 * const charge = (customer: string) =>
 *   Effect.log(`charging ${customer}`).pipe(
 *     Dlock.withLock(`customer:${customer}`, { ttl: "5 seconds", wait: "2 seconds" })
 *   )
 *
 * const write = Dlock.withLock((lock) => Effect.log(`writing with fencing token ${lock.fencingToken}`), "prices")
 *
 * Effect.runPromise(Effect.andThen(charge("42"), write).pipe(Effect.provide(Dlock.layerMemory)))
 * ```
 *
 * @since 0.1.0
 * @category Combinators
 */
export const withLock: {
  (key: string, options?: Options): <A, E, R>(
    self: Body<Lock, A, E, R>
  ) => Effect.Effect<A, E | LockAcquisitionError | LockLostError | BackendError | InvalidKeyError, R | Dlock>
  <A, E, R>(
    self: Body<Lock, A, E, R>,
    key: string,
    options?: Options
  ): Effect.Effect<A, E | LockAcquisitionError | LockLostError | BackendError | InvalidKeyError, R | Dlock>
} = bodyFirst((site, self: Body<Lock, unknown, unknown, unknown>, key: string, options: Options | undefined) =>
  withDlock("withLock", site, (dlock) => dlock.withLock(self, key, options))
)

/**
 * As `withLock`, if the lock is free and nobody waits for it, whatever `options.wait` says. Otherwise the result is `None`,
 * and the effect does not run.
 *
 * @example
 * ```ts
 * import { Effect, Option } from "effect"
 * import { Dlock } from "effect-dlock"
 *
 * const program = Effect.log("the nightly report").pipe(
 *   Dlock.withLockIfAvailable("nightly-report"),
 *   Effect.flatMap((ran) => Option.isNone(ran) ? Effect.log("another process does it") : Effect.void)
 * )
 *
 * Effect.runPromise(program.pipe(Effect.provide(Dlock.layerMemory)))
 * ```
 *
 * @since 0.1.0
 * @category Combinators
 */
export const withLockIfAvailable: {
  (key: string, options?: Options): <A, E, R>(
    self: Body<Lock, A, E, R>
  ) => Effect.Effect<Option.Option<A>, E | LockLostError | BackendError | InvalidKeyError, R | Dlock>
  <A, E, R>(
    self: Body<Lock, A, E, R>,
    key: string,
    options?: Options
  ): Effect.Effect<Option.Option<A>, E | LockLostError | BackendError | InvalidKeyError, R | Dlock>
} = bodyFirst((site, self: Body<Lock, unknown, unknown, unknown>, key: string, options: Options | undefined) =>
  withDlock("withLockIfAvailable", site, (dlock) => dlock.withLockIfAvailable(self, key, options))
)

/**
 * Takes all the keys if all are free and nobody waits for any, or none and fails at once. One round trip. They are held
 * until the scope closes. Strings and arrays may be mixed; a key that is given twice counts once. None, or more than 256, is
 * a defect. It takes no options: `withMulti` with `wait: 0` does.
 *
 * `MultiLockError.failed` names every key that stood in the way, who holds it and until when.
 *
 * **Interruption**: as for `once`.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { Dlock } from "effect-dlock"
 *
 * const transfer = (from: string, to: string) =>
 *   Effect.scoped(
 *     Effect.gen(function*() {
 *       const lock = yield* Dlock.multi(`account:${from}`, `account:${to}`)
 *       yield* Effect.log(`both are mine: ${lock.keys}`)
 *     })
 *   )
 *
 * Effect.runPromise(transfer("1", "2").pipe(Effect.provide(Dlock.layerMemory)))
 * ```
 *
 * @since 0.1.0
 * @category Constructors
 */
export const multi = (
  ...keys: readonly [string | ReadonlyArray<string>, ...ReadonlyArray<string | ReadonlyArray<string>>]
): Effect.Effect<MultiLock, MultiLockError | BackendError | InvalidKeyError, Dlock | Scope.Scope> =>
  withDlock("multi", here(), (dlock) => dlock.multi(keys))

/**
 * Takes all the keys, waiting for them; runs the effect, or what a function of the handle gives; gives them back. `options.wait` is one limit for all of them.
 *
 * When they are not all free at once, they are waited for one after the other, in one order that all processes keep. So
 * two calls with overlapping keys cannot wait for each other for ever, and both keep their places in each queue.
 *
 * When the lease on one is lost, all are given back and the effect is interrupted. **Interruption**: as for `withLock`.
 *
 * @since 0.1.0
 * @category Combinators
 */
export const withMulti: {
  (keys: string | ReadonlyArray<string>, options?: Options): <A, E, R>(
    self: Body<MultiLock, A, E, R>
  ) => Effect.Effect<A, E | MultiLockError | LockLostError | BackendError | InvalidKeyError, R | Dlock>
  <A, E, R>(
    self: Body<MultiLock, A, E, R>,
    keys: string | ReadonlyArray<string>,
    options?: Options
  ): Effect.Effect<A, E | MultiLockError | LockLostError | BackendError | InvalidKeyError, R | Dlock>
} = bodyFirst((
  site,
  self: Body<MultiLock, unknown, unknown, unknown>,
  keys: string | ReadonlyArray<string>,
  options: Options | undefined
) => withDlock("withMulti", site, (dlock) => dlock.withMulti(self, keys, options)))
