/**
 * One copy of an effect among all processes.
 *
 *   Standing --granted--> Leading --lease lost or asked for, the effect interrupted--> Standing
 *                            |
 *                            +--the effect ended, or the caller was interrupted--> done; kept for the rest of `hold`
 */
import * as Edition from "#edition"
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as SubscriptionRef from "effect/SubscriptionRef"
import type { BackendError, InvalidKeyError, LockAcquisitionError } from "../DlockError.js"
import { LockLostError } from "../DlockError.js"
import type * as Lock from "../Lock.js"
import type * as Singleton from "../Singleton.js"
import type { Engine, Request, Restore } from "./engine/engine.js"
import type { Lease } from "./engine/lease.js"
import * as Whole from "./engine/whole.js"
import { effectOf, guard, LockImpl } from "./lock.js"
import type { Env } from "./locks.js"
import { orDie, releaseQuietly, requestOf, unlessReentrant } from "./locks.js"
import { holdMillis } from "./options.js"
import type { Holder } from "./store.js"

/** Redis being away is no reason to stop standing. The layer being closed is. */
const backOff = Schedule.jittered(Schedule.min([Schedule.exponential("100 millis"), Schedule.spaced("5 seconds")]))

export const run = <A, E, R>(
  env: Env,
  key: string,
  body: Lock.Body<Lock.Lock, A, E, R>,
  options: Singleton.Options | undefined
): Effect.Effect<A, E | LockAcquisitionError | BackendError | InvalidKeyError, R> =>
  Effect.gen(function*() {
    const hold = yield* orDie(holdMillis(options?.hold))
    const leader = yield* follow(options?.leader)
    const request = yield* requestOf(env, { kind: "lock", key, permits: 1, limit: 1 }, options, true)
    const standing = { ...request, terms: { ...request.terms, onHolder: leader.onHolder } }
    const attempt = lead(env, standing, body, hold, leader)
    const patient = request.waits && request.waitMillis === Infinity
      ? Effect.retry(attempt, { schedule: backOff, while: (error) => isAway(error) && !env.engine.closed })
      : attempt
    const stand: Effect.Effect<A, E | LockAcquisitionError | BackendError, R> = Effect.flatMap(
      patient,
      (ended) => ended === lost ? stand : ended
    )
    return yield* request.waits ? unlessReentrant(env, request, stand) : stand
  })

const isAway = (error: LockAcquisitionError | BackendError): boolean =>
  error._tag === "BackendError" && error.reason !== "Refused"

const lost = Symbol()

/**
 * Its key stays shut for `hold` from here on, whether the effect ends or this process dies: what would have to be asked at
 * the end could fail.
 */
const take = (
  engine: Engine,
  request: Request<LockAcquisitionError>,
  restore: Restore,
  hold: number
): Effect.Effect<Lease, LockAcquisitionError | BackendError> =>
  Effect.flatMap(engine.acquire(request, restore), (lease) =>
    hold === 0
      ? Effect.succeed(lease)
      : Whole.first(engine, restore, lease, engine.keepFor(lease, hold), take(engine, request, restore, hold)))

/** Waits for the lock and runs the effect. Says how that ended, or that the lease was lost under it. */
const lead = <A, E, R>(
  env: Env,
  request: Request<LockAcquisitionError>,
  body: Lock.Body<Lock.Lock, A, E, R>,
  hold: number,
  leader: Follower
): Effect.Effect<Exit.Exit<A, E> | typeof lost, LockAcquisitionError | BackendError, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      const { engine } = env
      const lease = yield* Effect.onError(take(engine, request, restore, hold), () => leader.onNobody)
      leader.onSelf(lease, request.terms.metadata)
      const effect = effectOf(body, () => new LockImpl(env, lease))
      const exit = yield* Effect.exit(restore(guard(env, lease, effect)))
      yield* leader.onNobody
      const { state } = lease
      // An effect that releases its own lock steps down.
      const isLost = state._tag === "Ended" || (state._tag === "Held" && state.isAsked)
      // What was lost was given back when it was.
      if (state._tag === "Held") yield* releaseQuietly(engine, lease)
      // SAFETY: `guard` adds only the loss of this lease to the errors of the effect.
      if (!isLost || Exit.hasInterrupts(exit)) return exit as Exit.Exit<A, E>
      if (Exit.isFailure(exit)) yield* logOwnFailure(exit.cause)
      return lost
    })
  )

/** What failed besides the loss of the lock is nobody's outcome. */
const logOwnFailure = (cause: Cause.Cause<unknown>): Effect.Effect<void> => {
  const errors = Edition.errorsIn(cause)
  return errors.every((error) => error instanceof LockLostError)
    ? Effect.void
    : Effect.annotateLogs(Effect.logWarning("The effect of a singleton failed when its lock was lost", cause), {
      package: "effect-dlock"
    })
}

/** Keeps the caller's ref up to date. */
interface Follower {
  readonly onHolder: (holder: Holder | undefined) => void
  readonly onSelf: (lease: Lease, metadata: string) => void
  /** Nobody is known from here on: this process neither leads nor waits. */
  readonly onNobody: Effect.Effect<void>
}

const follow = (ref: Singleton.Options["leader"]): Effect.Effect<Follower> =>
  Effect.withFiber((fiber) => {
    const start = Edition.starter<never>(fiber)
    const set = (leader: Option.Option<Singleton.Leader>): void => {
      if (ref !== undefined) start(SubscriptionRef.set(ref, leader))
    }
    return Effect.succeed({
      onHolder: (holder) =>
        set(
          Option.map(Option.fromNullishOr(holder), ({ fence, metadata }) => ({
            fencingToken: fence,
            metadata,
            isSelf: false
          }))
        ),
      onSelf: ({ state }, metadata) =>
        set(Option.some({ fencingToken: state._tag === "Held" ? state.fences[0] ?? 0 : 0, metadata, isSelf: true })),
      onNobody: ref === undefined ? Effect.void : SubscriptionRef.set(ref, Option.none())
    })
  })
