/**
 * The subscriber connection: keeps this process subscribed to its inbox, and says when it is not.
 *
 *   Unsubscribed -- SUBSCRIBE acknowledged --> Subscribed -- connection closed, or PING unanswered --> Unsubscribed
 *
 * Messages are a hint that makes things fast. Whatever was missed while unsubscribed is asked for again by whoever
 * reads the inbox, after the acknowledgement (R25). A refused SUBSCRIBE is tried again with back-off and harms nothing.
 * The driver's own re-subscribing is not used: it may reject unhandled.
 */
import * as Edition from "#edition"
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { BackendError } from "../../DlockError.js"
import * as Alarm from "../alarm.js"
import type { FlightEvent } from "../flightStore.js"
import type { InboxEvent } from "../store.js"
import * as Telemetry from "../telemetry.js"
import type { Client } from "./driver.js"
import type { Connection } from "./gate.js"
import * as Link from "./link.js"
import * as Listeners from "./listeners.js"
import * as Wire from "./wire.js"

/** How long a PING may take before the messages count as not arriving: at least, and by the round trips seen. */
const suspectAfterMillis = 300
const suspectAfterRoundTrips = 3

const unsubscribeWithin = "1 second"

const backOff = Schedule.jittered(Schedule.min([Schedule.exponential("100 millis"), Schedule.spaced("5 seconds")]))

export const make = (options: {
  readonly connection: Connection
  readonly channel: string
  readonly commandTimeout: Duration.Duration
}): Effect.Effect<Subscriber, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { channel, connection, commandTimeout } = options
    const link = yield* Link.make(connection, commandTimeout)
    const inbox = yield* Effect.acquireRelease(Queue.make<InboxEvent>(), Queue.shutdown)
    const flightInbox = yield* Effect.acquireRelease(Queue.make<FlightEvent>(), Queue.shutdown)
    const subscriber = new Subscriber(
      connection.client,
      channel,
      link,
      inbox,
      flightInbox,
      yield* Effect.clockWith(Effect.succeed)
    )
    const { onClose, onMessage, onReady } = subscriber
    yield* Listeners.listen(connection.client, { message: onMessage, ready: onReady, close: onClose })
    yield* subscriber.keepSubscribed.pipe(
      Effect.annotateLogs({ package: "effect-dlock", module: "subscriber" }),
      Effect.forkScoped,
      Effect.interruptible
    )
    if (!connection.owned) {
      yield* Effect.addFinalizer(() =>
        subscriber.unsubscribe.pipe(Effect.interruptible, Effect.timeout(unsubscribeWithin), Effect.ignore)
      )
    }
    return subscriber
  })

export class Subscriber {
  state: "Subscribed" | "Unsubscribed" = "Unsubscribed"
  /** Of the last SUBSCRIBE that was acknowledged. In that epoch messages come, unless a PING says otherwise. */
  subscribedIn: number | undefined = undefined
  probing = false
  refused = false
  /** When this connection was ready for commands. */
  readyAt = -Infinity
  /** About the longest round trip seen on this connection lately. */
  roundTripMillis = 0
  readonly closed = Latch.makeUnsafe(false)

  constructor(
    readonly client: Client,
    readonly channel: string,
    readonly link: Link.Link,
    readonly inbox: Queue.Queue<InboxEvent>,
    readonly flightInbox: Queue.Queue<FlightEvent>,
    readonly clock: Clock.Clock
  ) {}

  now(): number {
    return Alarm.monotonic(this.clock)
  }

  become(state: typeof this.state): void {
    if (this.state === state) return
    this.state = state
    Queue.offerUnsafe(this.inbox, { _tag: state })
    Queue.offerUnsafe(this.flightInbox, { _tag: state })
  }

  readonly onMessage = (channel: string, payload: string): void => {
    if (channel !== this.channel) return
    const events = Wire.decode(payload)
    if (Option.isNone(events)) return Edition.count(Telemetry.malformedMessages)
    for (const event of events.value) {
      if (Wire.isFlight(event)) Queue.offerUnsafe(this.flightInbox, event)
      else Queue.offerUnsafe(this.inbox, event)
    }
  }

  readonly onReady = (): void => {
    this.readyAt = this.now()
    this.roundTripMillis = 0
  }

  readonly onClose = (): void => {
    this.become("Unsubscribed")
    Latch.openUnsafe(this.closed)
  }

  /** Says how long the server takes to answer. A command that comes before the connection is ready is sent then. */
  measured<A>(operation: string, send: (client: Client) => Promise<A>): Effect.Effect<A, BackendError> {
    return Effect.suspend(() => {
      const calledAt = this.now()
      return Effect.map(this.link.run(operation, send), (reply) => {
        const millis = this.now() - Math.max(calledAt, this.readyAt)
        // One that was slow is soon forgotten, and a single fast one proves little.
        this.roundTripMillis = Math.max(millis, 0.75 * this.roundTripMillis)
        return reply
      })
    })
  }

  /** The epoch in which it was sent, once it is acknowledged. */
  readonly subscribe: Effect.Effect<number, BackendError> = Effect.suspend(() =>
    this.measured("subscribe", (client) => {
      const epoch = this.link.epoch()
      return client.subscribe(this.channel).then(() => epoch)
    })
  )

  readonly unsubscribe: Effect.Effect<unknown, BackendError> = Effect.suspend(() =>
    this.link.run("unsubscribe", (client) => client.unsubscribe(this.channel))
  )

  /** One warning for each time that it begins to fail. */
  warnOnce(error: BackendError): Effect.Effect<void> {
    if (this.refused) return Effect.void
    this.refused = true
    return Effect.logWarning(`Cannot subscribe; waiters are slower until it works. ${error.message}`)
  }

  readonly keepSubscribed: Effect.Effect<never> = Effect.suspend(() => this.subscribe).pipe(
    Effect.tapError((error) => this.warnOnce(error)),
    Effect.retry(backOff),
    Effect.orDie,
    Effect.flatMap((epoch) => {
      this.refused = false
      // It may have closed since it was sent. Then the subscription is gone with it, and the loop goes round at once.
      if (epoch !== this.link.epoch()) return Effect.void
      Latch.closeUnsafe(this.closed)
      this.subscribedIn = epoch
      this.become("Subscribed")
      return this.closed.await
    }),
    Effect.forever
  )

  /** Goes on while it is suspected: the PING that is answered says that messages come again. */
  readonly probe: Effect.Effect<void> = Effect.suspend(() => {
    const epoch = this.subscribedIn
    if (this.probing || epoch !== this.link.epoch()) return Effect.void
    this.probing = true
    const becomeIf = (state: typeof this.state) => {
      if (epoch === this.link.epoch()) this.become(state)
    }
    const ping = this.measured("ping", (client) => client.ping()).pipe(
      Effect.match({ onFailure: () => becomeIf("Unsubscribed"), onSuccess: () => becomeIf("Subscribed") }),
      Effect.ensuring(Effect.sync(() => {
        this.probing = false
      }))
    )
    const suspect = Effect.sync(() => becomeIf("Unsubscribed")).pipe(
      Effect.delay(Duration.millis(Math.max(suspectAfterMillis, suspectAfterRoundTrips * this.roundTripMillis))),
      Effect.andThen(Effect.never)
    )
    return Effect.raceFirst(ping, Effect.interruptible(suspect))
  })
}
