/**
 * The flight engine: what follows from the interleavings of callers, jobs, answers, messages and time. It knows no Redis;
 * the flight port is all it talks to.
 *
 * Invariants:
 * - A job runs here only while this process leads by its local clock, or until it has ended after it was interrupted
 *   (R31). The flight is not given up, and no other job of the id is started here, before that.
 * - Whoever is attached when the job ends gets its outcome; whoever comes later is in another flight (R32).
 * - A flight that has a job, or may get one, is the open one of its id: so there is one at most (R31), also where it runs
 *   for this process alone. One that takes no callers any more never joins again; its callers do.
 * - A token is known here from before its join is sent until its part is over (R30); then it has been left, finished, or
 *   named by the next join (R37).
 * - Only `become` assigns a state.
 */
import * as Edition from "#edition"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import type { BackendError } from "../../DlockError.js"
import * as Alarm from "../alarm.js"
import type { FlightStore, Follows, JoinAnswer } from "../flightStore.js"
import type { Tokens } from "../tokens.js"
import { askAgainAt, Deadline } from "./deadline.js"
import * as Errors from "./errors.js"
import type { Flight, Job, Joining, Landing, Leading, Produced, State } from "./flight.js"
import * as F from "./flight.js"
import { FlightKeeper } from "./flightKeeper.js"
import * as News from "./flightNews.js"
import * as Late from "./late.js"
import { readAll } from "./reader.js"
import * as Repeater from "./repeater.js"
import * as Timing from "./timing.js"

export interface Options extends Pick<FlightKeeper["options"], "store" | "clock" | "fork"> {
  readonly commandTimeoutMillis: number
  readonly tokens: Tokens
  readonly repeater: Repeater.Repeater
  /** The payload that says that the store would not take the outcome (R38). */
  readonly refused: string
  /** The payload that says that the job was interrupted, though nobody here did it. */
  readonly interrupted: string
}

export class Flights {
  /** The flights that a new caller is attached to, by id: of all processes or, where the store was away, of this one. */
  readonly open = new Map<string, Flight>()
  readonly byToken = new Map<string, Flight>()
  readonly live = new Set<Flight>()
  /** Tokens whose finish has no answer yet, by id. A join of the id must not follow one (R37). */
  readonly finishing = new Map<string, string>()
  readonly store: FlightStore
  readonly keeper: FlightKeeper
  subscribed = false
  closed = false

  constructor(readonly options: Options) {
    this.store = options.store
    this.keeper = new FlightKeeper({
      ...options,
      onAnswer: (flight, token, sentAt, answer) => News.onAnswer(this, flight, token, sentAt, answer),
      endIfDue: (flight, now) => News.endIfDue(this, flight, now)
    })
  }

  become(flight: Flight, state: State): void {
    const before = flight.state._tag
    const tokenBefore = F.tokenOf(flight)
    flight.state = state
    const token = F.tokenOf(flight)
    if (tokenBefore !== undefined && tokenBefore !== token) this.byToken.delete(tokenBefore)
    if (token !== undefined) this.byToken.set(token, flight)
    // R32: the flight has ended, here or elsewhere. Who comes from now on is not in it.
    if (state._tag === "Finishing" || state._tag === "Fetching" || state._tag === "Ended") {
      if (this.open.get(flight.id) === flight) this.open.delete(flight.id)
    }
    if (state._tag === "Ended") this.live.delete(flight)
    this.keeper.moved(flight, before)
  }

  leave({ id, ttlMillis }: Flight, ...tokens: ReadonlyArray<string | undefined>): void {
    const until = this.keeper.now() + this.options.commandTimeoutMillis + ttlMillis
    for (const token of tokens) {
      if (token !== undefined) this.options.repeater.later({ attempt: this.store.leave({ id, token }), until })
    }
  }

  /** For those who are attached: joins with a new token, or just runs the job. */
  begin(flight: Flight): void {
    if (flight.alone) return this.run(flight, (job) => ({ _tag: "Alone", job }))
    const { finishing, options, store } = this
    const token = options.tokens.make()
    const sentAt = this.keeper.now()
    const { id, keepMillis, ttlMillis } = flight
    const patient = Array.from(flight.callers.keys()).some((caller) => caller.patient)
    const gaveUp = flight.gaveUp ?? finishing.get(id)
    flight.overtaken = false
    this.become(flight, { _tag: "Joining", token, sentAt })
    const isStale = () => flight.state._tag !== "Joining" || flight.state.token !== token
    options.fork(
      Effect.matchCause(store.join({ id, token, gaveUp, ttlMillis, keepMillis, patient }), {
        onFailure: (cause) => {
          if (isStale()) return
          this.leave(flight, token, flight.gaveUp)
          this.fail(flight, Errors.ofCause(cause))
        },
        onSuccess: (answer) => {
          if (finishing.get(id) === gaveUp) finishing.delete(id)
          // Its callers have left, or its outcome overtook this answer (R30).
          if (isStale()) return
          flight.gaveUp = undefined
          this.onJoined(flight, { token, sentAt }, answer)
        }
      })
    )
  }

  onJoined(flight: Flight, { sentAt, token }: Omit<Joining, "_tag">, answer: JoinAnswer): void {
    const now = this.keeper.now()
    flight.late = Late.after(flight.late, sentAt, now, answer)
    if (Late.isInVain(flight.late, now, this.options.commandTimeoutMillis)) {
      this.leave(flight, token)
      return this.fail(
        flight,
        Errors.tooSlow(flight.ttlMillis, "the round trip to Redis", flight.late.tookMillis, "join")
      )
    }
    switch (answer._tag) {
      case "Leads":
        return this.lead(flight, token, sentAt, answer.remainingMillis)
      case "Follows":
        this.follow(flight, token, sentAt, answer)
        if (flight.overtaken) this.keeper.refreshNow(flight)
        return
      case "Outcome":
        return this.land(flight, { ...answer, provenAt: -Infinity, keptFor: undefined })
      case "Kept":
        return this.land(flight, { ...answer, provenAt: -Infinity, finishedAt: -Infinity, keptFor: flight.keepMillis })
      case "Gone":
        return this.begin(flight)
    }
  }

  lead(flight: Flight, token: string, sentAt: number, remainingMillis: number): void {
    const since = this.keeper.now()
    const deadline = new Deadline().hear(sentAt, remainingMillis, flight.ttlMillis)
    if (since >= deadline.at) {
      flight.gaveUp = token
      return this.begin(flight)
    }
    flight.refreshing = false
    flight.refreshAt = askAgainAt(sentAt, remainingMillis, flight.ttlMillis)
    this.run(flight, (job) => ({ _tag: "Leading", token, since, deadline, job }))
  }

  run(flight: Flight, toState: (job: Job) => State): void {
    const callers = Array.from(flight.callers.keys())
    const leader = callers.find((caller) => !caller.listens) ?? callers[0]
    // Who has no caller is in no flight: `detach` ends it in the same step.
    if (leader === undefined) return
    const { go, job } = leader.prepare()
    this.become(flight, toState(job))
    job.addObserver((exit) => this.onJobEnd(flight, job, exit))
    for (const caller of callers) caller.onRole?.(caller === leader)
    go()
  }

  follow(flight: Flight, token: string, sentAt: number, answer: Follows): void {
    flight.refreshing = false
    flight.refreshAt = Math.min(
      askAgainAt(sentAt, answer.remainingMillis, flight.ttlMillis),
      this.subscribed ? Infinity : this.keeper.now() + Timing.unsubscribedHeartbeatMillis,
      // R37: from when it was sent. Whoever asks first after a dead leader's end leads.
      sentAt + answer.leaderEndsMillis + 1
    )
    const silence = Math.max(flight.ttlMillis, this.options.commandTimeoutMillis)
    const before = flight.state._tag === "Following" ? flight.state.provenAt : -Infinity
    const provenAt = Math.max(before, sentAt)
    this.become(flight, { _tag: "Following", token, provenAt, giveUpAt: sentAt + silence })
    for (const caller of flight.callers.keys()) {
      if (caller.arrivedAt <= provenAt) caller.onRole?.(false)
      else if (caller.onRole !== undefined) this.keeper.refreshNow(flight)
    }
  }

  land(flight: Flight, landing: Landing): void {
    // R32: by its own bound the server cannot show that yet, so its clock has stepped, and the bound proves nothing.
    const isStepped = landing.finishedAt > this.store.serverMillisAtMost(this.keeper.now())
    this.become(flight, { _tag: "Ended" })
    F.wakeAll(flight, Effect.succeed(isStepped ? { ...landing, finishedAt: -Infinity } : landing))
  }

  fail(flight: Flight, error: BackendError): void {
    this.become(flight, { _tag: "Ended" })
    F.wakeAll(flight, Effect.fail(error))
  }

  /** R31: it goes on being renewed, if it is held, until the job has ended. */
  stop(flight: Flight, job: Job, held: Leading | undefined): void {
    this.become(flight, { _tag: "Stopping", job, held })
    Edition.interrupt(job)
  }

  lose(flight: Flight): void {
    const { state } = flight
    const lease = F.leaseOf(flight)
    if (lease === undefined) return
    flight.gaveUp = lease.token
    if (state._tag === "Leading") this.stop(flight, lease.job, undefined)
    else this.become(flight, { _tag: "Stopping", job: lease.job, held: undefined })
  }

  onJobEnd(flight: Flight, job: Job, exit: Exit.Exit<Produced>): void {
    const { state } = flight
    if (!("job" in state) || state.job !== job) return
    const produced = Exit.isSuccess(exit) ? exit.value : { payload: this.options.interrupted, keepMillis: 0 }
    if (state._tag === "Leading") return this.finish(flight, state, produced)
    if (state._tag === "Alone") return this.land(flight, F.own(produced))
    // Nobody wanted it, or it was not this process's any more.
    flight.gaveUp = F.leaseOf(flight)?.token ?? flight.gaveUp
    // Those who have come meanwhile ask the store: it may be back.
    if (flight.alone) return this.land(flight, F.nobodys)
    if (flight.callers.size > 0) return this.begin(flight)
    this.become(flight, { _tag: "Ended" })
    this.leave(flight, flight.gaveUp)
  }

  /**
   * Callers have the outcome when the store has been told, or could not be: who calls because one of them has it, in
   * whatever process, does not find the flight under way (R32).
   */
  finish(flight: Flight, { deadline, token }: Leading, produced: Produced): void {
    const { finishing, options, store } = this
    const { id, retentionMillis } = flight
    const now = this.keeper.now()
    // R33: in time. Whatever the store says to it, these callers have their outcome.
    const landing = now < deadline.at ? F.own(produced) : undefined
    this.become(flight, { _tag: "Finishing", token, landing })
    finishing.set(id, token)
    const settle = (otherwise: () => void): void => {
      if (finishing.get(id) === token) finishing.delete(id)
      if (flight.state._tag !== "Finishing") return
      if (landing !== undefined) this.land(flight, landing)
      else otherwise()
    }
    // Its callers do not wait for a store that is away. The followers are told when it is back.
    const tell = Effect.suspend(() => {
      const patient = landing === undefined || flight.state._tag !== "Finishing"
      return store.finish({ id, token, retentionMillis, patient, ...produced })
    })
    options.repeater.later({
      attempt: tell.pipe(
        Effect.map((accepted) => settle(() => this.land(flight, accepted ? F.own(produced) : F.nobodys))),
        Effect.catch((error) => {
          if (landing !== undefined && flight.state._tag === "Finishing") this.land(flight, landing)
          return error.reason === "Refused" || error.reason === "RefusedForNow"
            // R38: whoever follows must not wait for what will not come.
            ? Effect.map(store.refuse({ id, token }), () => settle(() => this.fail(flight, error)))
            : Effect.fail(error)
        })
      ),
      until: Math.max(now, deadline.at) + options.commandTimeoutMillis,
      onGivenUp: (cause) => settle(() => this.fail(flight, Errors.ofCause(cause)))
    })
  }

  /** Nobody waits here any more, no job runs, and others may lead at once, as far as the store answers in time. */
  get close(): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.closed = true
      const jobs = Array.from(this.live).flatMap((flight) => {
        if (flight.state._tag === "Finishing" && flight.state.landing !== undefined) {
          this.land(flight, flight.state.landing)
        }
        F.wakeAll(flight, Effect.fail(Errors.closed("join")))
        const { state } = flight
        if (!("job" in state)) {
          this.become(flight, { _tag: "Ended" })
          if (state._tag !== "Finishing" && state._tag !== "Ended") this.leave(flight, state.token, flight.gaveUp)
          return []
        }
        if (state._tag !== "Stopping") this.stop(flight, state.job, F.leaseOf(flight))
        return [state.job]
      })
      return Effect.forEach(jobs, Fiber.await, { discard: true })
    })
  }
}

export const make = (
  options: Omit<Options, "clock" | "fork" | "repeater">
): Effect.Effect<Flights, never, Scope.Scope> =>
  Effect.gen(function*() {
    const clock = yield* Effect.clockWith(Effect.succeed)
    const run = yield* Effect.flatMap(FiberSet.make<void>(), (set) => FiberSet.runtime(set)())
    const fork = (effect: Effect.Effect<void>): void => void run(Effect.interruptible(effect))
    const repeater = yield* Repeater.make
    const flights = new Flights({ ...options, clock, fork, repeater })
    flights.keeper.alarm = yield* Alarm.make(() => flights.keeper.ring())
    yield* readAll(options.store.inbox, (event) => News.onEvent(flights, event))
    // The last to be added, so the first to run: what stops is renewed until then (R31).
    yield* Effect.addFinalizer(() => flights.close)
    return flights
  })
