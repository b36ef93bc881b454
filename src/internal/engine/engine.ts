/**
 * The lease engine: acquire, extend, release, and what follows from their interleavings with messages, heartbeats,
 * interruption and time. It knows no Redis; the store port is all it talks to.
 *
 * Invariants:
 * - I1: whatever ends an attempt other than with a held lease (interruption, an error, a defect) gives its token back.
 * - I2: no interruption point lies between a grant and the moment its finalizer is installed.
 * - I3: a token serves one attempt (R11).
 */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import type { BackendError, LockLostError } from "../../DlockError.js"
import { LockAcquisitionError } from "../../DlockError.js"
import * as Alarm from "../alarm.js"
import type { AcquireAnswer, Settled, Store, Target } from "../store.js"
import * as Errors from "./errors.js"
import { Keeper } from "./keeper.js"
import type { Lease, Terms, WaitEnd } from "./lease.js"
import * as L from "./lease.js"
import * as Leaver from "./leaver.js"

/** What it takes to acquire: the terms of the lease, and how long to wait in the queue. `undefined`: not at all. */
export interface Request extends Terms {
  readonly waitMillis: number | undefined
}

export type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

interface Attempt {
  readonly request: Request
  readonly restore: Restore
  readonly startedAt: number
}

export class Engine {
  closed = false

  constructor(
    readonly store: Store,
    readonly keeper: Keeper,
    readonly leaver: Leaver.Leaver,
    readonly makeToken: () => string,
    readonly commandTimeoutMillis: number
  ) {}

  /** To be run in an uninterruptible region, with its `restore` (I2). The lease that comes back is to be released. */
  acquire(request: Request, restore: Restore): Effect.Effect<Lease, LockAcquisitionError | BackendError> {
    return Effect.suspend(() => this.attempt({ request, restore, startedAt: this.keeper.now() }))
  }

  attempt(attempt: Attempt): Effect.Effect<Lease, LockAcquisitionError | BackendError> {
    if (this.closed) return Effect.fail(Errors.closed())
    const { request, restore, startedAt } = attempt
    const sentAt = this.keeper.now()
    const waitUntil = startedAt + (request.waitMillis ?? Infinity)
    const lease = L.make(this.makeToken(), request, waitUntil, sentAt, this.keeper.subscribed)
    // Before the request is sent, so that no message comes too early (R30).
    this.keeper.add(lease)
    return Effect.matchCauseEffect(restore(this.ask(attempt, lease, sentAt)), {
      onFailure: (cause) => {
        this.abandon(lease)
        return Effect.failCause(cause)
      },
      onSuccess: ({ answer, unsettled }) => {
        this.keeper.options.settle(unsettled)
        return this.onAnswer(attempt, lease, sentAt, answer)
      }
    })
  }

  /** I1. It leaves the heartbeats in the same step, before its leave is sent (R16). */
  abandon(lease: Lease): void {
    this.keeper.drop(lease)
    this.leaver.later(lease)
  }

  ask(
    { request, startedAt }: Attempt,
    lease: Lease,
    sentAt: number
  ): Effect.Effect<Settled<AcquireAnswer>, BackendError | LockAcquisitionError> {
    const asked = this.store.acquire({
      token: lease.token,
      claims: request.claims,
      ttlMillis: request.ttlMillis,
      livenessMillis: L.livenessMillis(request.ttlMillis),
      wait: request.waitMillis !== undefined,
      subscribed: this.keeper.subscribed,
      metadata: request.metadata
    })
    const left = lease.waitUntil - sentAt
    return left === Infinity ? asked : Effect.timeoutFail(asked, {
      duration: Duration.millis(left),
      onTimeout: () => this.timedOut(request, startedAt)
    })
  }

  onAnswer(
    attempt: Attempt,
    lease: Lease,
    sentAt: number,
    answer: AcquireAnswer
  ): Effect.Effect<Lease, LockAcquisitionError | BackendError> {
    const { request, startedAt } = attempt
    if (lease.state._tag === "Ended") {
      this.leaver.later(lease)
      return Effect.fail(Errors.closed())
    }
    switch (answer._tag) {
      case "Granted":
        this.keeper.onAcquired(lease, sentAt, answer)
        return this.handOver(attempt, lease)
      case "Waiting":
        lease.waiting = Deferred.unsafeMake(FiberId.none)
        this.keeper.onAcquired(lease, sentAt, answer)
        return this.wait(attempt, lease, lease.waiting)
      case "Refused": {
        this.keeper.drop(lease)
        const blocker = answer.blockers[0]
        return Effect.fail(
          new LockAcquisitionError({
            key: blocker?.key ?? keyOf(request),
            reason: "Held",
            waited: this.since(startedAt),
            ...(blocker?.metadata ? { holder: blocker.metadata } : {}),
            ...(blocker?.endsMillis !== undefined ? { retryAfter: Duration.millis(blocker.endsMillis) } : {})
          })
        )
      }
      case "Gone":
        this.abandon(lease)
        return this.attempt(attempt)
    }
  }

  /** The grant is looked at once more where it is handed over: its answer came late, or this process was paused. */
  handOver(attempt: Attempt, lease: Lease): Effect.Effect<Lease, LockAcquisitionError | BackendError> {
    const now = this.keeper.now()
    if (!this.keeper.endIfDue(lease, now)) return Effect.succeed(lease)
    const isSlow = attempt.request.waitMillis === undefined && now >= attempt.startedAt + this.commandTimeoutMillis
    return isSlow ? Effect.fail(Errors.tooSlow()) : this.attempt(attempt)
  }

  wait(
    attempt: Attempt,
    lease: Lease,
    waiting: Deferred.Deferred<void, WaitEnd>
  ): Effect.Effect<Lease, LockAcquisitionError | BackendError> {
    const { request, restore, startedAt } = attempt
    return Effect.matchCauseEffect(restore(Deferred.await(waiting)), {
      onSuccess: () => this.handOver(attempt, lease),
      onFailure: (cause) => {
        const end = cause._tag === "Fail" ? cause.error : undefined
        switch (end?._tag) {
          case undefined:
            this.abandon(lease)
            return Effect.interrupt
          case "Gone":
            return this.attempt(attempt)
          case "Timeout":
            return Effect.fail(this.timedOut(request, startedAt))
          case "OverLimit":
            return Effect.fail(
              new LockAcquisitionError({ key: keyOf(request), reason: "OverLimit", waited: this.since(startedAt) })
            )
          case "BackendError":
            return Effect.fail(end)
        }
      }
    })
  }

  timedOut(request: Request, startedAt: number): LockAcquisitionError {
    return new LockAcquisitionError({ key: keyOf(request), reason: "Timeout", waited: this.since(startedAt) })
  }

  since(startedAt: number): Duration.Duration {
    return Duration.millis(Math.max(0, Math.round(this.keeper.now() - startedAt)))
  }

  /** To be run uninterruptibly. Idempotent. A lease that was lost was given back when it was. */
  release(lease: Lease): Effect.Effect<void, BackendError> {
    return Effect.suspend(() => this.keeper.end(lease, "Expired") ? this.leaver.now(lease) : Effect.void)
  }

  extend(lease: Lease, ttlMillis: number): Effect.Effect<void, LockLostError | BackendError> {
    return Effect.flatMap(this.remaining(lease), () => {
      const sentAt = this.keeper.now()
      const items = L.toItems(lease, ttlMillis)
      return Effect.flatMap(
        this.store.refresh({ items, subscribed: this.keeper.subscribed }),
        ({ answer, unsettled }): Effect.Effect<void, LockLostError | BackendError> => {
          this.keeper.onAnswers(lease, sentAt, answer)
          this.keeper.options.settle(unsettled)
          const failed = answer.find((one) => one._tag === "Failed")
          return failed ? Effect.fail(failed.error) : Effect.asVoid(this.remaining(lease))
        }
      )
    })
  }

  /** Milliseconds left by the local deadline; or why there are none. Reads the clock, and trusts no timer (R23). */
  remaining(lease: Lease): Effect.Effect<number, LockLostError> {
    return Effect.suspend(() => {
      const now = this.keeper.now()
      this.keeper.endIfDue(lease, now)
      const { state } = lease
      if (state._tag === "Held") return Effect.succeed(Math.max(0, state.deadline - now))
      return state._tag === "Ended" ? Effect.fail(L.lostError(lease, state)) : Effect.succeed(0)
    })
  }

  /** Calls back once when the lease ends, or now if it has. Returns what takes the callback away. */
  onEnd(lease: Lease, callback: () => void): () => void {
    if (lease.state._tag === "Ended") {
      callback()
      return () => {}
    }
    const watchers = lease.watchers ??= new Set()
    watchers.add(callback)
    return () => void watchers.delete(callback)
  }

  /** Suspends until the lease has ended. */
  lost(lease: Lease): Effect.Effect<never, LockLostError> {
    const ended = Effect.async<void>((resume) => {
      const unwatch = this.onEnd(lease, () => resume(Effect.void))
      return Effect.sync(unwatch)
    })
    // It has ended, so `remaining` fails.
    return Effect.zipRight(this.remaining(lease), ended).pipe(
      Effect.zipRight(this.remaining(lease)),
      Effect.zipRight(Effect.never)
    )
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

const keyOf = (request: Request): string => request.claims[0]?.key ?? ""

export const make = (options: {
  readonly store: Store
  readonly commandTimeout: Duration.Duration
  /** Nobody may be able to guess one. */
  readonly makeToken: () => string
}): Effect.Effect<Engine, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { makeToken, store } = options
    const commandTimeoutMillis = Duration.toMillis(options.commandTimeout)
    const fork = yield* Effect.map(
      Effect.flatMap(FiberSet.make<void>(), (set) => FiberSet.runtime(set)()),
      (run) => (effect: Effect.Effect<void>): void => void run(Effect.interruptible(effect))
    )
    const settle = (targets: ReadonlyArray<Target>): void => {
      if (targets.length > 0) fork(settleAll(store, targets))
    }
    const leaver = yield* Leaver.make({ store, commandTimeoutMillis, settle })
    const clock = yield* Effect.clock
    const keeper = new Keeper({ store, clock, commandTimeoutMillis, fork, leave: leaver.later, settle })
    keeper.alarm = yield* Alarm.make(Effect.sync(() => keeper.ring()))
    yield* store.inbox.takeAll.pipe(
      Effect.map(([events]) => {
        for (const event of events) keeper.onEvent(event)
      }),
      Effect.forever,
      Effect.forkScoped,
      Effect.interruptible
    )
    const engine = new Engine(store, keeper, leaver, makeToken, commandTimeoutMillis)
    yield* Effect.addFinalizer(() => Effect.sync(() => engine.close()))
    return engine
  })

/** One call takes at most 64 steps, so that no script is long (R22). */
const settleAll = (store: Store, targets: ReadonlyArray<Target>): Effect.Effect<void> =>
  Effect.flatMap(
    Effect.option(store.refresh({ items: [], subscribed: true, also: targets })),
    (reply) =>
      reply._tag === "Some" && reply.value.unsettled.length > 0 ? settleAll(store, reply.value.unsettled) : Effect.void
  )
