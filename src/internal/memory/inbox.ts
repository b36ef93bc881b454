/** Messages in memory: from a server to its clients, each of which has one inbox for each port. */
import * as Effect from "effect/Effect"
import * as Mailbox from "effect/Mailbox"
import type * as Scope from "effect/Scope"

export type Inboxes<Event> = Map<string, (event: Event) => void>

/** The server finds it by its id until the scope closes. */
export const open = <Event>(
  inboxes: Inboxes<Event | { readonly _tag: "Subscribed" }>,
  id: string
): Effect.Effect<Mailbox.ReadonlyMailbox<Event | { readonly _tag: "Subscribed" }>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const inbox = yield* Effect.acquireRelease(
      Mailbox.make<Event | { readonly _tag: "Subscribed" }>(),
      (mailbox) => mailbox.shutdown
    )
    yield* Effect.acquireRelease(
      Effect.sync(() => inboxes.set(id, (event) => inbox.unsafeOffer(event))),
      () => Effect.sync(() => inboxes.delete(id))
    )
    inbox.unsafeOffer({ _tag: "Subscribed" })
    return inbox
  })
