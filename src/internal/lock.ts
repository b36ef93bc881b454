/** The handles: a lease seen through its engine. */
import * as Edition from "#edition"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Inspectable from "effect/Inspectable"
import * as Result from "effect/Result"
import type { BackendError, LockLostError } from "../DlockError.js"
import type * as Lock from "../Lock.js"
import type * as ReadWriteLock from "../ReadWriteLock.js"
import * as CallSite from "./callSite.js"
import type { Lease } from "./engine/lease.js"
import type { Env } from "./locks.js"
import { named } from "./operation.js"
import { finiteMillis } from "./options.js"
import * as Reentrancy from "./reentrancy.js"

export abstract class Handle extends Inspectable.Class implements Lock.Lease {
  // Private at run time too: a printed lock must not show the service, with the tokens of others in it (R19).
  readonly #env: Env
  readonly #lease: Lease
  readonly #forget: (() => void) | undefined

  /** `forget` takes the finalizer out of the scope that would release it. */
  constructor(env: Env, lease: Lease, forget?: () => void) {
    super()
    this.#env = env
    this.#lease = lease
    this.#forget = forget
  }

  static leaseOf(handle: Handle): Lease {
    return handle.#lease
  }

  get remaining(): Effect.Effect<Duration.Duration> {
    return Effect.match(this.#env.engine.remaining(this.#lease), {
      onFailure: () => Duration.zero,
      onSuccess: Duration.millis
    })
  }

  // Getters, so that a held lock carries no closures of its own and can still be taken apart, and knows who calls.
  get release(): Effect.Effect<void, LockLostError | BackendError> {
    const released = Effect.uninterruptible(Effect.suspend(() => {
      this.#forget?.()
      return this.#env.engine.release(this.#lease)
    }))
    return of("release", CallSite.here(), released)
  }

  get check(): Effect.Effect<void, LockLostError> {
    return of("check", CallSite.here(), Effect.asVoid(this.#env.engine.remaining(this.#lease)))
  }

  get lost(): Effect.Effect<never, LockLostError> {
    return of("lost", CallSite.here(), this.#env.engine.lost(this.#lease))
  }

  get extend() {
    const site = CallSite.here()
    return (ttl?: Duration.Input): Effect.Effect<void, LockLostError | BackendError> => {
      const extended = Effect.suspend(() => {
        if (ttl === undefined) return this.#env.engine.extend(this.#lease, this.#lease.terms.ttlMillis)
        const ttlMillis = finiteMillis("ttl", ttl)
        return Result.isFailure(ttlMillis)
          ? Effect.die(ttlMillis.failure)
          : this.#env.engine.extend(this.#lease, ttlMillis.success)
      })
      return of("extend", site, extended)
    }
  }

  get guard() {
    const site = CallSite.here()
    return <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | LockLostError, R> =>
      of("guard", site, guard(this.#env, this.#lease, effect))
  }
}

/** An operation of a handle. */
const of = <A, E, R>(
  operation: string,
  site: CallSite.CallSite | undefined,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> => CallSite.at(`lock.${operation}`, site)(named(operation)(effect))

export class LockImpl extends Handle implements Lock.Lock {
  readonly fencingToken: number

  constructor(env: Env, lease: Lease, forget?: () => void) {
    super(env, lease, forget)
    this.fencingToken = fencesOf(lease)[0] ?? 0
  }

  get key(): string {
    return Handle.leaseOf(this).claims[0]?.key ?? ""
  }

  get token(): string {
    return Handle.leaseOf(this).token
  }

  toJSON(): unknown {
    return { _id: "effect-dlock/Lock", key: this.key, fencingToken: this.fencingToken }
  }
}

export class WriteLockImpl extends LockImpl implements ReadWriteLock.WriteLock {
  readonly #lowered: Effect.Effect<void, LockLostError | BackendError>

  constructor(env: Env, lease: Lease, forget?: () => void) {
    super(env, lease, forget)
    this.#lowered = env.engine.lower(lease, 1)
  }

  get downgrade(): Effect.Effect<void, LockLostError | BackendError> {
    return of("downgrade", CallSite.here(), this.#lowered)
  }
}

export class MultiLockImpl extends Handle implements Lock.MultiLock {
  readonly fencingTokens: ReadonlyMap<string, number>

  constructor(env: Env, lease: Lease, forget?: () => void) {
    super(env, lease, forget)
    const fences = fencesOf(lease)
    this.fencingTokens = new Map(lease.claims.map(({ key }, i) => [key, fences[i] ?? 0]))
  }

  get keys(): ReadonlyArray<string> {
    return Array.from(this.fencingTokens.keys())
  }

  toJSON(): unknown {
    return { _id: "effect-dlock/MultiLock", fencingTokens: Object.fromEntries(this.fencingTokens) }
  }
}

const fencesOf = ({ state }: Lease): ReadonlyArray<number> => state._tag === "Held" ? state.fences : []

export const effectOf = <L, A, E, R>(body: Lock.Body<L, A, E, R>, handle: () => L): Effect.Effect<A, E, R> =>
  Effect.isEffect(body) ? body : Effect.suspend(() => body(handle()))

/**
 * Runs the effect in a fiber of its own if the lease is still in force, interrupts that when the lease ends, and tells of
 * the loss whatever came of it. The check comes last: an effect that blocked the event loop past the deadline ends before
 * any timer can fire.
 */
export const guard = <A, E, R>(
  { engine, realm }: Pick<Env, "engine" | "realm">,
  lease: Lease,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E | LockLostError, R> =>
  Effect.uninterruptibleMask((restore) => {
    const forked = Reentrancy.forkInside(Edition.forkGrafted(restore(effect)), realm, lease)
    return Effect.flatMap(Effect.andThen(engine.remaining(lease), forked), (fiber) => {
      const unwatch = engine.onEnd(lease, () => Edition.interrupt(fiber))
      return Effect.matchCauseEffect(restore(Fiber.await(fiber)), {
        onFailure: (interruption) =>
          Effect.andThen(
            Fiber.interrupt(fiber),
            Effect.failCauseSync(() => {
              unwatch()
              return interruption
            })
          ),
        onSuccess: (exit) => {
          unwatch()
          const ended = Effect.matchEffect(engine.remaining(lease), {
            onSuccess: (): Effect.Effect<A, E> => exit,
            onFailure: (lost) => lose(exit, lost)
          })
          return ended
        }
      })
    })
  })

/** The loss comes first, and what else failed is kept; but an interruption is how the effect was told of the loss. */
export const lose = <E>(exit: Exit.Exit<unknown, E>, lost: LockLostError): Effect.Effect<never, E | LockLostError> =>
  Exit.isSuccess(exit) || Cause.hasInterruptsOnly(exit.cause)
    ? Effect.fail(lost)
    : Effect.failCause(
      Cause.combine(Cause.fail(lost), Edition.withoutInterrupts(exit.cause))
    )
