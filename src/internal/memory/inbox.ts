/** Messages in memory: from a server to its clients, each of which has one inbox for each port. */
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"

export type Inboxes<Event> = Map<string, (event: Event) => void>

/** The server finds it by its id until the scope closes. */
export const open = <Event>(
  inboxes: Inboxes<Event | { readonly _tag: "Subscribed" }>,
  id: string
): Effect.Effect<Queue.Dequeue<Event | { readonly _tag: "Subscribed" }>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const inbox = yield* Effect.acquireRelease(
      Queue.make<Event | { readonly _tag: "Subscribed" }>(),
      Queue.shutdown
    )
    yield* Effect.acquireRelease(
      Effect.sync(() => inboxes.set(id, (event) => Queue.offerUnsafe(inbox, event))),
      () => Effect.sync(() => inboxes.delete(id))
    )
    Queue.offerUnsafe(inbox, { _tag: "Subscribed" } as const)
    return inbox
  })
