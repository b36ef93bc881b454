/** The flight port in memory, driven by Effect's Clock. Every call is one step that is answered at once. */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { monotonic } from "../alarm.js"
import type { FlightEvent, FlightStore } from "../flightStore.js"
import * as Model from "./flightModel.js"
import { forgetOldest } from "./forget.js"
import * as Inbox from "./inbox.js"

export interface FlightServer {
  readonly flights: Map<string, Model.Flight>
  readonly inboxes: Inbox.Inboxes<FlightEvent>
  readonly connect: (inboxId: string) => Effect.Effect<FlightStore, never, Scope.Scope>
}

/** As long as marks of what may come twice stand on Redis by default. Nothing does here, but all else is the same. */
const copiesMillis = 5_000

export const make = (clock: Clock.Clock): FlightServer => {
  const flights = new Map<string, Model.Flight>()
  const inboxes: Inbox.Inboxes<FlightEvent> = new Map()

  /** One step of the server on a flight: runs it at one moment, then delivers what it has to say. */
  const step = <A>(id: string, run: (flight: Model.Flight, call: Model.Call) => A): Effect.Effect<A> =>
    Effect.sync(() => {
      const nowMillis = Math.floor(monotonic(clock))
      const call: Model.Call = { nowMillis, notAfter: nowMillis + copiesMillis, messages: [] }
      const flight = flights.get(id) ?? Model.emptyFlight()
      flights.set(id, flight)
      const result = run(flight, call)
      forgetOldest(flights, (flight) => Model.isOver(flight, nowMillis))
      for (const message of call.messages) inboxes.get(message.inbox)?.(toEvent(message))
      return result
    })

  const connect: FlightServer["connect"] = (inboxId) =>
    Effect.gen(function*() {
      const inbox = yield* Inbox.open(inboxes, inboxId)
      return {
        inbox,
        probe: Effect.void,
        join: (request) => step(request.id, (flight, call) => Model.join(flight, call, request, inboxId)),
        refresh: (items) =>
          Effect.forEach(items, (item) => step(item.id, (flight, call) => Model.refresh(flight, call, item))),
        finish: (request) => step(request.id, (flight, call) => Model.finish(flight, call, request)),
        // Nothing is ever refused here.
        refuse: () => Effect.void,
        leave: ({ id, token }) => step(id, (flight, call) => Model.leave(flight, call, token)),
        fetch: ({ id, token }) => step(id, (flight) => Model.fetch(flight, token)),
        // As rough as a server's clock: what happened in its last millisecond may have come before or after.
        serverMillisAtMost: (localMillis) => Math.ceil(localMillis) + 1
      }
    })

  return { flights, inboxes, connect }
}

const toEvent = ({ outcome, token, what }: Model.Message): FlightEvent => {
  if (outcome === undefined || what === "moved") return { _tag: "Moved", token }
  const { finishedAt, payload } = outcome
  return what === "stored" ? { _tag: "Stored", token, finishedAt } : { _tag: "Outcome", token, payload, finishedAt }
}
