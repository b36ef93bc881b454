/**
 * The subscriber connection: keeps this process subscribed to its inbox, and says when it is not.
 *
 *   Unsubscribed -- SUBSCRIBE acknowledged --> Subscribed -- connection closed, or PING unanswered --> Unsubscribed
 *
 * Messages are a hint that makes things fast. Whatever was missed while unsubscribed is asked for again by whoever
 * reads the inbox, after the acknowledgement (R25). A refused SUBSCRIBE is tried again with back-off and harms nothing.
 * The driver's own re-subscribing is not used: it may reject unhandled.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Mailbox from "effect/Mailbox"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { InboxEvent, Store } from "../store.js"
import { droppedMessages } from "../telemetry.js"
import type { Connection } from "./link.js"
import * as Link from "./link.js"
import * as Wire from "./wire.js"

/** How long a PING may take before the messages count as not arriving. */
const suspectAfter = Duration.millis(300)

const backOff = Schedule.exponential("100 millis").pipe(
  Schedule.union(Schedule.spaced("5 seconds")),
  Schedule.jittered
)

export const make = (options: {
  readonly connection: Connection
  readonly channel: string
  readonly commandTimeout: Duration.Duration
}): Effect.Effect<Pick<Store, "inbox" | "probe">, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { channel, connection: { client, owned } } = options
    const link = yield* Link.make(options.connection, options.commandTimeout)
    const inbox = yield* Effect.acquireRelease(Mailbox.make<InboxEvent>(), (mailbox) => mailbox.shutdown)
    let state: "Subscribed" | "Unsubscribed" = "Unsubscribed"

    const become = (next: typeof state) => {
      if (state === next) return
      state = next
      inbox.unsafeOffer({ _tag: next })
    }
    const onMessage = (from: string, payload: string) => {
      if (from !== channel) return
      const events = Wire.decode(payload)
      if (Option.isSome(events)) inbox.unsafeOfferAll(events.value)
      else droppedMessages.unsafeUpdate(1, [])
    }
    const closed = Effect.unsafeMakeLatch(false)
    const onClose = () => {
      become("Unsubscribed")
      closed.unsafeOpen()
    }
    yield* Effect.acquireRelease(
      Effect.sync(() => client.on("message", onMessage).on("close", onClose)),
      () => Effect.sync(() => client.off("message", onMessage).off("close", onClose))
    )

    const subscribe = Effect.suspend(() => {
      const epoch = link.epoch()
      return Effect.map(link.run("subscribe", () => client.subscribe(channel)), () => epoch)
    })
    let refused = false
    const keepSubscribed = subscribe.pipe(
      Effect.tapError((error) =>
        refused ? Effect.void : Effect.logWarning("Cannot subscribe; waiting for locks is slower until it works", error)
          .pipe(Effect.tap(() => Effect.sync(() => {
            refused = true
          })))
      ),
      Effect.retry(backOff),
      Effect.flatMap((epoch) => {
        refused = false
        // The connection may have closed since; then `closed` is open already and the loop goes round at once.
        if (epoch !== link.epoch()) return Effect.void
        closed.unsafeClose()
        become("Subscribed")
        return closed.await
      })
    )
    yield* keepSubscribed.pipe(
      Effect.forever,
      Effect.annotateLogs({ package: "effect-dlock", module: "subscriber" }),
      Effect.forkScoped,
      Effect.interruptible
    )
    if (!owned) {
      yield* Effect.addFinalizer(() =>
        link.run("unsubscribe", () => client.unsubscribe(channel)).pipe(Effect.timeout("1 second"), Effect.ignore)
      )
    }

    let probing = false
    const probe = Effect.suspend(() => {
      if (probing || state === "Unsubscribed") return Effect.void
      probing = true
      const epoch = link.epoch()
      const ping = link.run("ping", () => client.ping()).pipe(
        Effect.exit,
        Effect.map((exit) => {
          probing = false
          if (epoch === link.epoch()) become(exit._tag === "Success" ? "Subscribed" : "Unsubscribed")
        })
      )
      const suspect = Effect.sync(() => {
        if (probing) become("Unsubscribed")
      }).pipe(Effect.delay(suspectAfter), Effect.zipRight(Effect.never))
      return Effect.raceFirst(ping, suspect)
    })

    return { inbox, probe }
  })
