/**
 * One job for many who ask: while it runs for an id, in whatever process, everybody who asks for the id waits for its
 * outcome instead of running it again.
 *
 * It coalesces, it does not cache: who asks after the job has ended starts the next one, unless both use `keep`. And it is
 * a lease like any other: a process that loses its lease while its job runs has that interrupted, but two jobs can overlap
 * when Redis loses its data or a process is paused. Jobs that must not run twice need a lock and a fencing token.
 *
 * @since 0.1.0
 */
import type * as Edition from "#edition"
import type * as Cause from "effect/Cause"
import type * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import type { BackendError, FanoutError, InvalidKeyError, LockAcquisitionError } from "./DlockError.js"
import { here } from "./internal/callSite.js"
import { keyFirst } from "./internal/dual.js"
import type { Dlock } from "./internal/tag.js"
import { withDlock } from "./internal/tag.js"

export { FanoutError } from "./DlockError.js"

/**
 * @since 0.1.0
 * @category Models
 */
export interface Options {
  /**
   * How long a process that died while its job ran holds up the others. Renewed every third of it. Defaults to the layer's
   * `ttl`. In one process the call that starts a flight decides.
   */
  readonly ttl?: Edition.DurationInput | undefined
  /**
   * Makes it a cache for that long: a success is kept, and a call that says `keep` takes one that is not older than it
   * says. Failures and defects are not kept. Defaults to none. Such a call costs one command.
   */
  readonly keep?: Edition.DurationInput | undefined
  /**
   * When Redis is down: `"fail"` with `BackendError`, or `"run"` the job for the callers of this process alone, at once when
   * the connection is known to be away. All who call while it runs share it, also when Redis is back. Defaults to `"fail"`.
   */
  readonly onBackendError?: "fail" | "run" | undefined
  /** An outcome of more bytes of JSON fails everybody with `FanoutError`. Defaults to the layer's, 1 MiB. */
  readonly maxPayloadBytes?: number | undefined
}

/**
 * How outcomes travel: as the JSON that `Schema.toCodecJson` makes of the schema. On Effect 3 what the schema itself encodes
 * to must be JSON. Callers of one id should all use the same.
 *
 * @since 0.1.0
 * @category Models
 */
export interface SchemaOptions<A, IA, E, IE> extends Options {
  readonly schema: {
    readonly success: Edition.Codec<A, IA>
    readonly error: Edition.Codec<E, IE>
  }
}

/**
 * The options with or without a schema, as the service takes them.
 *
 * @since 0.1.0
 * @category Models
 */
export interface AnyOptions extends Options {
  readonly schema?: {
    readonly success: Edition.AnyCodec
    readonly error: Edition.AnyCodec
  } | undefined
}

/**
 * The type itself when it survives JSON unchanged: data of strings, numbers, booleans, null, arrays and objects. Nothing
 * with methods does (a `Date`, a `Map`, an `Option`, bytes), and `unknown` and `any` may not.
 *
 * @since 0.1.0
 * @category Models
 */
export type Json<A> = unknown extends A ? never
  : A extends null | undefined | void | boolean | number | string ? A
  : A extends bigint | symbol | ((...args: ReadonlyArray<never>) => unknown) ? never
  : { readonly [K in keyof A]: Json<A[K]> }

/**
 * As `Json`, for failures: a tagged error counts by its own fields. It arrives as a plain object of them, with `name` and
 * `message`: `catchTag` works, `instanceof` does not. Give a schema for that.
 *
 * @since 0.1.0
 * @category Models
 */
export type JsonError<E> = unknown extends E ? never
  : E extends Error ? E extends { readonly _tag: string } ? [Fields<E>] extends [Json<Fields<E>>] ? E : never : never
  : Json<E>

type Fields<E> = Omit<E, keyof Cause.YieldableError>

/**
 * What the compiler says of a job whose outcome is no JSON.
 *
 * @since 0.1.0
 * @category Models
 */
export interface NotJson<A> {
  readonly "this is not JSON, so the option `schema` is needed": A
}

type Sharable<A, E> = [A] extends [Json<A>] ? [E] extends [JsonError<E>] ? unknown : NotJson<E> : NotJson<A>

/**
 * Runs the job, unless it runs already for the same id, in any process: then waits for that one. Succeeds, fails or dies
 * with what it came to.
 *
 * All callers get equal values, read from the same bytes; those of one process share them, so do not change them. With
 * `schema` everything is what the schema decodes: errors are instances again.
 *
 * Without `schema` the outcome must be JSON. The compiler refuses what the type shows. What only the value shows (`NaN`, a
 * getter of its class, bytes behind an interface) fails everybody with `FanoutError`, reason `Encode`, which names the
 * place: `$.user.photo`. Three changes are accepted: a field that is undefined is left out, -0 arrives as 0, and an object
 * arrives without its class, Effect's `Data` included. A failure arrives as a plain object of its own fields with its `_tag`,
 * `name` and `message`, without its `cause`.
 *
 * A defect arrives with its name and message, not with another process's stack. Undefined, and failures that are falsy,
 * arrive as they are.
 *
 * Errors of other libraries are often no JSON by their type. Map them first (`Effect.mapError`), make them defects
 * (`Effect.orDie`), or give a schema; those of this library are schemas. A timeout belongs around `fanout`, not into the job.
 *
 * Also fails with
 *
 * - `FanoutError` when the outcome cannot be shared: see its reasons. Everybody fails, the one whose job ran included.
 * - `BackendError` when Redis could not be asked. See `onBackendError`.
 *
 * The job runs in a fiber of the service and in a scope of its own, which closes before anybody gets the outcome. Of the
 * first caller of its process it inherits the services, the log annotations, the parent span and all other references
 * (Effect 3: fiber refs); not the scope, an interruption, or the locks that it holds. So do not let the job use anything
 * that ends with that caller, such as an open transaction: others may wait for it longer.
 *
 * If the process of the job dies, another that waits runs its own job within `ttl`. If its lease is lost, it is
 * interrupted, and its callers wait for the job that runs instead.
 *
 * **Interruption**: a caller that is interrupted or times out leaves alone. When nobody waits any more, in any process, the
 * job is interrupted: at once when no other process waits, or else within a third of `ttl`. A call that comes before the
 * job has ended waits for that, and then for a new run.
 *
 * **Ordering**: a caller only gets the outcome of a job that had not ended when it called.
 *
 * **Gotchas**: all calls with one id must mean the same. A job that asks for its own id, or for a lock that one of its
 * callers holds meanwhile, waits for itself until that caller gives up.
 *
 * @example
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Dlock } from "effect-dlock"
 *
 * class NoSuchCity extends Schema.TaggedError<NoSuchCity>()("NoSuchCity", { city: Schema.String }) {}
 *
 * const Weather = Schema.Struct({ city: Schema.String, at: Schema.Date, degrees: Schema.Number })
 *
 * const weather = (city: string) =>
 *   Dlock.fanout(
 *     `weather:${city}`,
 *     city === "" ? Effect.fail(new NoSuchCity({ city })) : Effect.succeed({ city, at: new Date(0), degrees: 21 }),
 *     { schema: { success: Weather, error: NoSuchCity } }
 *   )
 *
 * Effect.runPromise(weather("Oslo").pipe(Effect.provide(Dlock.layerMemory)))
 * ```
 *
 * @since 0.1.0
 * @category Combinators
 */
export const fanout: {
  <A, IA, E, IE>(
    id: string,
    options: SchemaOptions<A, IA, E, IE>
  ): <R>(
    job: Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | BackendError | FanoutError | InvalidKeyError, Exclude<R, Scope.Scope> | Dlock>
  (
    id: string,
    options?: Options
  ): <A, E, R>(
    job: Effect.Effect<A, E, R> & Sharable<A, E>
  ) => Effect.Effect<A, E | BackendError | FanoutError | InvalidKeyError, Exclude<R, Scope.Scope> | Dlock>
  <A, IA, E, IE, R>(
    id: string,
    job: Effect.Effect<A, E, R>,
    options: SchemaOptions<A, IA, E, IE>
  ): Effect.Effect<A, E | BackendError | FanoutError | InvalidKeyError, Exclude<R, Scope.Scope> | Dlock>
  <A, E, R>(
    id: string,
    job: Effect.Effect<A, E, R> & Sharable<A, E>,
    options?: Options
  ): Effect.Effect<A, E | BackendError | FanoutError | InvalidKeyError, Exclude<R, Scope.Scope> | Dlock>
} = keyFirst((site, id, job, options: AnyOptions | undefined) =>
  withDlock("fanout", site, (dlock) => dlock.fanout(id, job, options))
)

/**
 * The part of the first caller of `push`.
 *
 * @since 0.1.0
 * @category Models
 */
export interface Completion<A, E> {
  /** Says what it came to, to every callback in every process. Only the first call counts. Waits for nobody. */
  readonly complete: (exit: Exit.Exit<A, E>) => Effect.Effect<void>
}

/**
 * `fanout` for a job that is no effect. Registers the callback for the id. For the first caller, in all processes, it
 * succeeds, and that one is to call `complete`; for all others it fails at once with `LockAcquisitionError`, reason `Held`.
 * Either way the callback then runs exactly once, with what `complete` was given, read from the same bytes everywhere.
 * A callback also runs, with
 *
 * - `FanoutError` `Abandoned` when the first caller's scope closes, or its process dies, without `complete`;
 * - `BackendError` when Redis was silent for too long, or the layer was closed.
 *
 * It belongs to the service, not to the scope, and runs in a fiber and a scope of its own, with all else that a job of
 * `fanout` inherits. If `push` fails with anything but `Held`, or
 * is interrupted, the callback is not registered and does not run.
 *
 * **Interruption**: interrupting it while it asks leaves nothing behind.
 *
 * @example
 * ```ts
 * import { Effect, Exit } from "effect"
 * import { Dlock } from "effect-dlock"
 *
 * declare const startExport: (done: (rows: number) => void) => void
 *
 * // Whoever comes first starts the export. Everybody is told what came of it.
 * export const exported = Effect.scoped(
 *   Effect.gen(function*() {
 *     const { complete } = yield* Dlock.push(
 *       "export",
 *       (exit: Exit.Exit<number, Dlock.BackendError | Dlock.FanoutError>) =>
 *         Effect.log(Exit.isSuccess(exit) ? `${exit.value} rows` : "it failed")
 *     )
 *     const rows = yield* Effect.callback<number>((resume) => startExport((rows) => resume(Effect.succeed(rows))))
 *     yield* complete(Exit.succeed(rows))
 *   })
 * ).pipe(Effect.catchTag("LockAcquisitionError", () => Effect.log("somebody else has started it")))
 * ```
 *
 * @since 0.1.0
 * @category Constructors
 */
export const push: {
  <A, IA, E, IE, R>(
    id: string,
    onCompleted: (exit: Exit.Exit<A, E | BackendError | FanoutError>) => Effect.Effect<void, never, R>,
    options: SchemaOptions<A, IA, E, IE>
  ): Effect.Effect<
    Completion<A, E>,
    LockAcquisitionError | BackendError | InvalidKeyError,
    Exclude<R, Scope.Scope> | Scope.Scope | Dlock
  >
  <A, E, R>(
    id: string,
    onCompleted:
      & ((exit: Exit.Exit<A, E | BackendError | FanoutError>) => Effect.Effect<void, never, R>)
      & Sharable<A, Exclude<E, BackendError | FanoutError>>,
    options?: Options
  ): Effect.Effect<
    Completion<A, Exclude<E, BackendError | FanoutError>>,
    LockAcquisitionError | BackendError | InvalidKeyError,
    Exclude<R, Scope.Scope> | Scope.Scope | Dlock
  >
} = <A, E, R>(
  id: string,
  onCompleted: (exit: Exit.Exit<A, E | BackendError | FanoutError>) => Effect.Effect<void, never, R>,
  options?: AnyOptions
) => withDlock("push", here(), (dlock) => dlock.push(id, onCompleted, options))
