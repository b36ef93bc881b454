/** What the callers in a process do: at random, over a few keys, until the world closes. */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type { LockAcquisitionError } from "../../src/DlockError.js"
import type { Engine, Request, Restore } from "../../src/internal/engine/engine.js"
import type { Lease } from "../../src/internal/engine/lease.js"
import * as L from "../../src/internal/engine/lease.js"
import * as Multi from "../../src/internal/engine/multi.js"
import { guard } from "../../src/internal/lock.js"
import * as Requests from "./requests.js"
import * as Singletons from "./singletons.js"
import type { Member, World } from "./world.js"

/** What differs from one seed to the next. */
export interface Habits {
  readonly keys: number
  readonly ttls: ReadonlyArray<number>
  /** The longest pause between two things that a caller does. */
  readonly idleMillis: number
  readonly holdMillis: number
  /** Deployments disagree on the limit of the semaphore. */
  readonly limits: ReadonlyArray<number>
}

/** How much later than promised a caller may hear: late timers, and what waits behind them. */
const slackMillis = 400

export class Caller {
  constructor(
    readonly world: World,
    readonly member: Member,
    readonly engine: Engine,
    readonly habits: Habits,
    readonly commandTimeoutMillis: number
  ) {}

  readonly program: Effect.Effect<void> = Effect.suspend(() => {
    if (this.world.isClosing || this.engine.closed) return Effect.void
    return this.sleep(this.habits.idleMillis).pipe(
      Effect.andThen(Effect.suspend(() => this.once)),
      Effect.andThen(this.program)
    )
  })

  sleep(millisMax: number): Effect.Effect<void> {
    return Effect.suspend(() => Effect.sleep(Duration.millis(this.world.random.between(0, millisMax))))
  }

  /** One thing that a caller does. */
  get once(): Effect.Effect<void> {
    const { random } = this.world
    if (random.chance(0.1)) return this.revoke(random.chance(0.5))
    if (random.chance(0.15)) return Singletons.stand(this.world, this.member.process, this.engine, this.habits)
    const request = Requests.make(this.habits, this.world, this.member.process.name)
    const use = Effect.uninterruptibleMask((restore) =>
      Effect.matchCauseEffect(this.acquire(request, restore), {
        onFailure: (cause) => {
          const error = Option.getOrUndefined(Cause.findErrorOption(cause))
          const told = error === undefined ? "of the interruption" : tellOf(error)
          this.world.log(this.member.process.name, () => `is told ${told}`)
          this.world.count(`told ${told}`)
          if (error?._tag === "BackendError") this.checkCalm(request, told)
          return Cause.hasDies(cause) ? Effect.die(Cause.squash(cause)) : Effect.void
        },
        onSuccess: (lease) => this.hold(lease, restore)
      })
    )
    if (!random.chance(0.25)) return use
    // Interrupted anywhere.
    return Effect.flatMap(
      Effect.forkChild(use),
      (fiber) =>
        Effect.andThen(
          this.sleep(2 * this.habits.holdMillis),
          this.timely("interrupt", this.boundOf(undefined), Fiber.interrupt(fiber))
        )
    )
  }

  /** The only thing that may be wrong is that a ttl is shorter than the way to the server and back. */
  private checkCalm({ terms }: Request<unknown>, told: string): void {
    const { isCalm, latencyMillisMax } = this.world
    if (isCalm && (terms.ttlMillis > 3 * latencyMillisMax || !told.endsWith(" Timeout"))) {
      this.world.violate("where nothing goes wrong nothing fails", `${this.member.process.name} is told ${told}`)
    }
  }

  private acquire(request: Request<LockAcquisitionError>, restore: Restore) {
    const { member: { process }, world: { judge } } = this
    const acquiring = Effect.tapError(Multi.acquire(this.engine, request, restore), (error) =>
      Effect.sync(() => {
        if (error._tag === "LockAcquisitionError") judge.leases.onNotAcquired(request, error.reason)
      }))
    const acquired = Effect.onExit(
      acquiring,
      (exit) =>
        Effect.sync(() => judge.leases.onCallOver(process, request, Exit.isSuccess(exit) ? exit.value : undefined))
    )
    return this.timely("acquire", this.boundOf(request), acquired)
  }

  /** How long an acquire may take at most; a release or an interruption without a request. */
  private boundOf(request: Request<unknown> | undefined): number {
    if (request === undefined) return 2 * this.commandTimeoutMillis
    // Asking for the time, being late, asking again; and all that once more when every answer came too late.
    const askingMillis = 6 * this.commandTimeoutMillis
    if (!request.waits) return askingMillis
    // A wait that is over does not end the question whether it is held: of each key, when there are several.
    return request.waitMillis + askingMillis + (request.claims.length - 1) * this.commandTimeoutMillis
  }

  /** Everything settles in its time, whatever the server does. What the process itself slept does not count. */
  private timely<A, E>(what: string, boundMillis: number, effect: Effect.Effect<A, E>): Effect.Effect<A, E> {
    return Effect.suspend(() => {
      const { process } = this.member
      const before = this.world.now - process.pausedMillis
      return Effect.onExit(effect, () =>
        Effect.sync(() => {
          const took = this.world.now - process.pausedMillis - before
          if (took > boundMillis * 1.02 + slackMillis) {
            this.world.violate("every call settles in time", `${process.name}: ${what} took ${took} of ${boundMillis}`)
          }
        }))
    })
  }

  private hold(
    lease: Lease,
    restore: <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<A, E>
  ): Effect.Effect<void> {
    const { member: { process }, world } = this
    world.judge.onGiven(process, lease)
    world.count("holds")
    const fences = lease.state._tag === "Held" ? lease.state.fences : []
    world.log(process.name, () => `holds ${lease.token} with ${fences.join()}`)
    const guarded = world.random.chance(0.5)
    const body = guarded
      ? guard({ engine: this.engine, realm: this.engine }, lease, this.body(lease, fences, true))
      : this.body(lease, fences, false)
    return Effect.flatMap(Effect.exit(restore(body)), (exit) => {
      const told = Exit.isSuccess(exit) ? "is done with" : "stops with"
      world.log(process.name, () => `${told} ${lease.token}`)
      if (Exit.isFailure(exit) && Cause.hasDies(exit.cause)) return Effect.die(Cause.squash(exit.cause))
      return this.release(lease)
    })
  }

  private release(lease: Lease): Effect.Effect<void> {
    const { member: { process }, world: { judge } } = this
    const release = Effect.suspend(() => {
      const { state } = lease
      return Effect.map(this.engine.release(lease), () => judge.onReleased(process, lease, state, L.toItems(lease)))
    })
    return Effect.ignore(Effect.uninterruptible(this.timely("release", this.commandTimeoutMillis * 2, release)))
  }

  /** Writes to the resource behind the lock now and then. Unguarded, it asks before each time. */
  private body(lease: Lease, fences: ReadonlyArray<number>, guarded: boolean): Effect.Effect<void, unknown> {
    const { judge, random } = this.world
    const write = (checked: boolean) => Effect.sync(() => judge.onWrite(this.member.process, lease, fences, checked))
    const step: Effect.Effect<void, unknown> = guarded && random.chance(0.5)
      ? write(false)
      : Effect.andThen(this.engine.remaining(lease), write(true))
    const work: Effect.Effect<void, unknown> = Effect.suspend(() =>
      Effect.andThen(this.sleep(this.habits.holdMillis / 3), step)
    )
    const extend = Effect.suspend(() =>
      this.timely(
        "extend",
        this.commandTimeoutMillis,
        Effect.result(this.engine.extend(lease, random.pick(this.habits.ttls)))
      )
    )
    const steps = Array.from({ length: random.index(4) }, () => work)
    if (random.chance(0.2)) steps.splice(random.index(steps.length + 1), 0, Effect.asVoid(extend))
    const [permits, ...others] = lease.claims.map((claim) => claim.permits)
    if (permits! > 1 && others.length === 0) {
      // The second of two may ask for more, and gets none.
      for (let i = random.pick([0, 0, 1, 1, 2]); i > 0; i--) {
        steps.splice(random.index(steps.length + 1), 0, this.lower(lease, 1 + random.index(Math.min(permits!, 3) - 1)))
      }
    }
    // A release before the end; the second one does nothing.
    if (random.chance(0.1)) steps.push(this.release(lease))
    return Effect.all(steps, { discard: true })
  }

  private lower(lease: Lease, permits: number): Effect.Effect<void> {
    const { judge } = this.world
    return this.timely(
      "lower",
      this.commandTimeoutMillis,
      Effect.match(this.engine.lower(lease, permits), {
        onFailure: () => {},
        onSuccess: () => judge.leases.onLowered(lease, permits)
      })
    )
  }

  /** Looks, then asks or forces, as src/internal/dlock.ts does. */
  private revoke(asks: boolean): Effect.Effect<void> {
    const target = Requests.anyTarget(this.habits, this.world)
    const { keeper, store } = this.engine
    return store.inspect(target).pipe(
      Effect.flatMap(({ holders }) => store.revoke(target, Math.max(0, ...holders.map(({ fence }) => fence)), asks)),
      Effect.map(({ unsettled }) => keeper.options.settle(unsettled)),
      Effect.ignore
    )
  }
}

const tellOf = (error: { readonly _tag: string; readonly reason: string }): string => `${error._tag} ${error.reason}`
