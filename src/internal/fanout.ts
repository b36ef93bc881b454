/** The assembly of fanout and push: options, the codec of outcomes and the flight engine become two operations. */
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as FiberRef from "effect/FiberRef"
import { identity } from "effect/Function"
import * as Runtime from "effect/Runtime"
import type * as RuntimeFlags from "effect/RuntimeFlags"
import type * as Scope from "effect/Scope"
import type * as Dlock from "../Dlock.js"
import type { BackendError, FanoutError, InvalidKeyError } from "../DlockError.js"
import { LockAcquisitionError } from "../DlockError.js"
import type * as Fanout from "../Fanout.js"
import * as CallSite from "./callSite.js"
import { ask, askEvenAlone } from "./engine/callers.js"
import type { Caller, Landing, Produced } from "./engine/flight.js"
import type { Flights } from "./engine/flights.js"
import * as Key from "./key.js"
import * as Options from "./options.js"
import * as Outcome from "./outcome.js"
import * as Reentrancy from "./reentrancy.js"

/** What the layer says. */
export interface Defaults {
  readonly ttlMillis: number
  readonly commandTimeoutMillis: number
  readonly retentionMillis: number
  readonly maxPayloadBytes: number
}

/** A legal call. */
interface Asked {
  readonly id: string
  readonly schemas: Outcome.Schemas | undefined
  readonly terms: Options.FanoutDecoded
}

/** What a landing was read as, for all callers with the same schemas: they share the value. */
interface Reading {
  readonly schemas: Outcome.Schemas | undefined
  readonly exit: Exit.Exit<unknown, unknown>
}

export const make = (flights: Flights, defaults: Defaults): Pick<Dlock.Service, "fanout" | "push"> => {
  const service = new Fanouts(flights, defaults)
  return { fanout: service.fanout, push: service.push }
}

class Fanouts {
  readonly readings = new WeakMap<Landing, Reading>()
  /** What a call without options means. */
  readonly usual: Options.FanoutDecoded

  constructor(readonly flights: Flights, readonly defaults: Defaults) {
    const { maxPayloadBytes, ttlMillis } = defaults
    this.usual = { ttlMillis, maxPayloadBytes, keepMillis: 0, runsAlone: false }
  }

  asked(
    id: string,
    options: Fanout.AnyOptions | undefined
  ): Either.Either<Asked, Effect.Effect<never, InvalidKeyError>> {
    // Of an open flight the id is legal: not looked at again for each caller.
    if (!this.flights.open.has(id)) {
      const valid = Key.validate(id)
      if (Either.isLeft(valid)) return Either.left(Effect.fail(valid.left))
    }
    if (options === undefined) return Either.right({ id, schemas: undefined, terms: this.usual })
    const terms = Options.decodeFanout(options, this.defaults)
    if (Either.isLeft(terms)) return Either.left(Effect.die(terms.left))
    return Either.right({ id, schemas: options.schema, terms: terms.right })
  }

  legal(id: string, options: Fanout.AnyOptions | undefined): Effect.Effect<Asked, InvalidKeyError> {
    return Effect.suspend(() => Either.match(this.asked(id, options), { onLeft: identity, onRight: Effect.succeed }))
  }

  callerOf({ terms }: Asked, start: Caller["start"], onRole: Caller["onRole"]): Caller {
    const { commandTimeoutMillis, retentionMillis } = this.defaults
    return {
      ttlMillis: terms.ttlMillis,
      // R39: as long as a follower that has missed the message may take to ask.
      retentionMillis: Math.max(retentionMillis, terms.ttlMillis + commandTimeoutMillis),
      keepMillis: terms.keepMillis,
      arrivedAt: this.flights.keeper.now(),
      // A job that may run alone need not wait. A push has nothing else to do.
      patient: !terms.runsAlone || onRole !== undefined,
      listens: false,
      start,
      onRole
    }
  }

  /** Leader and followers alike read the payload. */
  read({ id, schemas }: Asked, landing: Landing): Effect.Effect<unknown, unknown> {
    const known = this.readings.get(landing)
    if (known && known.schemas?.success === schemas?.success && known.schemas?.error === schemas?.error) {
      return known.exit
    }
    const keep = (exit: Exit.Exit<unknown, unknown>) => {
      this.readings.set(landing, { schemas, exit })
      if (Exit.isFailure(exit)) CallSite.show(exit.cause, "", true)
      return exit
    }
    const read = Outcome.read(id, landing.payload, schemas)
    return Exit.isExit(read) ? keep(read) : Effect.flatMap(Effect.exit(read), keep)
  }

  // Thousands may ask at once. All that only one of them needs, whose job runs, is made when it does.
  readonly fanout: Dlock.Service["fanout"] = <A, E, R>(
    id: string,
    job: Effect.Effect<A, E, R>,
    options?: Fanout.AnyOptions
  ) =>
    Effect.withFiberRuntime<A, E | BackendError | FanoutError | InvalidKeyError, Exclude<R, Scope.Scope>>((
      fiber,
      { runtimeFlags }
    ) => {
      const { flights } = this
      const legal = this.asked(id, options)
      if (Either.isLeft(legal)) return legal.left
      const asked = legal.right
      const start = () =>
        forkJob(
          runtimeOf<Exclude<R, Scope.Scope>>(fiber, runtimeFlags),
          Effect.flatMap(Effect.exit(Effect.scoped(job)), (exit) => produce(asked, exit))
        )
      const caller = this.callerOf(asked, start, undefined)
      const landed = asked.terms.runsAlone ? askEvenAlone(flights, id, caller) : ask(flights, id, caller)
      // SAFETY: the payload was made of the outcome of this job, or of one to which the program gave the same id.
      return Effect.flatMap(landed, (landing) => this.read(asked, landing)) as Effect.Effect<A, E>
    })

  readonly push: Dlock.Service["push"] = <A, E, R>(
    id: string,
    onCompleted: (exit: Exit.Exit<A, E | BackendError | FanoutError>) => Effect.Effect<void, never, R>,
    options?: Fanout.AnyOptions
  ) =>
    Effect.flatMap(
      Effect.all([this.legal(id, options), Effect.runtime<Exclude<R, Scope.Scope>>()]),
      ([asked, runtime]) => {
        const produced = Deferred.unsafeMake<Produced>(FiberId.none)
        const role = Deferred.unsafeMake<"leads" | "listens", BackendError>(FiberId.none)
        let decided = false
        const decide = (exit: Exit.Exit<"leads" | "listens", BackendError>): void => {
          decided = true
          Deferred.unsafeDone(role, exit)
        }
        const caller: Caller = this.callerOf(
          asked,
          () => forkJob(runtime, caller.listens ? Effect.succeed(abandoned) : Deferred.await(produced)),
          (leads) => {
            if (!decided) caller.listens = !leads
            decide(Exit.succeed(leads ? "leads" : "listens"))
          }
        )

        const onLanded = (
          exit: Exit.Exit<Landing, BackendError>
        ): Effect.Effect<void, never, Exclude<R, Scope.Scope>> => {
          if (Exit.isInterrupted(exit)) return Effect.void
          // Nothing was registered: the caller is told instead.
          if (Exit.isFailure(exit) && !decided) return Effect.sync(() => decide(Exit.failCause(exit.cause)))
          decide(Exit.succeed("listens"))
          // SAFETY: as in `fanout`.
          const outcome = Effect.flatMap(exit, (landing) => this.read(asked, landing)) as Effect.Effect<A, E>
          return Effect.suspend(() => Effect.flatMap(Effect.exit(outcome), onCompleted)).pipe(Effect.scoped, logFailure)
        }
        const complete = (exit: Exit.Exit<A, E>) =>
          Effect.asVoid(Effect.flatMap(produce(asked, exit), (what) => Deferred.succeed(produced, what)))

        return Effect.uninterruptibleMask((restore) => {
          const waiting = forkJob(
            runtime,
            Effect.flatMap(Effect.exit(ask(this.flights, id, caller)), (exit) => Effect.uninterruptible(onLanded(exit)))
          )
          return restore(Deferred.await(role)).pipe(
            // It may lead already, for others who have come meanwhile: nobody else could complete that.
            Effect.onInterrupt(() => Effect.zipRight(Fiber.interrupt(waiting), Deferred.succeed(produced, abandoned))),
            Effect.flatMap((role) =>
              role === "leads"
                ? Effect.as(Effect.addFinalizer(() => Deferred.succeed(produced, abandoned)), { complete })
                : Effect.fail(taken(id, this.flights.keeper.now() - caller.arrivedAt))
            )
          )
        })
      }
    )
}

/** With all that the caller has. Its fiber waits for the flight, so that is what it had when it called. */
const runtimeOf = <R>(fiber: Fiber.RuntimeFiber<unknown, unknown>, runtimeFlags: RuntimeFlags.RuntimeFlags) =>
  Runtime.make({
    // SAFETY: the fiber runs an effect that requires R.
    context: fiber.currentContext as Context.Context<R>,
    runtimeFlags,
    fiberRefs: fiber.getFiberRefs()
  })

/** Without what is the caller's own: an interruption that may be pending, and the locks that it holds. */
const forkJob = <A, R>(runtime: Runtime.Runtime<R>, job: Effect.Effect<A, never, R>): Fiber.RuntimeFiber<A> =>
  Runtime.runFork(Runtime.deleteFiberRef(runtime, FiberRef.interruptedCause))(
    Reentrancy.holdingNothing(Effect.interruptible(job))
  )

const produce = (asked: Asked, exit: Exit.Exit<unknown, unknown>): Effect.Effect<Produced> =>
  Effect.map(Outcome.write(exit, asked.schemas, asked.terms.maxPayloadBytes), (payload) => ({
    payload,
    keepMillis: Outcome.isSuccess(payload) ? asked.terms.keepMillis : 0
  }))

const abandoned: Produced = {
  payload: Outcome.fanoutError("Abandoned", "nobody is left to complete it"),
  keepMillis: 0
}

const taken = (id: string, waitedMillis: number): LockAcquisitionError =>
  new LockAcquisitionError({ key: id, reason: "Held", waited: Duration.millis(Math.round(waitedMillis)) })

/** Nobody waits for a callback, so nobody else would hear of it. */
const logFailure = <R>(callback: Effect.Effect<void, never, R>): Effect.Effect<void, never, R> =>
  Effect.catchAllCause(callback, (cause) =>
    Effect.logError("The callback of Dlock.push failed", cause).pipe(
      Effect.annotateLogs({ package: "effect-dlock" })
    ))
