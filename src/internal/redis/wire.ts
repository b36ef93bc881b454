/**
 * What one process of this library says to another by pub/sub. Whoever may publish can write anything here, so a
 * message is decoded whole or dropped whole, and every event names a secret token of the receiver (R19).
 */
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { InboxEvent } from "../store.js"

/** A script takes at most 64 steps a lock, so an honest message is far smaller. */
const maxLength = 65_536

const Message = Schema.parseJson(Schema.Struct({
  v: Schema.Literal(1),
  events: Schema.Array(
    Schema.Tuple(
      Schema.Literal("granted", "revoked", "asked", "overlimit"),
      Schema.String,
      Schema.NumberFromString.pipe(Schema.int())
    )
  )
}))

const decodeMessage = Schema.decodeUnknownOption(Message)

/** The events of a message, or `None` when this library cannot have sent it. */
export const decode = (payload: string): Option.Option<ReadonlyArray<InboxEvent>> =>
  payload.length > maxLength ? Option.none() : Option.map(decodeMessage(payload), ({ events }) => events.map(toEvent))

const toEvent = ([what, token, number]: (typeof Message.Type)["events"][number]): InboxEvent => {
  switch (what) {
    case "granted":
      return { _tag: "Granted", token, fence: number }
    case "revoked":
      return { _tag: "Revoked", token, fence: number }
    case "asked":
      return { _tag: "Asked", token, fence: number }
    case "overlimit":
      return { _tag: "OverLimit", token, limit: number }
  }
}
