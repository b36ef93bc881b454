/** Those who wait for a flight: each comes, waits and goes by itself, and costs the store nothing. */
import * as Effect from "effect/Effect"
import type { BackendError } from "../../DlockError.js"
import * as Errors from "./errors.js"
import type { Caller, Flight, Landing, Wake } from "./flight.js"
import * as F from "./flight.js"
import type { Flights } from "./flights.js"

/**
 * Suspends until the id's flight has ended: the one that is open here, or else a new one of all processes, or of this one
 * `alone`. A flight that had ended when the caller came does not count: the caller is in the next one.
 */
export const ask = (
  flights: Flights,
  id: string,
  caller: Caller,
  alone = false
): Effect.Effect<Landing, BackendError> =>
  Effect.uninterruptibleMask((restore) => {
    let flight: Flight | undefined
    const landed = Effect.callback<Landing, BackendError>((resume) => {
      if (flights.closed) resume(Effect.fail(Errors.closed("join")))
      else flight = attach(flights, id, caller, resume, alone)
    })
    // One frame on the stack of each caller, and no more: there may be thousands.
    return Effect.matchCauseEffect(restore(landed), {
      onFailure: (cause) => {
        if (flight !== undefined) detach(flights, flight, caller)
        return Effect.failCause(cause)
      },
      onSuccess: (landing) =>
        mayHave(flights, caller, landing) ? Effect.succeed(landing) : restore(ask(flights, id, caller, alone))
    })
  })

/** As `ask`, and without the store when that fails. Somebody may have opened a flight again by then: it is in that one. */
export const askEvenAlone = (
  flights: Flights,
  id: string,
  caller: Caller,
  alone = false
): Effect.Effect<Landing, BackendError> =>
  Effect.catch(
    ask(flights, id, caller, alone),
    (error) => flights.closed ? Effect.fail(error) : askEvenAlone(flights, id, caller, true)
  )

/** R32: of a flight elsewhere only who provably came before its end. */
const mayHave = ({ store }: Flights, caller: Caller, landing: Landing): boolean =>
  landing.keptFor !== undefined
    ? caller.keepMillis >= landing.keptFor
    : caller.arrivedAt <= landing.provenAt || store.serverMillisAtMost(caller.arrivedAt) <= landing.finishedAt

const attach = (flights: Flights, id: string, caller: Caller, wake: Wake, alone: boolean): Flight => {
  const found = flights.open.get(id)
  if (found === undefined) {
    const flight = F.make(id, caller, wake, alone)
    flights.open.set(id, flight)
    flights.live.add(flight)
    flights.begin(flight)
    return flight
  }
  found.callers.set(caller, wake)
  if (caller.onRole === undefined) return found
  if (found.state._tag === "Leading" || found.state._tag === "Alone") caller.onRole(false)
  // R32: it may have ended elsewhere. The answer says whether this caller is in it.
  else if (found.state._tag === "Following") flights.keeper.refreshNow(found)
  return found
}

/** A caller leaves alone. With the last one goes this process's interest in the flight. */
const detach = (flights: Flights, flight: Flight, caller: Caller): void => {
  const { state } = flight
  flight.callers.delete(caller)
  if (flight.callers.size > 0) return
  switch (state._tag) {
    case "Joining":
    case "Following":
    case "Fetching":
      flights.become(flight, { _tag: "Ended" })
      flights.leave(flight, state.token, flight.gaveUp)
      break
    case "Leading":
      // R35: others may follow. The answer says whether they do.
      flights.keeper.refreshNow(flight)
      break
    case "Alone":
      flights.stop(flight, state.job, undefined)
  }
}
