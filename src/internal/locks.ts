/** What the constructors of everything that is held share: from a call to a request, and from a lease to its scope. */
import type * as Arr from "effect/Array"
import * as Context from "effect/Context"
import * as DefaultServices from "effect/DefaultServices"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type * as Exit from "effect/Exit"
import type * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import type { LockAcquisitionError, LockLostError } from "../DlockError.js"
import { BackendError, InvalidKeyError, MultiLockError } from "../DlockError.js"
import type * as Lock from "../Lock.js"
import type { Engine, Request } from "./engine/engine.js"
import * as Errors from "./engine/errors.js"
import type { Lease } from "./engine/lease.js"
import * as Multi from "./engine/multi.js"
import * as Key from "./key.js"
import { guard, lose } from "./lock.js"
import * as Options from "./options.js"
import * as Reentrancy from "./reentrancy.js"
import type { Claim } from "./store.js"
import { maxBatch } from "./store.js"
import * as Telemetry from "./telemetry.js"

/** The service behind the constructors. */
export interface Env {
  readonly engine: Engine
  /** What options are that a call leaves out. */
  readonly defaults: Options.Decoded
}

const decode = (env: Env, options: Lock.Options | undefined): Either.Either<Options.Decoded, Options.Mistake> =>
  options === undefined ? Either.right(env.defaults) : Options.decode(options, env.defaults.terms.ttlMillis)

/** How to wait, when the operation waits at all. */
const patience = (waits: boolean, { waitMillis }: Options.Decoded) =>
  waits && waitMillis > 0 ? { waits: true, waitMillis } : { waits: false, waitMillis: Infinity }

export const orDie = <A>(decoded: Either.Either<A, Options.Mistake>): Effect.Effect<A> =>
  Either.isLeft(decoded) ? Effect.die(decoded.left) : Effect.succeed(decoded.right)

const first = (failed: Arr.NonEmptyReadonlyArray<LockAcquisitionError>): LockAcquisitionError => failed[0]

/** The request for one key. `waits` says what the operation does when the options do not. */
export const requestOf = (
  env: Env,
  claim: Claim,
  options: Lock.Options | undefined,
  waits: boolean
): Effect.Effect<Request<LockAcquisitionError>, InvalidKeyError | LockAcquisitionError> => {
  const valid = Key.validate(claim.key)
  if (Either.isLeft(valid)) return Effect.fail(valid.left)
  const decoded = decode(env, options)
  if (Either.isLeft(decoded)) return Effect.die(decoded.left)
  // Nobody could ever grant it.
  if (claim.permits > claim.limit) return Effect.fail(Errors.notAcquired(claim.key, "OverLimit", Duration.zero))
  return Effect.succeed({
    claims: [claim],
    terms: decoded.right.terms,
    ...patience(waits, decoded.right),
    refuse: first
  })
}

export type Keys = string | ReadonlyArray<string>

/** The request for several keys: each once, in canonical order (R20). */
export const multiRequestOf = (
  env: Env,
  given: ReadonlyArray<Keys>,
  options: Lock.Options | undefined,
  waits: boolean
): Effect.Effect<Request<MultiLockError>, InvalidKeyError> => {
  const different = new Set<string>()
  for (const key of given.flat()) {
    const valid = Key.validate(key)
    if (Either.isLeft(valid)) return Effect.fail(valid.left)
    different.add(valid.right)
  }
  if (different.size === 0 || different.size > maxBatch) {
    return Effect.die(
      new TypeError(`effect-dlock: \`keys\` must be 1 to ${maxBatch} different keys, not ${different.size}`)
    )
  }
  const decoded = decode(env, options)
  if (Either.isLeft(decoded)) return Effect.die(decoded.left)
  const keys = Array.from(different)
  return Effect.succeed({
    terms: decoded.right.terms,
    ...patience(waits, decoded.right),
    claims: Key.inOrder(keys).map((key) => ({ kind: "lock", key, permits: 1, limit: 1 })),
    refuse: (failed) => new MultiLockError({ keys, failed })
  })
}

/** Self-deadlock is caught before anything is sent. What does not wait cannot have one. */
export const unlessReentrant = <A, E, R, F>(
  engine: Engine,
  request: Request<F>,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E | F, R> =>
  request.waits
    ? Effect.withFiberRuntime((fiber) => {
      const claim = Reentrancy.conflict(fiber, engine, request.claims)
      return claim === undefined
        ? effect
        : Effect.fail(request.refuse([Errors.notAcquired(claim.key, "Reentrant", Duration.zero)]))
    })
    : effect

/** I2: from the grant to the finalizer nothing can interrupt. */
export const scoped = <E, A>(
  { engine }: Env,
  request: Request<E>,
  wrap: (engine: Engine, lease: Lease) => A
): Effect.Effect<A, E | BackendError, Scope.Scope> =>
  Effect.scopeWith((scope) => {
    const acquired = Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(Multi.acquire(engine, request, restore), (lease) =>
        Effect.zipRight(
          // Not `addFinalizer`, which wraps it twice: every lock passes here.
          Scope.addFinalizerExit(scope, () => releaseQuietly(engine, lease)),
          Effect.as(Reentrancy.note(lease), wrap(engine, lease))
        ))
    )
    return unlessReentrant(engine, request, acquired)
  })

/** Acquires, runs the effect under guard, gives back. */
export const guarded = <A, E, R, F>(
  { engine }: Env,
  request: Request<F>,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E | F | BackendError | LockLostError, R> =>
  unlessReentrant(
    engine,
    request,
    Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(Multi.acquire(engine, request, restore), (lease) =>
        Effect.zipRight(Reentrancy.note(lease), Effect.exit(restore(guard(engine, lease, effect)))).pipe(
          Effect.flatMap((exit) =>
            releaseAfter(engine, lease, exit)
          ),
          Effect.ensuring(Reentrancy.forget(lease))
        ))
    )
  )

/** R45: what was done under a lease that the store had lost was not done under it, however well it ended. */
const releaseAfter = <A, E>(
  engine: Engine,
  lease: Lease,
  exit: Exit.Exit<A, E>
): Effect.Effect<A, E | LockLostError> =>
  // A loss that was seen before is what `guard` failed with.
  lease.state._tag !== "Held" ? exit : Effect.matchEffect(whenLost(engine.release(lease)), {
    onSuccess: (): Effect.Effect<A, E> => exit,
    onFailure: (lost) => lose(exit, lost)
  })

/** A release that Redis did not confirm goes on in the background, and the ttl is behind it. */
const whenLost = (released: Effect.Effect<void, LockLostError | BackendError>): Effect.Effect<void, LockLostError> =>
  Effect.catchTag(released, "BackendError", (error) => {
    Telemetry.releaseFailures.unsafeUpdate(1, [])
    return logWarning("A lock was not released at once; trying again in the background", error)
  })

/** A finalizer has nobody to fail to. */
export const releaseQuietly = (engine: Engine, lease: Lease): Effect.Effect<void> =>
  Effect.catchAll(
    whenLost(engine.release(lease)),
    (error) => logWarning("A lock was lost before its scope closed", error)
  )

const logWarning = (what: string, error: BackendError | LockLostError): Effect.Effect<void> =>
  Effect.annotateLogs(Effect.logWarning(what, error), { package: "effect-dlock" })

/** Effect's own tracer keeps spans that nobody reads. */
const nativeTracer = Context.get(DefaultServices.liveServices, Tracer.Tracer)

/** One span for a public operation, where somebody collects spans. */
export const span =
  (operation: string, key: unknown) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.withFiberRuntime((fiber) =>
      fiber.currentTracer === nativeTracer
        ? effect
        // SAFETY: `withSpan` takes the span out of the requirements, and no effect here has one there.
        : Effect.withSpan(effect, `Dlock.${operation}`, {
          attributes: { "dlock.key": key },
          captureStackTrace: false
        }) as Effect.Effect<A, E, R>
    )

const isOther = (error: unknown): error is BackendError | InvalidKeyError =>
  error instanceof BackendError || error instanceof InvalidKeyError

/** Only "held" is worth another try by schedule: the other errors have other remedies. */
export const retrying = <A, E, R>(
  acquire: Effect.Effect<A, E | BackendError | InvalidKeyError, R>,
  schedule: Schedule.Schedule<unknown, E> | undefined
): Effect.Effect<A, E | BackendError | InvalidKeyError, R> =>
  schedule === undefined ? acquire : acquire.pipe(
    Effect.map((a): Effect.Effect<A, BackendError | InvalidKeyError> => Effect.succeed(a)),
    Effect.catchIf(isOther, (error) => Effect.succeed(Effect.fail(error))),
    // SAFETY: the errors that are not retried have just been taken out.
    (remaining) => remaining as Effect.Effect<Effect.Effect<A, BackendError | InvalidKeyError>, E, R>,
    Effect.retry(schedule),
    Effect.flatten
  )
