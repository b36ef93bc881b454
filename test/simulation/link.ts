/**
 * The command connection of one process, as a driver that re-sends gives it. Commands of one connection arrive in the
 * order they were sent. When it is cut, what was under way is lost, or kept by the network and delivered at any later
 * time; whatever has no answer yet is sent again on the next connection.
 */
import * as Effect from "effect/Effect"
import { BackendError } from "../../src/DlockError.js"
import type { Process } from "./process.js"
import type { Command } from "./server.js"
import type { Item } from "./timeline.js"
import type { World } from "./world.js"

/** One direction of a connection. */
export class Stream {
  /** Nothing gets through before. */
  heldUntil = 0
  private last = 0

  constructor(readonly world: World) {}

  /** When what is sent now arrives: after everything that was sent before. */
  arrival(): number {
    this.last = Math.max(this.world.now + this.world.latency(), this.last, this.heldUntil)
    return this.last
  }

  reset(): void {
    this.heldUntil = 0
    this.last = 0
  }
}

interface Call {
  readonly command: Command<any>
  readonly sentAt: number
  readonly settle: (failure: Failure) => void
  readonly receive: (value: any, serverMillis: number) => void
}

type Failure = Pick<BackendError, "reason" | "outcome">

export class Link {
  /** Grows each time the connection closes. */
  epoch = 0
  isOpen = true
  readonly toServer: Stream
  readonly toClient: Stream
  private readonly unanswered = new Set<Call>()
  private readonly underWay = new Map<Item, Call>()

  constructor(readonly world: World, readonly process: Process, readonly commandTimeoutMillis: number) {
    this.toServer = new Stream(world)
    this.toClient = new Stream(world)
  }

  /** `read` is called when the reply comes in time, even when the caller has gone. */
  exchange<A, B>(
    operation: string,
    make: () => Command<A>,
    read: (value: A, serverMillis: number, sentAt: number) => Effect.Effect<B, BackendError>
  ): Effect.Effect<B, BackendError> {
    return Effect.async((resume) => {
      const sentAt = this.process.now()
      let isSettled = false
      const done = (effect: Effect.Effect<B, BackendError>): void => {
        if (isSettled) return
        isSettled = true
        cancel()
        resume(effect)
      }
      const call: Call = {
        command: make(),
        sentAt,
        settle: (failure) => done(Effect.fail(new BackendError({ operation, ...failure, cause: new Error("faulty") }))),
        receive: (value, serverMillis) => {
          if (!isSettled) done(read(value, serverMillis, sentAt))
        }
      }
      const cancel = this.process.timer(this.commandTimeoutMillis, () => {
        call.settle({ reason: "Timeout", outcome: "Unknown" })
        // Half-open.
        this.cut()
      })
      this.world.log(this.process.name, () => `sends ${call.command.text}`)
      this.unanswered.add(call)
      if (this.isOpen) this.transmit(call)
    })
  }

  private transmit(call: Call): void {
    const { epoch } = this
    const item = this.world.at(this.toServer.arrival(), () => this.carryOut(item, call, epoch))
    this.underWay.set(item, call)
  }

  private carryOut(item: Item, call: Call, epoch: number): void {
    const { server } = this.world
    this.underWay.delete(item)
    server.arrive(() => {
      const refused = server.refusesUntil > this.world.now
      const serverMillis = server.nowMillis()
      const value = refused ? undefined : server.execute(call.command)
      this.world.log("server", () => `${refused ? "refuses" : "carries out"} ${call.command.text}${answerText(value)}`)
      if (epoch !== this.epoch) return
      this.world.at(this.toClient.arrival(), () =>
        this.process.arrive(() => {
          if (epoch !== this.epoch || !this.unanswered.delete(call)) return
          this.world.log(this.process.name, () => `hears of ${call.command.text}${answerText(value)}`)
          if (refused) call.settle({ reason: "Refused", outcome: "NotApplied" })
          else call.receive(value, serverMillis)
        }))
    })
  }

  cut(): void {
    if (!this.isOpen) return
    this.isOpen = false
    this.epoch++
    this.world.log(this.process.name, () => "loses its connection")
    this.toServer.reset()
    this.toClient.reset()
    const { random } = this.world
    for (const [item, call] of this.underWay) {
      item.cancelled = true
      if (!random.chance(0.5)) continue
      const late = this.world.after(this.world.lateMillis(), () => {
        this.world.count("late copies")
        this.carryOut(late, call, -1)
      })
    }
    this.underWay.clear()
    this.reopen()
  }

  private reopen(): void {
    this.world.after(this.world.reconnectMillis(), () =>
      this.process.arrive(() => {
        if (!this.world.server.isUp) return this.reopen()
        this.isOpen = true
        this.world.log(this.process.name, () => "has a connection again")
        for (const call of this.unanswered) this.transmit(call)
      }))
  }
}

const answerText = (value: unknown): string => value === undefined ? "" : ` => ${JSON.stringify(value, shortened)}`

const shortened = (_: string, value: unknown): unknown => typeof value === "string" ? value.slice(0, 80) : value
