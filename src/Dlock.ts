/**
 * Distributed locks for effects, on Redis.
 *
 * A lock is a lease: it is renewed while it is held, ends by itself `ttl` after its holder died, and tells its holder when
 * it ended early. Waiters queue in Redis in the order they came, and the one that releases makes the next one the owner:
 * there is no polling. For what a lease cannot promise, see `fencingToken` of `Lock`.
 *
 * What to do about each error:
 *
 * - `LockAcquisitionError`: somebody else has it. Come back later (`retryAfter`), or wait longer. With reason `OverLimit` or
 *   `Reentrant`: fix the call.
 * - `MultiLockError`: at least one of several keys was not had, and none is held. As above.
 * - `LockLostError`: stop, and write nothing more. Start over if the work is still wanted.
 * - `BackendError`: Redis is down, silent or refuses. Retry unless its reason is `Refused`; nothing of the failed call is
 *   left behind.
 * - `InvalidKeyError`: fix the call.
 * - `FanoutError`: the outcome of a shared job cannot be shared. Give a schema, or shrink it.
 *
 * @since 0.1.0
 */
import * as Edition from "#edition"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import type * as Option from "effect/Option"
import type * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type {
  BackendError,
  FanoutError,
  InvalidKeyError,
  LockAcquisitionError,
  LockLostError,
  MultiLockError
} from "./DlockError.js"
import type * as Fanout from "./Fanout.js"
import * as internal from "./internal/dlock.js"
import { lazy } from "./internal/lazy.js"
import { Sharing } from "./internal/sharing.js"
import { Dlock } from "./internal/tag.js"
import type * as Lock from "./Lock.js"
import type { Inspection, Kind } from "./Operations.js"
import * as PubSubLayer from "./PubSubLayer.js"
import type * as ReadWriteLock from "./ReadWriteLock.js"
import * as RedisLayer from "./RedisLayer.js"
import type * as Semaphore from "./Semaphore.js"
import type * as Singleton from "./Singleton.js"

export {
  /**
   * @since 0.1.0
   * @category Errors
   */
  BackendError,
  /**
   * @since 0.1.0
   * @category Errors
   */
  FanoutError,
  /**
   * @since 0.1.0
   * @category Errors
   */
  InvalidKeyError,
  /**
   * @since 0.1.0
   * @category Errors
   */
  LockAcquisitionError,
  /**
   * @since 0.1.0
   * @category Errors
   */
  LockLostError,
  /**
   * @since 0.1.0
   * @category Errors
   */
  MultiLockError
} from "./DlockError.js"

/**
 * Of a layer. An option that can only be a mistake is a defect (a `TypeError` that names it): durations must be from 10 ms to
 * 365 days.
 *
 * @since 0.1.0
 * @category Models
 */
export interface Options {
  /** Namespaces every Redis key and channel. Two prefixes never collide. Defaults to `"dlock"`. */
  readonly prefix?: string | undefined
  /** How long a crashed holder can block others. Defaults to `"10 seconds"`. */
  readonly ttl?: Edition.DurationInput | undefined
  /** When `once` or `multi` finds a key held, tries again by this schedule. Defaults to none. */
  readonly retry?: Schedule.Schedule<unknown, LockAcquisitionError> | undefined
  /** A Redis that does not answer for that long becomes a `BackendError`. Defaults to `"5 seconds"`. */
  readonly commandTimeout?: Edition.DurationInput | undefined
  /** What `fanout` and `push` default to. */
  readonly fanout?: {
    /**
     * How long an outcome stays for those who wait for it and have missed the message. Never less than `ttl` +
     * `commandTimeout`, which is also the default.
     */
    readonly retention?: Edition.DurationInput | undefined
    /** An outcome of more bytes of JSON fails everybody with `FanoutError`. Defaults to 1,048,576. */
    readonly maxPayloadBytes?: number | undefined
  } | undefined
}

/**
 * All operations as members, for those who have the service at hand. The functions of this module take it from the context,
 * their errors show the line of the call, and those of `fanout` and `push` also see to it by the types that an outcome without a schema is JSON.
 *
 * @since 0.1.0
 * @category Models
 */
export interface Service {
  readonly once: (
    key: string,
    options?: Lock.Options
  ) => Effect.Effect<Lock.Lock, LockAcquisitionError | BackendError | InvalidKeyError, Scope.Scope>
  readonly lock: (
    key: string,
    options?: Lock.Options
  ) => Effect.Effect<Lock.Lock, LockAcquisitionError | BackendError | InvalidKeyError, Scope.Scope>
  readonly withLock: <A, E, R>(
    self: Lock.Body<Lock.Lock, A, E, R>,
    key: string,
    options?: Lock.Options
  ) => Effect.Effect<A, E | LockAcquisitionError | LockLostError | BackendError | InvalidKeyError, R>
  readonly withLockIfAvailable: <A, E, R>(
    self: Lock.Body<Lock.Lock, A, E, R>,
    key: string,
    options?: Lock.Options
  ) => Effect.Effect<Option.Option<A>, E | LockLostError | BackendError | InvalidKeyError, R>
  readonly multi: (
    keys: ReadonlyArray<string | ReadonlyArray<string>>
  ) => Effect.Effect<Lock.MultiLock, MultiLockError | BackendError | InvalidKeyError, Scope.Scope>
  readonly withMulti: <A, E, R>(
    self: Lock.Body<Lock.MultiLock, A, E, R>,
    keys: string | ReadonlyArray<string>,
    options?: Lock.Options
  ) => Effect.Effect<A, E | MultiLockError | LockLostError | BackendError | InvalidKeyError, R>
  readonly semaphore: (
    key: string,
    options?: Semaphore.Options
  ) => Effect.Effect<Semaphore.Semaphore, InvalidKeyError>
  readonly readWriteLock: (
    key: string,
    options?: Lock.Options
  ) => Effect.Effect<ReadWriteLock.ReadWriteLock, InvalidKeyError>
  readonly singleton: <A, E, R>(
    key: string,
    self: Lock.Body<Lock.Lock, A, E, R>,
    options?: Singleton.Options
  ) => Effect.Effect<A, E | LockAcquisitionError | BackendError | InvalidKeyError, R>
  readonly fanout: <A, E, R>(
    id: string,
    job: Effect.Effect<A, E, R>,
    options?: Fanout.AnyOptions
  ) => Effect.Effect<A, E | BackendError | FanoutError | InvalidKeyError, Exclude<R, Scope.Scope>>
  readonly push: <A, E, R>(
    id: string,
    onCompleted: (exit: Exit.Exit<A, E | BackendError | FanoutError>) => Effect.Effect<void, never, R>,
    options?: Fanout.AnyOptions
  ) => Effect.Effect<
    Fanout.Completion<A, E>,
    LockAcquisitionError | BackendError | InvalidKeyError,
    Exclude<R, Scope.Scope> | Scope.Scope
  >
  readonly inspect: <K extends Kind = "lock">(
    key: string,
    kind?: K
  ) => Effect.Effect<Inspection<K>, BackendError | InvalidKeyError>
  readonly forceRelease: (key: string, kind?: Kind) => Effect.Effect<number, BackendError | InvalidKeyError>
  readonly askRelease: (key: string, kind?: Kind) => Effect.Effect<number, BackendError | InvalidKeyError>
}

export {
  /**
   * The service. Provide it with one of the layers below, once in an application's runtime.
   *
   * @since 0.1.0
   * @category Tags
   */
  Dlock
} from "./internal/tag.js"

export { fanout, push } from "./Fanout.js"
export { lock, multi, once, withLock, withLockIfAvailable, withMulti } from "./Lock.js"

export { askRelease, forceRelease, inspect } from "./Operations.js"

export type { Inspection, Kind } from "./Operations.js"

export { readWriteLock } from "./ReadWriteLock.js"
export { semaphore } from "./Semaphore.js"
export { singleton } from "./Singleton.js"

/** One service for each pair of connections that it is provided with. */
const layerOf = <E>(
  options: Effect.Effect<Options, E>
): Layer.Layer<Dlock, E, RedisLayer.Redis | PubSubLayer.PubSub> => {
  const sharing = new Sharing<Service, E>()
  return Layer.fresh(Layer.effect(
    Dlock,
    Effect.flatMap(
      Effect.all([RedisLayer.Redis, PubSubLayer.PubSub]),
      ([redis, pubSub]) =>
        sharing.of(redis, pubSub, Effect.flatMap(options, (options) => internal.makeRedis(redis, pubSub, options)))
    )
  ))
}

/**
 * The service with default options, on the two connections. Within one graph of layers there is one for each pair of them.
 *
 * @since 0.1.0
 * @category Layers
 */
export const layer: Layer.Layer<Dlock, never, RedisLayer.Redis | PubSubLayer.PubSub> = Layer.fresh(
  Layer.suspend(lazy(() => layerOptions({})))
)

/**
 * The service on the two connections. Within one graph of layers there is one for each pair of them.
 *
 * @since 0.1.0
 * @category Layers
 */
export const layerOptions = (options: Options): Layer.Layer<Dlock, never, RedisLayer.Redis | PubSubLayer.PubSub> =>
  layerOf(Effect.succeed(options))

/**
 * `layerOptions`, with options from `Config`.
 *
 * @since 0.1.0
 * @category Layers
 */
export const layerConfig = (
  options: Edition.ConfigWrap<Options>
): Layer.Layer<Dlock, Edition.ConfigError, RedisLayer.Redis | PubSubLayer.PubSub> => layerOf(Config.unwrap(options))

/**
 * The service with both of its connections: all that an application needs. Without `url`, Redis is at localhost:6379.
 * For other connection options, compose `layerOptions`, `RedisLayer.layer` and `PubSubLayer.layer`.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { Dlock } from "effect-dlock"
 *
 * const DlockLive = Dlock.layerRedis({ url: "redis://localhost:6379", prefix: "shop" })
 *
 * export const program = Effect.log("only one at a time").pipe(
 *   Dlock.withLock("report"),
 *   Effect.provide(DlockLive)
 * )
 * ```
 *
 * @since 0.1.0
 * @category Layers
 */
export const layerRedis = (
  options: Options & Pick<RedisLayer.Options, "url"> = {}
): Layer.Layer<Dlock, BackendError> =>
  layerOptions(options).pipe(
    Layer.provide(PubSubLayer.layer),
    Layer.provide(RedisLayer.layer({ url: options.url }))
  )

/**
 * `layerRedis`, with options from `Config`.
 *
 * @example
 * ```ts
 * import { Config } from "effect"
 * import { Dlock } from "effect-dlock"
 *
 * export const DlockLive = Dlock.layerRedisConfig({
 *   url: Config.Redacted("REDIS_URL"),
 *   prefix: Config.String("LOCK_PREFIX").pipe(Config.withDefault("shop"))
 * })
 * ```
 *
 * @since 0.1.0
 * @category Layers
 */
export const layerRedisConfig = (
  options: Edition.ConfigWrap<Options & Pick<RedisLayer.Options, "url">>
): Layer.Layer<Dlock, BackendError | Edition.ConfigError> =>
  Layer.unwrap(Effect.map(Config.unwrap<Options & Pick<RedisLayer.Options, "url">>(options), layerRedis))

/**
 * The service in this process alone, without Redis: the same semantics, driven by Effect's `Clock`. For tests (with
 * `TestClock`) and for a single process. Each `Effect.provide` makes a world of its own, also inside of another; within
 * one graph of layers there is one.
 *
 * @since 0.1.0
 * @category Layers
 */
export const layerMemory: Layer.Layer<Dlock> = Edition.perProvide(() => memory({}))

/**
 * `layerMemory`, with options.
 *
 * @since 0.1.0
 * @category Layers
 */
export const layerMemoryOptions = (options: Options): Layer.Layer<Dlock> => Edition.perProvide(() => memory(options))

const memory = (options: Options) => Layer.effect(Dlock, Effect.suspend(() => internal.makeMemory(options)))
