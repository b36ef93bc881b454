/**
 * One run: some processes, each a real engine, on one server, with trouble. Then a time without any in which everybody
 * must be served, and an end after which nothing is left. All of it follows from the seed.
 */
import * as Edition from "#edition"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as FlightsModule from "../../src/internal/engine/flights.js"
import * as EngineModule from "../../src/internal/engine/make.js"
import * as Fanout from "../../src/internal/fanout.js"
import type { FlightStore } from "../../src/internal/flightStore.js"
import * as PayloadModule from "../../src/internal/outcome.js"
import { isError } from "../support/lua/interpreter.js"
import { canonical, parse } from "./asked.js"
import { Connection } from "./connection.js"
import { checkNothingLeft } from "./flights/ending.js"
import type { FlightHabits } from "./flights/workload.js"
import { FlightCaller, habitsOf } from "./flights/workload.js"
import * as Nemesis from "./nemesis.js"
import { Process } from "./process.js"
import type { StoreName } from "./server.js"
import * as Stores from "./stores.js"
import type { Habits } from "./workload.js"
import { Caller } from "./workload.js"
import type { Happening, Member, Violation } from "./world.js"
import { World } from "./world.js"

export interface Outcome {
  readonly seed: number
  readonly store: StoreName
  readonly violation: Violation | undefined
  readonly trace: ReadonlyArray<string>
  readonly steps: number
  readonly virtualMillis: number
  readonly counts: ReadonlyMap<string, number>
}

/** Trouble lasts that long. */
const troubleMillis = 12_000
/** And then everybody must be through by that time. */
const closingMillis = 60_000
/** So long may what has gone wrong before have consequences. */
const afterMillis = 5_000
/** Messages and copies that come late, leaves that are repeated, leases of the dead. */
const echoMillis = 18_000
const membersMax = 8
const stepsMax = 300_000

interface Running {
  readonly member: Member
  readonly scope: Scope.Closeable
  readonly fibers: Array<Fiber.Fiber<void, unknown>>
  closing: Fiber.Fiber<void> | undefined
}

class Simulation {
  readonly world: World
  readonly running: Array<Running> = []
  readonly habits: Habits
  readonly flightHabits: FlightHabits
  readonly does: "locks" | "flights" | "both"
  commandTimeoutMillis: number
  steps = 0
  healedAt = Infinity

  constructor(readonly seed: number, store: StoreName, isTraced: boolean) {
    this.world = new World(seed, store, isTraced)
    const { random } = this.world
    this.habits = {
      keys: random.pick([1, 1, 2]),
      ttls: random.pick([[300], [300, 900, 3_000], [900, 3_000], [3_000]]),
      idleMillis: random.pick([20, 300, 1_000]),
      holdMillis: random.pick([50, 400, 1_500]),
      limits: random.pick([[2], [3], [3, 3, 2]])
    }
    this.flightHabits = habitsOf(random)
    this.does = seed % 4 === 3 ? "flights" : seed % 8 === 0 ? "both" : "locks"
    this.commandTimeoutMillis = random.pick([300, 1_000])
    this.world.latencyMillisMax = random.pick([1, 5, 40, 200])
    if (seed % 16 === 5 || seed % 16 === 11) this.beCalm()
  }

  /** Nothing goes wrong. But the way is long, and a ttl may be shorter than that. */
  private beCalm(): void {
    const { random } = this.world
    this.world.isCalm = true
    const way = random.pick([20, 60, 170])
    this.world.latencyMillisMin = 0.9 * way
    this.world.latencyMillisMax = way
    Object.assign(this.habits, { ttls: random.pick([[100], [100, 3_000], [3_000]]) })
    Object.assign(this.flightHabits, { ttls: this.habits.ttls })
    this.commandTimeoutMillis = 1_000
  }

  start(): void {
    const { random } = this.world
    const number = this.world.members.length + 1
    // Less than a hundredth fast or slow, as promised.
    const process = new Process(this.world, `P${number}`, random.between(0.992, 1.008), random.between(1, 1e6))
    const redis = new Connection(this.world, process, "commands")
    const pubSub = new Connection(this.world, process, "messages")
    let tokens = 0
    const fiber = process.run(Effect.gen(function*(this: Simulation) {
      const scope = yield* Scope.make()
      const member: Member = {
        process,
        redis,
        pubSub,
        commandTimeoutMillis: this.commandTimeoutMillis,
        engine: undefined,
        flights: undefined
      }
      this.world.members.push(member)
      const store = yield* Scope.provide(
        Stores.make(this.world, process, redis, pubSub, this.commandTimeoutMillis),
        scope
      )
      const engine = yield* EngineModule.make({
        store,
        commandTimeout: Duration.millis(this.commandTimeoutMillis),
        tokens: { make: () => `${process.name}.${++tokens}`, isOwn: (token) => token.startsWith(`${process.name}.`) }
      }).pipe(Scope.provide(scope))
      member.engine = engine
      const running: Running = { member, scope, fibers: [], closing: undefined }
      this.running.push(running)
      const caller = new Caller(this.world, member, engine, this.habits, this.commandTimeoutMillis)
      const callers = 1 + random.index(3)
      for (let i = 0; i < callers && this.does !== "flights"; i++) {
        running.fibers.push(yield* Effect.forkDetach(caller.program))
      }
      if (this.does === "locks") return
      const flightCaller = yield* this.startFlights(member, store.flights, scope)
      for (let i = 0; i < callers; i++) running.fibers.push(yield* Effect.forkDetach(flightCaller.program))
    }.bind(this)))
    fiber.addObserver((exit) => {
      if (Exit.isFailure(exit)) this.world.violate("no defect", String(exit.cause))
    })
  }

  startFlights(member: Member, store: FlightStore, scope: Scope.Scope): Effect.Effect<FlightCaller> {
    const { commandTimeoutMillis, world } = this
    const { process } = member
    let tokens = 0
    return FlightsModule.make({
      store,
      commandTimeoutMillis,
      tokens: { make: () => `${process.name}.f${++tokens}`, isOwn: (token) => token.startsWith(`${process.name}.f`) },
      refused: PayloadModule.fanoutError("Refused", "Redis would not take it"),
      interrupted: PayloadModule.interrupted
    }).pipe(
      Scope.provide(scope),
      Effect.map((flights) => {
        member.flights = flights
        const defaults = { ttlMillis: 3_000, commandTimeoutMillis, retentionMillis: 1_000, maxPayloadBytes: 2 ** 20 }
        const service = Fanout.make(flights, defaults)
        return new FlightCaller(world, member, flights, service, this.flightHabits, commandTimeoutMillis)
      })
    )
  }

  readonly hands: Nemesis.Hands = {
    kill: ({ process, pubSub, redis }) => {
      this.world.log(process.name, () => "is killed")
      process.kill()
      // Its sockets are closed by the kernel, or nobody hears of it for a while.
      const { random } = this.world
      pubSub.cut(random.between(0, random.pick([1, 2_000])))
      if (random.chance(0.5)) redis.cut()
      this.replace()
    },
    close: (member) => {
      const one = this.running.find((running) => running.member === member)
      if (one === undefined || one.closing) return
      this.close(one)
      this.replace()
    }
  }

  replace(): void {
    if (this.world.members.length < membersMax) {
      this.world.after(this.world.random.between(1, 1_000), () => this.world.isClosing || this.start())
    }
  }

  close(one: Running): void {
    const { process } = one.member
    this.world.log(process.name, () => "closes")
    one.closing = process.run(Scope.close(one.scope, Exit.void))
  }

  get failed(): boolean {
    return this.world.violation !== undefined
  }

  /** Lets things happen until then, or until it is enough. */
  go(until: number, isEnough: () => boolean = () => false): void {
    while (this.world.now < until && !this.failed && !isEnough()) {
      if (!this.world.step()) {
        // Time goes on all the same: leases run out.
        this.world.now = until
        return
      }
      this.world.judge.afterStep()
      this.world.flights.afterStep()
      this.world.prompt.afterStep()
      if (this.world.now > this.healedAt + afterMillis) {
        this.world.judge.checkIdle()
        this.world.flights.checkIdle(this.healedAt)
      }
      if (++this.steps > stepsMax) this.world.violate("no endless loop", `${stepsMax} steps`)
    }
  }

  get living(): ReadonlyArray<Running> {
    return this.running.filter(({ member }) => member.process.state !== "dead")
  }

  run(): void {
    const { world } = this
    const count = 2 + world.random.index(3)
    for (let i = 0; i < count; i++) this.start()
    if (!world.isCalm) Nemesis.unleash(world, this.hands)
    this.go(troubleMillis)

    world.isClosing = true
    this.healedAt = world.now
    world.log("", () => "no more trouble")
    Nemesis.heal(world)
    const isIdle = () => this.living.every(({ fibers }) => fibers.every((fiber) => Edition.hasEnded(fiber)))
    // What the dead have lasts longer by what the clock was set back.
    const { backMillis } = world.server
    this.go(world.now + closingMillis + backMillis, isIdle)
    for (const { fibers, member } of this.living) {
      const left = fibers.filter((fiber) => !Edition.hasEnded(fiber)).length
      if (left > 0) world.violate("every caller settles", `${left} of ${member.process.name} have not`)
    }
    if (this.failed) return
    world.after(echoMillis + backMillis, () => {})
    this.go(world.now + echoMillis + backMillis)
    world.log("", () => "everybody is through")
    world.judge.checkEmpty()
    checkNothingLeft(world)
    for (const one of this.living) {
      const leases = one.member.engine?.keeper.leases.size ?? 0
      if (leases > 0) world.violate("nothing is left", `${leases} leases in ${one.member.process.name}`)
      if (!one.closing) this.close(one)
    }
    this.go(world.now + 5_000)
    for (const { closing, member: { process } } of this.living) {
      if (closing !== undefined && !Edition.hasEnded(closing)) world.violate("closing ends", process.name)
      if (process.crowd.size() > 0) {
        world.violate("no fiber is left", `${process.crowd.size()} in ${process.name}`)
      }
    }
  }
}

export interface RunOptions {
  readonly store?: StoreName
  /** Without that, a world that fails is played once more. */
  readonly isTraced?: boolean
}

/** One world on one store. */
const play = (seed: number, store: StoreName, isTraced: boolean): Outcome & Pick<World, "history" | "comparable"> => {
  const simulation = new Simulation(seed, store, isTraced)
  simulation.run()
  const { steps, world } = simulation
  const { comparable, counts, now, violation } = world
  const outcome = { seed, store, violation, steps, virtualMillis: now, counts }
  const copy = { ...outcome, trace: [...world.trace], history: [...world.history], comparable }
  world.forget()
  return copy
}

export const run = (seed: number, { isTraced = false, store = "lua" }: RunOptions = {}): Outcome => {
  const outcome = play(seed, store, isTraced)
  return outcome.violation !== undefined && !isTraced ? play(seed, store, true) : outcome
}

/** The same world on both stores: it keeps all invariants on each, and has the same history. */
export const runBoth = (seed: number): Outcome => {
  const [memory, lua] = [play(seed, "memory", false), play(seed, "lua", false)]
  for (const { store, violation } of [memory, lua]) if (violation !== undefined) return run(seed, { store })
  const steps = memory.steps + lua.steps
  const length = Math.min(Math.max(memory.history.length, lua.history.length), lua.comparable)
  const at = Array.from({ length }, (_, i) => i).find((i) => !isSame(memory.history[i], lua.history[i]))
  if (at === undefined) return { ...lua, steps }
  if (mayDiffer(memory.history[at], lua.history[at])) {
    return { ...lua, steps, counts: new Map(lua.counts).set("histories that part", 1) }
  }
  const traces = [memory, lua].map(({ store }) => play(seed, store, true).trace)
  return { ...lua, steps, trace: traces[1]!, violation: firstDifference(traces[0]!, traces[1]!) }
}

/**
 * What has had its time is there until something is done about it (R33): a store that forgets by itself, and keys that
 * expire, need not do so at the same time. So a late finish may be accepted, a late leave may tell of it, and an outcome may
 * be read for longer than it must be.
 */
const mayDiffer = (memory: Happening | undefined, lua: Happening | undefined): boolean => {
  const verbs = [memory, lua].map((one) => one && parse(one.what)?.verb)
  if (verbs[1] !== "finish" && verbs[1] !== "fetch") return verbs[0] === "leaveFlight" && isMoved(lua)
  const words = [memory, lua].map((one) => Array.isArray(one?.reply) && one.reply[1])
  return words[0] !== words[1]
}

const isMoved = (one: Happening | undefined): boolean => one?.what[1]?.includes("\"moved\"") === true

const isSame = (one: Happening | undefined, other: Happening | undefined): boolean =>
  one !== undefined && other !== undefined && one.at === other.at && one.what.length === other.what.length &&
  one.what.every((word, i) => word === other.what[i]) && inWords(one) === inWords(other)

/** Of an error the code: where a script has failed only Redis can say. */
const inWords = ({ reply, what }: Happening): string =>
  isError(reply) ? reply.err.split(" ")[0]! : JSON.stringify(canonical(parse(what), reply))

const firstDifference = (memory: ReadonlyArray<string>, lua: ReadonlyArray<string>): Violation => {
  const at = memory.findIndex((line, i) => line !== lua[i])
  return { invariant: "same seed, same history", what: `line ${at}, memory:\n${memory[at]}\nand Lua:\n${lua[at]}` }
}

export const report = ({ seed, store, trace, violation }: Outcome): string =>
  [
    ...trace,
    "",
    `Seed ${seed} breaks "${violation?.invariant}": ${violation?.what}`,
    `Again: npm run simulate -- --seed ${seed} --store ${store}`
  ].join("\n")
