/**
 * Looks after the flights of one process when their time comes: refreshes what is due, in batches of up to 256, and has
 * the subscriber checked while somebody waits for a message. One alarm serves them all.
 */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Alarm from "../alarm.js"
import type { Answer, FlightStore } from "../flightStore.js"
import { maxBatch } from "../store.js"
import * as Errors from "./errors.js"
import type { Flight } from "./flight.js"
import * as F from "./flight.js"
import * as Heap from "./heap.js"
import { Prober } from "./prober.js"

export interface Options {
  readonly store: FlightStore
  readonly clock: Clock.Clock
  /** Runs in the background until it ends or the service closes. */
  readonly fork: (effect: Effect.Effect<void>) => void
  /** The answer about a token of the flight, to a command that was sent then. */
  readonly onAnswer: (flight: Flight, token: string, sentAt: number, answer: Answer) => void
  /** Ends what is over by local time, and says whether that is all there was to do. */
  readonly endIfDue: (flight: Flight, now: number) => boolean
}

export class FlightKeeper {
  readonly heap = Heap.make<Flight>()
  alarm: Alarm.Alarm = { notLaterThan: () => {} }
  /** Who follows waits for a message. */
  readonly prober: Prober

  constructor(readonly options: Options) {
    this.prober = new Prober(() => options.fork(options.store.probe))
  }

  now(): number {
    return Alarm.monotonic(this.options.clock)
  }

  /** To be called after each change of a state: puts the flight where that wants to be looked at. */
  moved(flight: Flight, before: F.State["_tag"]): void {
    const more = Number(flight.state._tag === "Following") - Number(before === "Following")
    if (more !== 0) this.alarm.notLaterThan(this.prober.moved(more, this.now()))
    this.look(flight)
  }

  look(flight: Flight): void {
    this.heap.schedule(flight, F.nextLook(flight))
    this.alarm.notLaterThan(flight.wakeAt)
  }

  /** Even when a refresh is under way: that one was sent before what made this one necessary. */
  refreshNow(flight: Flight): void {
    flight.refreshing = false
    flight.refreshAt = this.now()
    this.look(flight)
  }

  /** What the alarm does: ends what is over, refreshes what is due, and says when to come again. */
  ring(): number {
    const now = this.now()
    const due: Array<Flight> = []
    for (let flight = this.heap.peek(); flight && flight.wakeAt <= now; flight = this.heap.peek()) {
      if (this.options.endIfDue(flight, now)) continue
      due.push(flight)
      flight.refreshing = true
      this.heap.schedule(flight, F.nextLook(flight))
    }
    for (let i = 0; i < due.length; i += maxBatch) this.options.fork(this.refresh(due.slice(i, i + maxBatch)))
    return Math.min(this.heap.peek()?.wakeAt ?? Infinity, this.prober.ring(now))
  }

  refresh(due: ReadonlyArray<Flight>): Effect.Effect<void> {
    // Who was woken since may have ended others.
    const flights = due.filter((flight) => F.tokenOf(flight) !== undefined)
    if (flights.length === 0) return Effect.void
    const sentAt = this.now()
    const items = flights.map((flight) => ({
      id: flight.id,
      token: F.tokenOf(flight) ?? "",
      ttlMillis: flight.ttlMillis
    }))
    const answerAll = (answerTo: (index: number) => Answer): void =>
      flights.forEach((flight, i) => this.options.onAnswer(flight, items[i]?.token ?? "", sentAt, answerTo(i)))
    return Effect.matchCause(this.options.store.refresh(items), {
      onFailure: (cause) => answerAll(() => ({ _tag: "Failed", error: Errors.ofCause(cause) })),
      onSuccess: (answers) => answerAll((index) => answers[index] ?? { _tag: "Gone" })
    })
  }
}
