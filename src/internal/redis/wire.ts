/**
 * What one process of this library says to another by pub/sub. Whoever may publish can write anything here, so a
 * message is decoded whole or dropped whole, and every event names a secret token of the receiver (R19).
 */
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { FlightEvent } from "../flightStore.js"
import { lazy } from "../lazy.js"
import type { InboxEvent } from "../store.js"

/** A script tells at most 64 grants a message, which is far smaller, or an outcome of 65,536 bytes (redis/flightLua.ts). */
const maxLength = 65_536 + 1_024

/** What concerns leases. */
export type LeaseMessage = Exclude<InboxEvent, { readonly _tag: "Subscribed" | "Unsubscribed" }>

/** What concerns flights. The payload of an outcome is a string here: only who has asked for it reads that. */
export type FlightMessage = Exclude<FlightEvent, { readonly _tag: "Subscribed" | "Unsubscribed" }>

const Events = () => {
  const Digits = Schema.NumberFromString.pipe(Schema.check(Schema.isInt()))
  return Schema.Array(Schema.Union([
    Schema.Tuple([Schema.Literals(["granted", "revoked", "asked", "overlimit"]), Schema.String, Digits]),
    Schema.Tuple([Schema.Literal("stored"), Schema.String, Digits]),
    Schema.Tuple([Schema.Literals(["moved", "refused"]), Schema.String])
  ]))
}

type Event = ReturnType<typeof Events>["Type"][number]

const decodeMessage = lazy(() =>
  Schema.decodeUnknownOption(Schema.fromJsonString(Schema.Struct({ v: Schema.Literal(1), events: Events() })))
)

/** One grant, which is what nearly all messages say. Nothing else is read by hand. */
const usual = /^\{"v":1,"events":\[\["granted","([^"\\]+)","(\d{1,15}|[1-8]\d{15})"\]\]\}$/

/** The events of a message, or `None` when this library cannot have sent it. */
export const decode = (payload: string): Option.Option<ReadonlyArray<LeaseMessage | FlightMessage>> => {
  if (payload.length > maxLength) return Option.none()
  const lineEnd = payload.indexOf("\n")
  if (lineEnd >= 0) return decodeOutcome(payload, lineEnd)
  const [, token, fence] = usual.exec(payload) ?? []
  return token === undefined
    ? Option.map(decodeMessage()(payload), ({ events }) => events.map(toEvent))
    : Option.some([{ _tag: "Granted", token, fence: Number(fence) }])
}

/** Who expects the outcome, and when its run was finished. */
const head = /^\{"v":1,"ended":\["([^"\\]+)","(\d{1,15})"\]\}$/

/** The payload is all that follows the first line. By hand, as this is what each process that follows waits for. */
const decodeOutcome = (message: string, lineEnd: number): Option.Option<ReadonlyArray<FlightMessage>> => {
  const [, token, finishedAt] = head.exec(message.slice(0, lineEnd)) ?? []
  return token === undefined ? Option.none() : Option.some([
    { _tag: "Outcome", token, finishedAt: Number(finishedAt), payload: message.slice(lineEnd + 1) }
  ])
}

const toEvent = (event: Event): LeaseMessage | FlightMessage => {
  const token = event[1]
  switch (event[0]) {
    case "granted":
      return { _tag: "Granted", token, fence: event[2] }
    case "revoked":
      return { _tag: "Revoked", token, fence: event[2] }
    case "asked":
      return { _tag: "Asked", token, fence: event[2] }
    case "overlimit":
      return { _tag: "OverLimit", token, limit: event[2] }
    case "stored":
      return { _tag: "Stored", token, finishedAt: event[2] }
    case "moved":
      return { _tag: "Moved", token }
    case "refused":
      return { _tag: "Refused", token }
  }
}

/** Which of the two ports it is for. */
export const isFlight = (event: LeaseMessage | FlightMessage): event is FlightMessage => {
  switch (event._tag) {
    case "Granted":
    case "Revoked":
    case "Asked":
    case "OverLimit":
      return false
    default:
      return true
  }
}
