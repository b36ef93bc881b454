/** What the constructors of everything that is held share: from a call to a request, and from a lease to its scope. */
import * as Edition from "#edition"
import type * as Arr from "effect/Array"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import type { InvalidKeyError, LockAcquisitionError, LockLostError } from "../DlockError.js"
import { BackendError, MultiLockError } from "../DlockError.js"
import type * as Lock from "../Lock.js"
import * as CallSite from "./callSite.js"
import type { Engine, Request, Restore } from "./engine/engine.js"
import * as Errors from "./engine/errors.js"
import type { Lease } from "./engine/lease.js"
import * as Multi from "./engine/multi.js"
import * as Key from "./key.js"
import { effectOf, guard, Handle, lose } from "./lock.js"
import { named, rename } from "./operation.js"
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
  readonly realm: Reentrancy.Realm
}

/** What a call asks for. */
export interface Asked<E> extends Request<E> {
  /** Whether it fails, and does not wait, when that is held around the call. */
  readonly failsReentrant: boolean
}

const decode = (env: Env, options: Lock.Options | undefined): Result.Result<Options.Decoded, Options.Mistake> =>
  options === undefined ? Result.succeed(env.defaults) : Options.decode(options, env.defaults.terms.ttlMillis)

/** How it is held, and how to wait for it, when the operation waits at all. */
const manner = (waits: boolean, { failsReentrant, terms, waitMillis }: Options.Decoded) =>
  waits && waitMillis > 0
    ? { terms, failsReentrant, waits: true, waitMillis }
    : { terms, failsReentrant, waits: false, waitMillis: Infinity }

export const orDie = <A>(decoded: Result.Result<A, Options.Mistake>): Effect.Effect<A> =>
  Result.isFailure(decoded) ? Effect.die(decoded.failure) : Effect.succeed(decoded.success)

const first = (failed: Arr.NonEmptyReadonlyArray<LockAcquisitionError>): LockAcquisitionError => failed[0]

/** The request for one key. `waits` says what the operation does when the options do not. */
export const requestOf = (
  env: Env,
  claim: Claim,
  options: Lock.Options | undefined,
  waits: boolean
): Effect.Effect<Asked<LockAcquisitionError>, InvalidKeyError> => {
  const valid = Key.validate(claim.key)
  if (Result.isFailure(valid)) return Effect.fail(valid.failure)
  const decoded = decode(env, options)
  if (Result.isFailure(decoded)) return Effect.die(decoded.failure)
  return Effect.succeed({
    claims: [claim],
    ...manner(waits, decoded.success),
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
): Effect.Effect<Asked<MultiLockError>, InvalidKeyError> => {
  const different = new Set<string>()
  for (const key of given.flat()) {
    const valid = Key.validate(key)
    if (Result.isFailure(valid)) return Effect.fail(valid.failure)
    different.add(valid.success)
  }
  if (different.size === 0 || different.size > maxBatch) {
    return Effect.die(
      new TypeError(`effect-dlock: \`keys\` must be 1 to ${maxBatch} different keys, not ${different.size}`)
    )
  }
  const decoded = decode(env, options)
  if (Result.isFailure(decoded)) return Effect.die(decoded.failure)
  const keys = Array.from(different)
  return Effect.succeed({
    ...manner(waits, decoded.success),
    claims: Key.inOrder(keys).map((key) => ({ kind: "lock", key, permits: 1, limit: 1 })),
    refuse: (failed) => new MultiLockError({ keys, failed })
  })
}

/** The handle of what is held. `forget` takes its finalizer out of its scope. */
export type Held<L> = new(env: Env, lease: Lease, forget?: () => void) => L

/** Fails where waiting for it would be waiting for itself, before anything is sent. */
export const unlessReentrant = <A, E, R, F>(
  { realm }: Env,
  asked: Asked<F>,
  waiting: Effect.Effect<A, E, R>
): Effect.Effect<A, E | F, R> =>
  asked.failsReentrant
    ? Effect.withFiber((fiber): Effect.Effect<A, E | F, R> => {
      const claim = Reentrancy.conflict(fiber, realm, asked.claims)
      return claim === undefined
        ? waiting
        : Effect.fail(asked.refuse([Errors.notAcquired(claim.key, "Reentrant", Duration.zero)]))
    })
    : waiting

/** What does not wait cannot wait for itself. */
const acquire = <E, A, F, R>(
  env: Env,
  asked: Asked<E>,
  use: (lease: Lease, restore: Restore) => Effect.Effect<A, F, R>
): Effect.Effect<A, E | F | BackendError, R> => {
  CallSite.refill(env.engine.keeper)
  const acquired = Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(Multi.acquire(env.engine, asked, restore), (lease) => use(lease, restore))
  )
  return asked.waits ? unlessReentrant(env, asked, acquired) : acquired
}

/** I2: from the grant to the finalizer nothing can interrupt. */
export const scoped = <E, L>(
  env: Env,
  asked: Asked<E>,
  Held: Held<L>
): Effect.Effect<L, E | BackendError, Scope.Scope> =>
  acquire(env, asked, (lease) =>
    Effect.withFiber((fiber) => {
      const scope = Context.getUnsafe(Edition.contextOf(fiber), Scope.Scope)
      Reentrancy.note(scope, fiber, env.realm, lease)
      return Effect.map(
        Edition.addFinalizer(scope, () => releaseQuietly(env.engine, lease)),
        (forget) => new Held(env, lease, forget)
      )
    }))

/** Acquires, runs the body under guard, gives back. */
export const guarded = <L, A, E, R, F>(
  env: Env,
  asked: Asked<F>,
  body: Lock.Body<L, A, E, R>,
  Held: Held<L>
): Effect.Effect<A, E | F | BackendError | LockLostError, R> =>
  acquire(env, asked, (lease, restore) =>
    Effect.flatMap(
      Effect.exit(restore(guard(env, lease, effectOf(body, () => new Held(env, lease))))),
      (exit) => releaseAfter(env.engine, lease, exit)
    ))

/** For a request that does not wait: `None` when that is not available. */
export const guardedIfAvailable = <L, A, E, R, F>(
  env: Env,
  asked: Asked<F>,
  body: Lock.Body<L, A, E, R>,
  Held: Held<L>
): Effect.Effect<Option.Option<A>, E | BackendError | LockLostError, R> =>
  Effect.asSome(guarded(env, { ...asked, refuse: (): typeof taken => taken }, body, Held)).pipe(
    // SAFETY: nobody else has this value to fail with.
    Effect.catchIf((error): error is typeof taken => error === taken, () => Effect.succeedNone)
  )

/** What a refusal is to one that only tries: no failure of the effect's own can be it. */
const taken = Symbol()

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
    Edition.count(Telemetry.releaseFailures)
    return logWarning("A lock was not released at once; trying again in the background", rename(error, "release"))
  })

/** A finalizer has nobody to fail to. */
export const releaseQuietly = (engine: Engine, lease: Lease): Effect.Effect<void> =>
  Effect.catch(
    whenLost(engine.release(lease)),
    (error) => logWarning("A lock was lost before its scope closed", error)
  )

const logWarning = (what: string, error: BackendError | LockLostError): Effect.Effect<void> =>
  Effect.annotateLogs(Effect.logWarning(what, error), { package: "effect-dlock" })

/** A public operation: its errors have its name, and it is one span where somebody collects spans. */
export const span =
  (operation: string, key: unknown) => <A, E, R>(called: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => {
    const effect = named(operation)(called)
    return Effect.withFiber((fiber) =>
      !Edition.isTraced(fiber)
        ? effect
        // SAFETY: `withSpan` takes the span out of the requirements, and no effect here has one there.
        : Effect.withSpan(effect, `Dlock.${operation}`, {
          attributes: { "dlock.key": key },
          captureStackTrace: false
        }) as Effect.Effect<A, E, R>
    )
  }

/** The fiber goes on inside what it has taken for its scope: to be used last, as a span would end that with itself. */
export const goOnInside =
  ({ realm }: Env) => <A extends Handle, E, R>(taken: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.flatMap(taken, (handle) => Effect.as(Reentrancy.goOnInside(realm, Handle.leaseOf(handle)), handle))

/**
 * Only "held" is worth another try by schedule: the other errors have other remedies. The schedule sees the first of what is
 * held. To try again is to wait.
 */
export const retrying = <A, E, R>(
  env: Env,
  asked: Asked<E>,
  acquire: Effect.Effect<A, E | BackendError, R>,
  schedule: Schedule.Schedule<unknown, LockAcquisitionError> | undefined,
  first: (error: E) => LockAcquisitionError
): Effect.Effect<A, E | BackendError, R> =>
  schedule === undefined ? acquire : unlessReentrant(
    env,
    asked,
    Effect.suspend(() => {
      let refused: E | undefined
      const attempt = acquire.pipe(
        Effect.map((a): Effect.Effect<A, BackendError> => Effect.succeed(a)),
        Effect.catch((error): Effect.Effect<Effect.Effect<A, BackendError>, LockAcquisitionError> => {
          if (error instanceof BackendError) return Effect.succeed(Effect.fail(error))
          refused = error
          return Effect.fail(first(error))
        })
      )
      return Effect.retry(attempt, schedule).pipe(
        // SAFETY: it has failed, so it was refused.
        Effect.mapError(() => refused as E),
        Effect.flatten
      )
    })
  )
