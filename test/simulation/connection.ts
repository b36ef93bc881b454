/**
 * One connection of a process, as the driver gives it: a client with the commands and events of ioredis that the library
 * uses. Commands of one connection arrive in the order they were sent. When it is cut, what was under way is lost, or kept
 * by the network and delivered at any later time; whatever has no answer yet is sent again on the next connection.
 */
import type { Client } from "../../src/internal/redis/driver.js"
import type { Reply } from "../support/lua/interpreter.js"
import { isError } from "../support/lua/interpreter.js"
import { Pending } from "./pending.js"
import type { Process } from "./process.js"
import { Stream } from "./stream.js"
import type { Item } from "./timeline.js"
import type { World } from "./world.js"

/** The name that the driver gives what a server says. */
class ReplyError extends Error {
  override readonly name = "ReplyError"
}

interface Call {
  readonly args: ReadonlyArray<string>
  readonly reply: Pending<unknown>
}

type Handler = (...args: ReadonlyArray<any>) => void

/** As a client that asks for text has it. */
const toValue = (reply: Reply): unknown =>
  Array.isArray(reply)
    ? reply.map(toValue)
    : typeof reply === "object" && reply !== null && "ok" in reply
    ? reply.ok
    : reply

export class Connection {
  status: "ready" | "connect" | "reconnecting" = "ready"
  /** Grows each time that it closes. */
  epoch = 0
  readonly toServer: Stream
  readonly toClient: Stream
  /** The connection is dead, and neither end has noticed. */
  isSilent = false
  private readonly unanswered = new Set<Call>()
  private readonly underWay = new Map<Item, Call>()
  private readonly handlers = new Map<string, Set<Handler>>()

  constructor(readonly world: World, readonly process: Process, readonly name: string) {
    this.toServer = new Stream(world)
    this.toClient = new Stream(world)
  }

  // SAFETY: what the library uses of it is here, and a test fails where it is not.
  readonly client = this as unknown as Client

  readonly options = { host: "server", port: 6379, db: 0 }
  /** Another one for each connection. */
  stream = this.makeStream()

  private makeStream() {
    return { destroy: () => this.cut(), cork: () => {}, uncork: () => {} }
  }

  on(event: string, handler: Handler): this {
    const handlers = this.handlers.get(event) ?? new Set()
    this.handlers.set(event, handlers.add(handler))
    return this
  }

  off(event: string, handler: Handler): this {
    this.handlers.get(event)?.delete(handler)
    return this
  }

  private emit(event: string, ...args: ReadonlyArray<unknown>): void {
    for (const handler of [...this.handlers.get(event) ?? []]) handler(...args)
  }

  readonly evalsha = (...args: ReadonlyArray<string | number>) => this.send("EVALSHA", ...args)
  readonly eval = (...args: ReadonlyArray<string | number>) => this.send("EVAL", ...args)
  readonly time = () => this.send("TIME")
  readonly ping = () => this.send("PING")
  readonly subscribe = (channel: string) => this.send("SUBSCRIBE", channel)
  readonly unsubscribe = (channel: string) => this.send("UNSUBSCRIBE", channel)

  private send(...args: ReadonlyArray<string | number>): Pending<unknown> {
    const call: Call = { args: args.map(String), reply: new Pending() }
    this.world.log(this.process.name, () => `sends ${this.world.server.describe(call.args)}`)
    this.unanswered.add(call)
    if (this.status === "ready") this.transmit(call)
    return call.reply
  }

  private transmit(call: Call): void {
    const { epoch } = this
    if (this.isSilent) return
    const item = this.world.at(this.toServer.arrival(), () => this.carryOut(item, call, epoch))
    this.underWay.set(item, call)
  }

  private carryOut(item: Item, call: Call, epoch: number): void {
    const { server } = this.world
    this.underWay.delete(item)
    server.arrive(() => {
      const reply = server.carryOut(call.args, this, epoch)
      if (epoch !== this.epoch || this.isSilent) return
      this.world.at(this.toClient.arrival(), () =>
        this.process.arrive(() => {
          if (epoch !== this.epoch || !this.unanswered.delete(call)) return
          this.world.log(this.process.name, () =>
            `hears of ${server.describe(call.args)}${server.show(call.args, reply)}`)
          if (isError(reply)) {
            call.reply.settle({ ok: false, error: new ReplyError(reply.err) })
          } else call.reply.settle({ ok: true, value: toValue(reply) })
        }))
    })
  }

  /** The server has something to say to this connection, which it believes to be that of the epoch. */
  hear(channel: string, message: string, epoch: number): void {
    const { random, rates } = this.world
    if (this.isSilent || random.chance(rates.messageLost)) return this.world.count("messages lost")
    const deliver = () =>
      this.process.arrive(() => {
        this.world.log(this.process.name, () => `hears ${message.slice(0, 100)}`)
        this.world.judge.onMessage(this.process, message)
        this.emit("message", channel, message)
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

  /** It is gone. The server may notice a good while later, and believes so long that somebody listens. */
  cut(serverNoticesAfter = this.world.latency()): void {
    const { epoch, process, world } = this
    if (this.status === "reconnecting") return
    this.status = "reconnecting"
    this.epoch++
    this.isSilent = false
    world.log(process.name, () => `loses its connection for ${this.name}`)
    this.toServer.reset()
    this.toClient.reset()
    for (const [item, call] of this.underWay) {
      item.cancelled = true
      if (call.args[0] !== "EVALSHA" && call.args[0] !== "EVAL" || !world.random.chance(0.5)) continue
      const late = world.after(world.lateMillis(), () => {
        world.count("late copies")
        this.carryOut(late, call, -1)
      })
    }
    this.underWay.clear()
    world.after(serverNoticesAfter, () => world.server.onClosed(this, epoch))
    world.after(0, () =>
      process.arrive(() => {
        this.emit("close")
        this.emit("reconnecting")
      }))
    this.reopen()
  }

  private reopen(): void {
    this.world.after(this.world.reconnectMillis(), () =>
      this.process.arrive(() => {
        if (!this.world.server.isUp) return this.reopen()
        this.status = "connect"
        this.stream = this.makeStream()
        this.emit("connect")
        this.shakeHands(this.epoch)
      }))
  }

  /** As long as it takes to ask the server how it is. */
  private shakeHands(epoch: number): void {
    this.world.after(this.world.latency() + this.world.latency(), () =>
      this.process.arrive(() => {
        if (epoch !== this.epoch) return
        this.status = "ready"
        this.world.log(this.process.name, () => `has a connection for ${this.name} again`)
        for (const call of this.unanswered) this.transmit(call)
        this.emit("ready")
      }))
  }
}
