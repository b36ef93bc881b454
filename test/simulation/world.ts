/** What a simulated world has in common: its time, its luck, its server, its processes and its trace. */
import type { Engine } from "../../src/internal/engine/engine.js"
import type { Flights } from "../../src/internal/engine/flights.js"
import type { Reply } from "../support/lua/interpreter.js"
import type { Connection } from "./connection.js"
import { FlightJudge } from "./flights/judge.js"
import { Judge } from "./judge.js"
import type { Process } from "./process.js"
import { PromptJudge } from "./promptJudge.js"
import type { Random } from "./random.js"
import * as RandomModule from "./random.js"
import type { StoreName } from "./server.js"
import { Server } from "./server.js"
import { SingletonJudge } from "./singletons.js"
import { Timeline } from "./timeline.js"

export interface Member {
  readonly process: Process
  /** For commands, and for messages. */
  readonly redis: Connection
  readonly pubSub: Connection
  readonly commandTimeoutMillis: number
  engine: Engine | undefined
  flights: Flights | undefined
}

/** A command and its reply, or a message and where it went. */
export interface Happening {
  readonly at: number
  readonly what: ReadonlyArray<string>
  readonly reply: Reply
}

export interface Violation {
  readonly invariant: string
  readonly what: string
}

export class World extends Timeline {
  readonly random: Random
  readonly judge: Judge
  readonly flights: FlightJudge
  readonly prompt: PromptJudge
  readonly singletons: SingletonJudge
  readonly server: Server
  readonly members: Array<Member> = []
  readonly trace: Array<string> = []
  /** What the server did, step by step: what the same seed is compared by on another store. */
  readonly history: Array<Happening> = []
  /** How much of that the same seed has on another store, too. */
  comparable = Infinity
  readonly counts = new Map<string, number>()
  violation: Violation | undefined
  /** No new work begins, and nothing goes wrong any more. */
  isClosing = false
  /** Nothing goes wrong at any time. */
  isCalm = false
  /** How often something happens to a message. */
  rates = { messageLost: 0, messageDoubled: 0, messageLate: 0 }
  /** One way. */
  latencyMillisMin = 0.05
  latencyMillisMax = 2
  /** How often a timer comes very late. */
  lateTimers = 0
  private numbers = 0

  constructor(readonly seed: number, store: StoreName, readonly isTraced: boolean) {
    super()
    this.random = RandomModule.make(seed)
    this.judge = new Judge(this)
    this.flights = new FlightJudge(this)
    this.singletons = new SingletonJudge(this)
    this.prompt = new PromptJudge(this)
    this.server = new Server(this, store)
  }

  log(who: string, text: () => string): void {
    if (this.isTraced) this.trace.push(`${this.now.toFixed(3).padStart(10)} ${who.padEnd(6)} ${text()}`)
  }

  count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1)
  }

  /** From here on something happens that only a store that plays scripts knows. */
  part(): void {
    this.comparable = Math.min(this.comparable, this.history.length)
  }

  nextNumber(): number {
    return ++this.numbers
  }

  /** The first one counts: what comes after it may be its consequence. */
  violate(invariant: string, what: string): void {
    this.violation ??= { invariant, what }
    this.log("JUDGE", () => `${invariant}: ${what}`)
  }

  latency(): number {
    return this.random.between(this.latencyMillisMin, this.latencyMillisMax)
  }

  timerLateness(): number {
    return this.random.chance(this.lateTimers) ? this.random.between(0, 120) : this.random.between(0, 1.5)
  }

  /** How late what comes late is: about a short lease, or more than any. */
  lateMillis(): number {
    return this.random.between(0, this.random.chance(0.5) ? 500 : 4_000)
  }

  reconnectMillis(): number {
    return this.random.chance(0.8) ? this.random.between(5, 100) : this.random.between(100, 2_000)
  }

  engineOf(process: Process): Engine | undefined {
    return this.members.find((member) => member.process === process)?.engine
  }

  /** The fibers of a process that was killed never end, and Effect keeps all fibers that have not: let it keep little. */
  forget(): void {
    this.clear()
    this.trace.length = 0
    this.history.length = 0
    this.members.length = 0
    this.judge.tokens.clear()
    this.flights.tokens.clear()
    this.flights.running.clear()
    this.flights.askers.clear()
    this.server.backend.clear()
  }
}
