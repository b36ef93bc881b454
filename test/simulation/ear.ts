/**
 * The subscriber connection of one process. The server knows whether somebody is subscribed; the process knows whether it
 * heard the acknowledgement. Either may be wrong for a while.
 */
import * as Effect from "effect/Effect"
import type * as Mailbox from "effect/Mailbox"
import type { FlightEvent } from "../../src/internal/flightStore.js"
import type { InboxEvent } from "../../src/internal/store.js"
import { Stream } from "./link.js"
import type { Process } from "./process.js"
import type { Message } from "./server.js"
import type { World } from "./world.js"

/** As src/internal/redis/subscriber.ts has it. */
const suspectAfterMillis = 300

export class Ear {
  epoch = 0
  readonly toClient: Stream
  /** The connection is dead, and neither end has noticed. */
  isSilent = false
  private state: "Subscribed" | "Unsubscribed" = "Unsubscribed"
  private acknowledgedIn = -1
  private probing = false

  constructor(
    readonly world: World,
    readonly process: Process,
    readonly inbox: Mailbox.Mailbox<InboxEvent>,
    readonly flightInbox: Mailbox.Mailbox<FlightEvent>,
    readonly commandTimeoutMillis: number
  ) {
    this.toClient = new Stream(world)
    this.subscribe()
  }

  private subscribe(): void {
    const { epoch, process, world } = this
    world.after(world.latency(), () => {
      if (epoch !== this.epoch || process.state === "dead") return
      if (!world.server.isUp) {
        return void world.after(world.reconnectMillis(), () => process.arrive(() => this.subscribe()))
      }
      world.server.subscribe(process.name, (message) => this.hear(message, epoch))
      world.log("server", () => `has ${process.name} subscribed`)
      world.at(this.toClient.arrival(), () =>
        process.arrive(() => {
          if (epoch !== this.epoch) return
          this.acknowledgedIn = epoch
          this.become("Subscribed")
        }))
    })
  }

  private become(state: typeof this.state): void {
    if (this.state === state) return
    this.state = state
    this.world.log(this.process.name, () => state)
    this.inbox.unsafeOffer({ _tag: state })
    this.flightInbox.unsafeOffer({ _tag: state })
  }

  private hear(message: Message, epoch: number): void {
    const { random, rates } = this.world
    if (this.isSilent || random.chance(rates.messageLost)) return this.world.count("messages lost")
    const deliver = () =>
      this.process.arrive(() => {
        this.world.log(this.process.name, () => `hears ${message._tag} ${message.token}`)
        this.world.judge.leases.onHeard(this.process, message)
        this.pass(message)
      })
    if (random.chance(rates.messageDoubled)) {
      this.world.count("messages doubled")
      this.world.after(this.world.lateMillis(), deliver)
    }
    if (random.chance(rates.messageLate)) {
      this.world.count("messages late")
      this.world.after(this.world.lateMillis(), deliver)
    } else {
      this.world.at(this.toClient.arrival(), () => {
        if (epoch === this.epoch) deliver()
      })
    }
  }

  private pass(message: Message): void {
    switch (message._tag) {
      case "Outcome":
        this.world.flights.onOutcome(message.token, message.payload, "sent")
        return void this.flightInbox.unsafeOffer(message)
      case "Stored":
      case "Moved":
      case "Refused":
        return void this.flightInbox.unsafeOffer(message)
      default:
        return void this.inbox.unsafeOffer(message)
    }
  }

  /** The connection is gone. The server may notice a good while later, and believes so long that somebody listens. */
  lose(serverNoticesAfter = this.world.latency()): void {
    const { epoch, process, world } = this
    this.epoch++
    this.isSilent = false
    this.toClient.reset()
    world.after(serverNoticesAfter, () => {
      // The next subscription may have taken its place.
      if (epoch + 1 === this.epoch && this.acknowledgedIn !== this.epoch) world.server.unsubscribe(process.name)
    })
    world.after(world.latency(), () =>
      process.arrive(() => {
        if (this.epoch !== epoch + 1) return
        this.become("Unsubscribed")
        world.after(world.reconnectMillis(), () => process.arrive(() => this.subscribe()))
      }))
  }

  /** A PING on the subscriber connection. */
  readonly probe: Effect.Effect<void> = Effect.async<void>((resume) => {
    const { epoch } = this
    if (this.probing || this.acknowledgedIn !== epoch) return resume(Effect.void)
    this.probing = true
    const isSame = () => epoch === this.epoch
    const cancelSuspicion = this.process.timer(suspectAfterMillis, () => {
      if (isSame()) this.become("Unsubscribed")
    })
    const cancelEnd = this.process.timer(this.commandTimeoutMillis, () => {
      done()
      if (isSame()) this.lose()
    })
    const done = (): void => {
      this.probing = false
      cancelSuspicion()
      cancelEnd()
      resume(Effect.void)
    }
    if (!this.isSilent) {
      this.world.after(this.world.latency(), () => {
        if (!isSame() || this.isSilent || !this.world.server.isUp) return
        this.world.at(this.toClient.arrival(), () =>
          this.process.arrive(() => {
            if (!isSame()) return
            done()
            this.become("Subscribed")
          }))
      })
    }
    return Effect.sync(done)
  })
}
