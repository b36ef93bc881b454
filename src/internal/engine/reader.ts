/** Reads the messages of a store. */
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"

/**
 * Hands over each event, in order, for as long as the scope and the inbox are open. Not by `Effect.forever`, which gives
 * way after each round: whoever is granted a lock would wait for that.
 */
export const readAll = <Event>(
  inbox: Queue.Dequeue<Event>,
  onEvent: (event: Event) => void
): Effect.Effect<void, never, Scope.Scope> => {
  const read: Effect.Effect<void> = Effect.flatMap(Queue.takeAll(inbox), (events) => {
    for (const event of events) onEvent(event)
    return read
  })
  return Effect.asVoid(Effect.interruptible(Effect.forkScoped(read)))
}
