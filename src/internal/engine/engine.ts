/**
 * The lease engine: acquire, extend, release, and what follows from their interleavings with messages, heartbeats,
 * interruption and time. It knows no Redis; the store port is all it talks to.
 *
 * Invariants:
 * - I1: whatever ends an attempt other than with a held lease (interruption, an error, a defect) gives its token back.
 * - I2: no interruption point lies between a grant and the moment its finalizer is installed.
 * - I3: a token serves one attempt (R11).
 */
import * as Arr from "effect/Array"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { BackendError, LockAcquisitionError, LockLostError } from "../../DlockError.js"
import type { AcquireAnswer, Acquired, Claim, Store } from "../store.js"
import * as Errors from "./errors.js"
import type { Keeper } from "./keeper.js"
import * as Late from "./late.js"
import type { Lease, Terms, WaitEnd } from "./lease.js"
import * as L from "./lease.js"
import type * as Leaver from "./leaver.js"
import { Limits } from "./limits.js"
import * as Whole from "./whole.js"

/** What it takes to acquire, and what a refusal is to the caller. */
export interface Request<E> {
  readonly claims: ReadonlyArray<Claim>
  readonly terms: Terms
  /** Whether to queue when it cannot be had at once. */
  readonly waits: boolean
  /** How long to stay in the queue, from the start; `Infinity` for no limit. The store's first answer is awaited anyway. */
  readonly waitMillis: number
  readonly refuse: (failed: Arr.NonEmptyReadonlyArray<LockAcquisitionError>) => E
}

export type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

export interface Attempt<E> {
  readonly request: Request<E>
  readonly restore: Restore
  readonly startedAt: number
  readonly late: Late.Late | undefined
}

export class Engine {
  closed = false
  readonly limits: Limits

  constructor(
    readonly store: Store,
    readonly keeper: Keeper,
    readonly leaver: Leaver.Leaver,
    readonly makeToken: () => string,
    readonly commandTimeoutMillis: number
  ) {
    this.limits = new Limits(keeper.options.fork)
  }

  /** To be run in an uninterruptible region, with its `restore` (I2). The lease that comes back is to be released. */
  acquire<E>(request: Request<E>, restore: Restore, startedAt?: number): Effect.Effect<Lease, E | BackendError> {
    return Effect.suspend(() =>
      this.attempt({ request, restore, startedAt: startedAt ?? this.keeper.now(), late: undefined })
    )
  }

  attempt<E>(attempt: Attempt<E>): Effect.Effect<Lease, E | BackendError> {
    if (this.closed) return Effect.fail(Errors.closed())
    const { request, restore, startedAt } = attempt
    const sentAt = this.keeper.now()
    const waitUntil = startedAt + request.waitMillis
    const lease = L.make(this.makeToken(), request.claims, request.terms, waitUntil, sentAt)
    // Before the request is sent, so that no message comes too early (R30).
    this.keeper.add(lease)
    return Effect.matchCauseEffect(restore(this.ask(request, lease)), {
      onFailure: (cause) => {
        this.abandon(lease)
        return Effect.failCause(cause)
      },
      onSuccess: ({ answer, formerLimits, unsettled }) => {
        this.keeper.options.settle(unsettled)
        this.limits.warn(formerLimits)
        const late = Late.after(attempt.late, sentAt, this.keeper.now(), answer)
        return this.onAnswer(late === attempt.late ? attempt : { ...attempt, late }, lease, sentAt, answer)
      }
    })
  }

  again<E>(attempt: Attempt<E>): Effect.Effect<Lease, E | BackendError> {
    const next = Effect.suspend(() => this.attempt(attempt))
    return Late.unlessInVain(this, attempt, "the round trip to Redis", next)
  }

  /** I1. It leaves the heartbeats in the same step, before its leave is sent (R16). */
  abandon(lease: Lease): void {
    this.keeper.drop(lease)
    this.leaver.later(lease)
  }

  ask<E>({ claims, terms, waits }: Request<E>, { token }: Lease): Effect.Effect<Acquired, BackendError> {
    return this.store.acquire({
      token,
      claims,
      ttlMillis: terms.ttlMillis,
      livenessMillis: L.livenessMillis(terms.ttlMillis),
      wait: waits,
      subscribed: this.keeper.subscribed,
      metadata: terms.metadata
    })
  }

  onAnswer<E>(
    attempt: Attempt<E>,
    lease: Lease,
    sentAt: number,
    answer: AcquireAnswer
  ): Effect.Effect<Lease, E | BackendError> {
    const { request, startedAt } = attempt
    if (lease.state._tag === "Ended") {
      this.leaver.later(lease)
      return Effect.fail(Errors.closed())
    }
    switch (answer._tag) {
      case "Granted":
        this.keeper.onAcquired(lease, sentAt, answer)
        return request.terms.renew || answer.remainingMillis >= request.terms.ttlMillis
          ? this.handOver(attempt, lease)
          : Whole.extend(this, attempt, lease, this.again(attempt))
      case "Waiting":
        this.keeper.onAcquired(lease, sentAt, answer)
        return this.wait(attempt, lease)
      case "Refused":
        this.keeper.drop(lease)
        return Effect.fail(
          request.refuse(Arr.map(answer.blockers, ({ holder, key }) => {
            const reason = this.keeper.now() < lease.waitUntil ? "Held" : "Timeout"
            return Errors.notAcquired(key, reason, this.since(startedAt), holder)
          }))
        )
      case "Gone":
        this.abandon(lease)
        return this.again(attempt)
    }
  }

  /** The grant is looked at once more where it is handed over: its answer came late, or this process was paused. */
  handOver<E>(attempt: Attempt<E>, lease: Lease): Effect.Effect<Lease, E | BackendError> {
    return this.keeper.endIfDue(lease, this.keeper.now()) ? this.again(attempt) : Effect.succeed(lease)
  }

  wait<E>(attempt: Attempt<E>, lease: Lease): Effect.Effect<Lease, E | BackendError> {
    const { restore } = attempt
    // Not a Deferred, and no finalizer: either would keep some KB of each wait alive past its turn.
    const over = Effect.callback<void>((resume) => {
      if (lease.state._tag === "Waiting") lease.wake = () => resume(Effect.void)
      else resume(Effect.void)
    })
    return Effect.matchCauseEffect(restore(over), {
      onSuccess: () => lease.waitEnd ? this.onWaitEnd(attempt, lease.waitEnd) : this.handOver(attempt, lease),
      onFailure: (cause) => {
        this.abandon(lease)
        return Effect.failCause(cause)
      }
    })
  }

  onWaitEnd<E>(attempt: Attempt<E>, end: WaitEnd): Effect.Effect<Lease, E | BackendError> {
    const { request, startedAt } = attempt
    // Who waits has one claim.
    const [{ key, permits } = { key: "", permits: 0 }] = request.claims
    switch (end._tag) {
      case "Gone":
        return this.again(attempt)
      case "Timeout":
        return Effect.fail(
          request.refuse([Errors.notAcquired(key, "Timeout", this.since(startedAt), end.holder)])
        )
      case "OverLimit":
        return Effect.fail(request.refuse([Errors.overLimit(key, end.limit, permits, this.since(startedAt))]))
      case "BackendError":
        return Effect.fail(end)
    }
  }

  since(startedAt: number): Duration.Duration {
    return Duration.millis(Math.max(0, Math.round(this.keeper.now() - startedAt)))
  }

  /** To be run uninterruptibly. Idempotent. Fails for a lease that was lost, which was given back when it was. */
  release(lease: Lease): Effect.Effect<void, LockLostError | BackendError> {
    return Effect.suspend((): Effect.Effect<void, LockLostError | BackendError> => {
      const { state } = lease
      if (!this.keeper.release(lease)) {
        return L.isLost(state)
          ? Effect.fail(L.lostError(lease, state))
          : Effect.void
      }
      return Effect.flatMap(this.leaver.now(lease), (known) => {
        if (known || state._tag !== "Held" || this.keeper.now() >= state.deadline.at) return Effect.void
        // R45: answered before it could have been over, the store did not know it.
        return Effect.fail(L.lostError(lease, this.keeper.supersede(lease, state.fences)))
      })
    })
  }

  /** As `release`, with nobody who waits for it. */
  giveBack(lease: Lease): void {
    if (this.keeper.release(lease)) this.leaver.later(lease)
  }

  /** Has the store keep it for so long from now, whenever it is given back and whatever becomes of this process. */
  keepFor(lease: Lease, millis: number): Effect.Effect<void, LockLostError | BackendError> {
    return Effect.flatMap(this.remaining(lease), (left) => {
      const keepUntil = this.keeper.now() + millis
      const extended = left < millis ? this.extend(lease, millis) : Effect.void
      return Effect.flatMap(extended, () => {
        const { state } = lease
        if (state._tag === "Held" && !state.isAsked) lease.keepUntil = keepUntil
        return Effect.asVoid(this.remaining(lease))
      })
    })
  }

  extend(lease: Lease, ttlMillis: number): Effect.Effect<void, LockLostError | BackendError> {
    return Effect.flatMap(this.remaining(lease), () => {
      const sentAt = this.keeper.now()
      lease.longestMillis = Math.max(lease.longestMillis, ttlMillis)
      const items = L.toRefreshItems(lease, ttlMillis)
      return Effect.flatMap(
        this.store.refresh({ items, subscribed: this.keeper.subscribed }),
        ({ answer, unsettled }): Effect.Effect<void, LockLostError | BackendError> => {
          this.keeper.onAnswer(lease, sentAt, ttlMillis, L.worst(lease, answer))
          this.keeper.options.settle(unsettled)
          const failed = answer.find((one) => one._tag === "Failed")
          return failed ? Effect.fail(failed.error) : Effect.asVoid(this.remaining(lease))
        }
      )
    })
  }

  /** Lowers the permits of a lease that is held, without a gap. */
  lower(lease: Lease, permits: number): Effect.Effect<void, LockLostError | BackendError> {
    return Effect.flatMap(this.remaining(lease), () => {
      const sentAt = this.keeper.now()
      const lowered = L.toItems(lease).map(({ target, token }) => this.store.lower(target, token, permits))
      return Effect.flatMap(Effect.all(lowered), (replies) => {
        // It asks for no time.
        this.keeper.onAnswer(lease, sentAt, 0, L.worst(lease, replies.map(({ answer }) => answer)))
        for (const { unsettled } of replies) this.keeper.options.settle(unsettled)
        return Effect.asVoid(this.remaining(lease))
      })
    })
  }

  /** Milliseconds left by the local deadline; or why there are none. Reads the clock, and trusts no timer (R23). */
  remaining(lease: Lease): Effect.Effect<number, LockLostError> {
    return Effect.suspend(() => {
      const now = this.keeper.now()
      this.keeper.endIfDue(lease, now)
      const { state } = lease
      if (state._tag === "Held" && state.isAsked) {
        return Effect.fail(L.lostError(lease, { fences: state.fences, reason: "Revoked" }))
      }
      if (state._tag === "Held") return Effect.succeed(Math.max(0, state.deadline.at - now))
      return state._tag === "Ended" ? Effect.fail(L.lostError(lease, state)) : Effect.succeed(0)
    })
  }

  /** Calls back once when the lease ends or is asked for, or now if it has. Returns what takes the callback away. */
  onEnd(lease: Lease, callback: () => void): () => void {
    const { state } = lease
    if (state._tag === "Ended" || (state._tag === "Held" && state.isAsked)) {
      callback()
      return () => {}
    }
    const watchers = lease.watchers ??= new Set()
    watchers.add(callback)
    return () => void watchers.delete(callback)
  }

  /** Suspends until the lease has ended. */
  lost(lease: Lease): Effect.Effect<never, LockLostError> {
    const ended = Effect.callback<void>((resume) => {
      const unwatch = this.onEnd(lease, () => resume(Effect.void))
      return Effect.sync(unwatch)
    })
    // By then it has ended, so `remaining` fails.
    const fails = Effect.andThen(this.remaining(lease), Effect.never)
    return Effect.andThen(Effect.andThen(this.remaining(lease), ended), fails)
  }

  /** Nothing is held or queued by this process any more, as far as Redis answers in time. */
  close(): void {
    this.closed = true
    for (const lease of this.keeper.leases.values()) {
      if (lease.state._tag === "Held") this.keeper.lose(lease, "Expired")
      else this.keeper.endWait(lease, Errors.closed())
    }
  }
}
