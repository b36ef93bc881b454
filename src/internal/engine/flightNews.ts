/** What a flight learns after it has joined: by answers, by messages, and by the time that passes without either. */
import * as Effect from "effect/Effect"
import type { Answer, FlightEvent, Leads } from "../flightStore.js"
import * as Telemetry from "../telemetry.js"
import { askAgainAt } from "./deadline.js"
import * as Errors from "./errors.js"
import type { Fetching, Flight, Following, Leading } from "./flight.js"
import * as F from "./flight.js"
import type { Flights } from "./flights.js"
import * as Timing from "./timing.js"

/** The answer about a token of the flight, to a command that was sent then. */
export const onAnswer = (flights: Flights, flight: Flight, token: string, sentAt: number, answer: Answer): void => {
  const { state } = flight
  if (F.tokenOf(flight) !== token) return
  flight.refreshing = false
  flight.failure = answer._tag === "Failed" ? answer.error : undefined
  const lease = F.leaseOf(flight)
  if (answer._tag === "Failed") retrySoon(flights, flight)
  else if (lease !== undefined && answer._tag === "Leads") onRenewed(flights, flight, lease, sentAt, answer)
  // R13: asked after it led, the store does not know it.
  else if (lease !== undefined && sentAt > lease.since) flights.lose(flight)
  else if (state._tag === "Following" || state._tag === "Fetching") onFollowed(flights, flight, state, sentAt, answer)
  else flights.keeper.look(flight)
}

const retrySoon = ({ keeper }: Flights, flight: Flight): void => {
  flight.refreshAt = keeper.now() + Math.min(1_000, Math.max(50, flight.ttlMillis / 10))
  keeper.look(flight)
}

const onRenewed = (flights: Flights, flight: Flight, lease: Leading, sentAt: number, answer: Leads): void => {
  lease.deadline.hear(sentAt, answer.remainingMillis, flight.ttlMillis)
  flight.refreshAt = askAgainAt(sentAt, answer.remainingMillis, flight.ttlMillis)
  // R35: nobody waits for this job any more, in any process.
  const isWanted = flight.state._tag === "Stopping" || flight.callers.size > 0 || answer.followers > 0
  if (isWanted) flights.keeper.look(flight)
  else flights.stop(flight, lease.job, lease)
}

const onFollowed = (
  flights: Flights,
  flight: Flight,
  state: Following | Fetching,
  sentAt: number,
  answer: Exclude<Answer, { readonly _tag: "Failed" }>
): void => {
  switch (answer._tag) {
    case "Leads":
      // The leader died or left. The callers of this process have a job of their own (R34).
      return state._tag === "Following"
        ? flights.lead(flight, state.token, sentAt, answer.remainingMillis)
        : abandon(flights, flight, state)
    case "Follows":
      if (state._tag === "Following") return flights.follow(flight, state.token, sentAt, answer)
      return sentAt > state.since ? abandon(flights, flight, state) : flights.keeper.look(flight)
    case "Outcome":
      return flights.land(flight, { ...answer, provenAt: state.provenAt, keptFor: undefined })
    case "Stored":
      return fetch(flights, flight, state.token, state.provenAt)
    case "Gone":
      return state._tag === "Following" ? flights.begin(flight) : flights.land(flight, F.nobodys)
  }
}

/**
 * The store has forgotten that the flight ended. It is not the open one of its id any more, so it must neither follow nor
 * lead again (R31): its callers ask anew.
 */
const abandon = (flights: Flights, flight: Flight, { token }: Fetching): void => {
  flights.leave(flight, token)
  flights.land(flight, F.nobodys)
}

const fetch = (flights: Flights, flight: Flight, token: string, provenAt: number): void => {
  const { keeper, options, store } = flights
  const giveUpAt = flight.state._tag === "Fetching"
    ? flight.state.giveUpAt
    : keeper.now() + Math.max(flight.ttlMillis, options.commandTimeoutMillis)
  flight.refreshing = false
  flight.refreshAt = Infinity
  flights.become(flight, { _tag: "Fetching", token, since: keeper.now(), provenAt, giveUpAt })
  const isStale = () => flight.state._tag !== "Fetching" || flight.state.token !== token
  options.fork(
    Effect.matchCause(store.fetch({ id: flight.id, token }), {
      onFailure: (cause) => {
        if (isStale()) return
        flight.failure = Errors.ofCause(cause)
        retrySoon(flights, flight)
      },
      onSuccess: (answer) => {
        if (isStale()) return
        flights.land(flight, answer._tag === "Gone" ? F.nobodys : { ...answer, provenAt, keptFor: undefined })
      }
    })
  )
}

export const onEvent = (flights: Flights, event: FlightEvent): void => {
  if (event._tag === "Subscribed" || event._tag === "Unsubscribed") {
    flights.subscribed = event._tag === "Subscribed"
    for (const flight of flights.live) isDoubtful(flights, flight)
    return
  }
  const flight = flights.byToken.get(event.token)
  const state = flight?.state
  if (
    flight === undefined || (state?._tag !== "Joining" && state?._tag !== "Following" && state?._tag !== "Fetching")
  ) {
    return Telemetry.unexpectedMessage(flights.options.tokens.isOwn(event.token))
  }
  // R30: it may overtake the answer to the join. Whatever it says came after that was carried out.
  const provenAt = state._tag === "Joining" ? state.sentAt : state.provenAt
  switch (event._tag) {
    case "Outcome":
      return flights.land(flight, { ...event, provenAt, keptFor: undefined })
    case "Refused":
      return flights.land(flight, {
        payload: flights.options.refused,
        provenAt,
        finishedAt: -Infinity,
        keptFor: undefined
      })
    case "Stored":
      return state._tag === "Fetching" ? undefined : fetch(flights, flight, state.token, provenAt)
    case "Moved":
      return isDoubtful(flights, flight)
  }
}

/** What is known of it may not be true any more: it asks at once, or when it is known to follow. */
const isDoubtful = ({ keeper }: Flights, flight: Flight): void => {
  if (flight.state._tag === "Joining") flight.overtaken = true
  else if (flight.state._tag === "Following") keeper.refreshNow(flight)
}

/** Ends what is over by local time, whether or not the store answers. Says whether that is all there was to do. */
export const endIfDue = (flights: Flights, flight: Flight, now: number): boolean => {
  const { state } = flight
  const lease = F.leaseOf(flight)
  if (lease !== undefined && now >= lease.deadline.at) {
    flights.lose(flight)
    return true
  }
  if ((state._tag !== "Following" && state._tag !== "Fetching") || now < state.giveUpAt) return false
  if (now >= state.giveUpAt + Timing.oversleptMillis) {
    // This process was paused, or its event loop blocked: the silence was its own.
    flights.become(flight, { ...state, giveUpAt: now + flights.options.commandTimeoutMillis })
    return false
  }
  flights.leave(flight, state.token)
  flights.fail(flight, flight.failure ?? Errors.unheard())
  return true
}
