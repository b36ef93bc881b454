/** The assembly of fanout and push: options, the codec of outcomes and the flight engine become two operations. */
import * as Edition from "#edition"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { identity } from "effect/Function"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type * as Dlock from "../Dlock.js"
import type { BackendError, FanoutError, InvalidKeyError } from "../DlockError.js"
import { LockAcquisitionError } from "../DlockError.js"
import type * as Fanout from "../Fanout.js"
import * as CallSite from "./callSite.js"
import { ask, askEvenAlone } from "./engine/callers.js"
import type { Caller, Landing, Prepared, Produced } from "./engine/flight.js"
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
  ): Result.Result<Asked, Effect.Effect<never, InvalidKeyError>> {
    // Of an open flight the id is legal: not looked at again for each caller.
    if (!this.flights.open.has(id)) {
      const valid = Key.validate(id)
      if (Result.isFailure(valid)) return Result.fail(Effect.fail(valid.failure))
    }
    if (options === undefined) return Result.succeed({ id, schemas: undefined, terms: this.usual })
    const terms = Options.decodeFanout(options, this.defaults)
    if (Result.isFailure(terms)) return Result.fail(Effect.die(terms.failure))
    return Result.succeed({ id, schemas: options.schema, terms: terms.success })
  }

  legal(id: string, options: Fanout.AnyOptions | undefined): Effect.Effect<Asked, InvalidKeyError> {
    return Effect.suspend(() =>
      Result.match(this.asked(id, options), { onFailure: identity, onSuccess: Effect.succeed })
    )
  }

  callerOf({ terms }: Asked, prepare: Caller["prepare"], onRole: Caller["onRole"]): Caller {
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
      prepare,
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
    Effect.withFiber<A, E | BackendError | FanoutError | InvalidKeyError, Exclude<R, Scope.Scope>>((fiber) => {
      const { flights } = this
      const legal = this.asked(id, options)
      if (Result.isFailure(legal)) return legal.failure
      const asked = legal.success
      const prepare = () =>
        prepareJob(
          Edition.starter<Exclude<R, Scope.Scope>>(fiber),
          Effect.flatMap(Effect.exit(Effect.scoped(job)), (exit) => produce(asked, exit))
        )
      const caller = this.callerOf(asked, prepare, undefined)
      const landed = asked.terms.runsAlone ? askEvenAlone(flights, id, caller) : ask(flights, id, caller)
      // SAFETY: the payload was made of the outcome of this job, or of one to which the program gave the same id.
      return Effect.flatMap(landed, (landing) => this.read(asked, landing)) as Effect.Effect<A, E>
    })

  /** Only the first outcome counts. */
  completion<A, E>(asked: Asked, produced: Deferred.Deferred<Produced>): Fanout.Completion<A, E> {
    return {
      complete: (exit) =>
        Effect.suspend(() => {
          const completedAt = this.flights.keeper.now()
          return Effect.asVoid(
            Effect.flatMap(produce(asked, exit), (what) => Deferred.succeed(produced, { ...what, completedAt }))
          )
        })
    }
  }

  readonly push: Dlock.Service["push"] = <A, E, R>(
    id: string,
    onCompleted: (exit: Exit.Exit<A, E | BackendError | FanoutError>) => Effect.Effect<void, never, R>,
    options?: Fanout.AnyOptions
  ) =>
    Effect.flatMap(
      this.legal(id, options),
      (asked) =>
        Effect.withFiber<
          Fanout.Completion<A, E>,
          LockAcquisitionError | BackendError,
          Exclude<R, Scope.Scope> | Scope.Scope
        >((fiber) => {
          const start = Edition.starter<Exclude<R, Scope.Scope>>(fiber)
          const produced = Deferred.makeUnsafe<Produced>()
          const role = Deferred.makeUnsafe<"leads" | "listens", BackendError>()
          let decided = false
          const decide = (exit: Exit.Exit<"leads" | "listens", BackendError>): void => {
            decided = true
            Deferred.doneUnsafe(role, exit)
          }
          const caller: Caller = this.callerOf(
            asked,
            () => prepareJob(start, caller.listens ? Effect.succeed(abandoned) : Deferred.await(produced)),
            (leads) => {
              if (!decided) caller.listens = !leads
              decide(Exit.succeed(leads ? "leads" : "listens"))
            }
          )

          const onLanded = (
            exit: Exit.Exit<Landing, BackendError>
          ): Effect.Effect<void, never, Exclude<R, Scope.Scope>> => {
            if (Exit.hasInterrupts(exit)) return Effect.void
            // Nothing was registered: the caller is told instead.
            if (Exit.isFailure(exit) && !decided) return Effect.sync(() => decide(Exit.failCause(exit.cause)))
            decide(Exit.succeed("listens"))
            // SAFETY: as in `fanout`.
            const outcome = Effect.flatMap(exit, (landing) => this.read(asked, landing)) as Effect.Effect<A, E>
            return Effect.suspend(() => Effect.flatMap(Effect.exit(outcome), onCompleted)).pipe(
              Effect.scoped,
              logFailure
            )
          }

          return Effect.uninterruptibleMask((restore) => {
            const waiting = forkJob(
              start,
              Effect.flatMap(
                Effect.exit(ask(this.flights, id, caller)),
                (exit) => Effect.uninterruptible(onLanded(exit))
              )
            )
            return restore(Deferred.await(role)).pipe(
              // It may lead already, for others who have come meanwhile: nobody else could complete that.
              Effect.onInterrupt(() => Effect.andThen(Fiber.interrupt(waiting), Deferred.succeed(produced, abandoned))),
              Effect.flatMap((role) =>
                role === "leads"
                  ? Effect.as(
                    Effect.addFinalizer(() => Deferred.succeed(produced, abandoned)),
                    this.completion<A, E>(asked, produced)
                  )
                  : Effect.fail(taken(id, this.flights.keeper.now() - caller.arrivedAt))
              )
            )
          })
        })
    )
}

/** Without what is the caller's own: an interruption that may be pending, and the locks that it holds. */
const forkJob = <A, R>(start: Edition.Start<R>, job: Effect.Effect<A, never, R>): Fiber.Fiber<A> =>
  start(Reentrancy.holdingNothing(Effect.interruptible(job)))

const prepareJob = <R>(start: Edition.Start<R>, job: Effect.Effect<Produced, never, R>): Prepared => {
  let go = (): void => {}
  const begins = Effect.callback<void>((resume) => {
    go = () => resume(Effect.void)
  })
  return { job: forkJob(start, Effect.andThen(begins, job)), go: () => go() }
}

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
  Effect.catchCause(callback, (cause) =>
    Effect.logError("The callback of Dlock.push failed", cause).pipe(
      Effect.annotateLogs({ package: "effect-dlock" })
    ))
