/** The server of a world: what can happen to one, around the memory store or around Redis' own Lua. */
import type { Reply } from "../support/lua/interpreter.js"
import { isError } from "../support/lua/interpreter.js"
import * as Asked from "./asked.js"
import type { Backend } from "./backend.js"
import type { Connection } from "./connection.js"
import { LuaBackend } from "./luaBackend.js"
import { MemoryBackend } from "./memoryBackend.js"
import type { CallRefusal } from "./refusals.js"
import type { World } from "./world.js"

export type StoreName = "memory" | "lua"

/** Where a connection listens, while the server believes that it is that of the epoch. */
interface Ear {
  readonly connection: Connection
  readonly epoch: number
}

const dayMillis = 86_400_000

const refusal = (words: string): Reply => ({ err: words })

export class Server {
  /** Its clock, before the world's. */
  offsetMillis = 20_000 * dayMillis
  /** By how much that was set back so far. */
  backMillis = 0
  isUp = true
  private busyUntil = 0
  /** What has arrived meanwhile. */
  private readonly backlog: Array<() => void> = []
  /** It refuses everything, in these words. */
  refusesUntil = 0
  refusesWith = ""
  /** It refuses some calls of scripts, or has no memory left: only where scripts are played. */
  callRefusal: CallRefusal | undefined
  fullUntil = 0
  /** A call of the present command was refused. */
  isHalfDone = false
  /** It has no memory for what jobs produce, but for all else. */
  refusesOutcomesUntil = 0
  readonly backend: Backend
  /** The scripts that it knows, by their hash. */
  readonly scripts = new Set<string>()
  private readonly ears = new Map<string, Ear>()

  constructor(readonly world: World, store: StoreName) {
    this.backend = store === "lua" ? new LuaBackend(this) : new MemoryBackend(this)
  }

  nowMicros(): number {
    return Math.floor((this.world.now + this.offsetMillis) * 1_000)
  }

  nowMillis(): number {
    return Math.floor(this.nowMicros() / 1_000)
  }

  /** What has expired by now is gone, whatever the clock says afterwards. */
  stepBack(millis: number): void {
    this.backend.expire()
    this.world.judge.onStepBack()
    this.offsetMillis -= millis
    this.backMillis += millis
    this.world.flights.onStep()
    // What one store has forgotten of a flight, and the other not yet, counts again.
    if (this.world.flights.tokens.size > 0) this.world.part()
    this.world.log("server", () => `sees its clock step back by ${millis} ms`)
  }

  /** It is paused, or busy with something else. */
  stall(millis: number): void {
    this.busyUntil = Math.max(this.busyUntil, this.world.now + millis)
    this.world.at(this.busyUntil, () => this.catchUp())
  }

  private catchUp(): void {
    while (this.busyUntil <= this.world.now) {
      const run = this.backlog.shift()
      if (run === undefined) return
      run()
    }
  }

  /** A command reaches the server, which carries out what came before first. */
  arrive(run: () => void): void {
    if (!this.isUp) return
    this.backlog.push(run)
    this.catchUp()
  }

  // --------------------------------------------------------------------------------------------- who is subscribed

  isHeardBy(channel: string): boolean {
    return this.ears.has(channel)
  }

  listeners(): Iterable<string> {
    return this.ears.keys()
  }

  /** Says it to whoever is subscribed. Returns how many that are. */
  publish(channel: string, message: string): number {
    const ear = this.ears.get(channel)
    if (ear === undefined) return 0
    this.world.history.push({ at: this.world.now, what: [channel, message], reply: null })
    this.world.log("server", () => `says ${message.slice(0, 100)} to ${channel}`)
    this.world.judge.onSaid(message)
    ear.connection.hear(channel, message, ear.epoch)
    return 1
  }

  private subscribe(channel: string, connection: Connection, epoch: number): void {
    this.ears.set(channel, { connection, epoch })
    this.world.log("server", () => `has ${connection.process.name} subscribed`)
  }

  private unsubscribe(channel: string): void {
    if (this.ears.delete(channel)) this.world.judge.onDeaf(channel)
  }

  /** It hears that the connection of that epoch is closed. */
  onClosed(connection: Connection, epoch: number): void {
    for (const [channel, ear] of this.ears) {
      if (ear.connection === connection && ear.epoch <= epoch) this.unsubscribe(channel)
    }
  }

  // -------------------------------------------------------------------------------------------------- what it does

  /** One command, at once and whole. */
  carryOut(command: ReadonlyArray<string>, connection: Connection, epoch: number): Reply {
    this.isHalfDone = false
    const reply = this.reply(command, connection, epoch)
    this.world.history.push({ at: this.world.now, what: command, reply })
    this.world.log("server", () => `carries out ${this.describe(command)}${this.show(command, reply)}`)
    this.world.judge.afterCommand()
    return reply
  }

  private reply(command: ReadonlyArray<string>, connection: Connection, epoch: number): Reply {
    const [name = "", text = ""] = command
    if (this.refusesUntil > this.world.now) return refusal(this.refusesWith)
    switch (name) {
      case "PING":
        return { ok: "PONG" }
      case "TIME": {
        const micros = this.nowMicros()
        return [String(Math.floor(micros / 1_000_000)), String(micros % 1_000_000)]
      }
      case "SUBSCRIBE":
        this.subscribe(text, connection, epoch)
        return 1
      case "UNSUBSCRIBE":
        this.unsubscribe(text)
        return 0
      case "EVALSHA":
        return this.scripts.has(text)
          ? this.runScript(command)
          : refusal("NOSCRIPT No matching script. Please use EVAL.")
      case "EVAL":
        this.scripts.add(Asked.scriptOf(command)!.sha)
        return this.runScript(command)
      default:
        throw new Error(`No command is named ${name}`)
    }
  }

  /** What it does from here on, only a store that plays scripts can. */
  onCallRefused(name: string): void {
    this.isHalfDone = true
    this.world.part()
    this.world.count("calls of scripts refused")
    this.world.log("server", () => `refuses ${name}`)
  }

  private runScript(command: ReadonlyArray<string>): Reply {
    const asked = Asked.parse(command)!
    if (asked.verb === "finish" && this.refusesOutcomesUntil > this.world.now) {
      return refusal("OOM command not allowed when used memory > 'maxmemory'.")
    }
    return this.world.judge.onCommand(asked, () => this.backend.run(command))
  }

  describe(command: ReadonlyArray<string>): string {
    const asked = Asked.parse(command)
    return asked === undefined ? command.join(" ") : `${Asked.describe(asked)}${command[0] === "EVAL" ? ", whole" : ""}`
  }

  show(command: ReadonlyArray<string>, reply: Reply): string {
    if (isError(reply)) return ` => ${reply.err.split(" ")[0]}`
    return ` => ${JSON.stringify(Asked.canonical(Asked.parse(command), reply), shortened)}`
  }

  // ------------------------------------------------------------------------------------------- what happens to it

  /** Every connection is gone with the process. */
  stop(): void {
    this.isUp = false
    this.backlog.length = 0
    this.scripts.clear()
    for (const channel of [...this.ears.keys()]) this.unsubscribe(channel)
  }
}

const shortened = (_: string, value: unknown): unknown => typeof value === "string" ? value.slice(0, 80) : value
