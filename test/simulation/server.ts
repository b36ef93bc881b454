/**
 * The server: the memory store as it is in src, behind what can happen to a server. It adds what only a store with a network
 * in between needs: `notAfter` (R3), tombstones (R15), and that one subscribes.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Mailbox from "effect/Mailbox"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import type { FlightEvent, Stores } from "../../src/internal/flightStore.js"
import * as Model from "../../src/internal/memory/model.js"
import * as Memory from "../../src/internal/memory/store.js"
import type { InboxEvent, LeaveItem, Target } from "../../src/internal/store.js"
import type { World } from "./world.js"

export type Message = Exclude<InboxEvent | FlightEvent, { readonly _tag: "Subscribed" | "Unsubscribed" }>

/** What a command does when the server carries it out. `Late`: past its `notAfter`. */
export interface Command<A> {
  readonly text: string
  readonly inbox: string
  readonly run: (server: Server) => A
}

export const nameOf = ({ key, kind }: Target): string => `${kind}:${key}`

const run = <A, E>(effect: Effect.Effect<A, E>): A => Effect.runSync(Effect.orDie(effect))

/** Most commands say nothing, and a run of Effect for each would be a fifth of the simulation's time. */
const heard = <A>(inbox: Mailbox.ReadonlyMailbox<A>): Iterable<A> =>
  Option.contains(inbox.unsafeSize(), 0) ? [] : run(inbox.clear)

interface Ear {
  readonly store: Stores
  readonly scope: Scope.CloseableScope
  readonly hear: (message: Message) => void
}

const dayMillis = 86_400_000

export class Server {
  /** Its clock, before the world's. */
  offsetMillis = 20_000 * dayMillis
  isUp = true
  private busyUntil = 0
  /** What has arrived meanwhile. */
  private readonly backlog: Array<() => void> = []
  refusesUntil = 0
  /** It has no memory for what jobs produce, but for all else. */
  refusesOutcomesUntil = 0
  /** A key of a foreign type lies in the way of this target. */
  spoiled: string | undefined
  readonly memory: Memory.Server
  private readonly verbs = new Map<string, Stores>()
  private readonly ears = new Map<string, Ear>()

  constructor(readonly world: World) {
    const nanos = () => BigInt(Math.floor((world.now + this.offsetMillis) * 1000)) * 1000n
    const clock: Clock.Clock = {
      ...Clock.make(),
      unsafeCurrentTimeNanos: nanos,
      currentTimeNanos: Effect.sync(nanos)
    }
    this.memory = run(Effect.withClock(Memory.makeServer(dayMillis), clock))
  }

  nowMillis(): number {
    return Math.floor(this.world.now + this.offsetMillis)
  }

  reachable(inbox: string): boolean {
    return this.ears.has(inbox)
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

  /** The verbs of a process. Whether it is subscribed is another matter. */
  storeOf(inbox: string): Stores {
    const known = this.verbs.get(inbox)
    if (known) return known
    const { scope, store } = this.connect(inbox)
    run(Scope.close(scope, Exit.void))
    this.verbs.set(inbox, store)
    return store
  }

  private connect(inbox: string) {
    const scope = run(Scope.make())
    // Nobody waits on these mailboxes: they are emptied after each command.
    const idle = { shouldYield: () => false as const, scheduleTask: () => {} }
    const store = run(this.memory.connect(inbox).pipe(Scope.extend(scope), Effect.withScheduler(idle)))
    return { scope, store }
  }

  subscribe(inbox: string, hear: (message: Message) => void): void {
    this.unsubscribe(inbox)
    this.ears.set(inbox, { ...this.connect(inbox), hear })
  }

  unsubscribe(inbox: string): void {
    const ear = this.ears.get(inbox)
    if (ear === undefined) return
    this.ears.delete(inbox)
    run(Scope.close(ear.scope, Exit.void))
    this.world.judge.onDeaf(inbox)
  }

  /** One command, at once and whole. */
  execute<A>(command: Command<A>): A {
    const { judge } = this.world
    const result = command.run(this)
    for (const [inbox, { store }] of this.ears) {
      for (const event of [...heard(store.inbox), ...heard(store.flights.inbox)]) {
        if (event._tag !== "Subscribed" && event._tag !== "Unsubscribed") this.tell(inbox, event)
      }
    }
    judge.afterCommand()
    return result
  }

  /** A message, if somebody listens. */
  tell(inbox: string, message: Message): void {
    const ear = this.ears.get(inbox)
    if (ear === undefined) return
    this.world.log("server", () => `says ${message._tag} ${message.token} to ${inbox}`)
    this.world.judge.leases.onSaid(message)
    ear.hear(message)
  }

  lock(target: Target): Model.Lock {
    const lock = this.memory.locks.get(nameOf(target)) ?? Model.emptyLock()
    this.memory.locks.set(nameOf(target), lock)
    return lock
  }

  /** R15: the memory store needs none, because nothing of it comes late. */
  bury({ target, token }: LeaveItem, until: number): void {
    if (until <= this.nowMillis()) return
    const lock = this.lock(target)
    lock.tombstones.set(token, until)
    lock.nextDeath = Math.min(lock.nextDeath, until)
  }

  /** What a replica has of it now. */
  snapshot(): () => void {
    const copy = structuredClone(this.memory.locks)
    const flights = structuredClone(this.memory.flights)
    return () => {
      this.memory.locks.clear()
      this.memory.flights.clear()
      for (const [name, lock] of copy) this.memory.locks.set(name, lock)
      for (const [id, flight] of flights) this.memory.flights.set(id, flight)
    }
  }

  /** Every connection is gone with the process. */
  stop(): void {
    this.isUp = false
    this.backlog.length = 0
    for (const inbox of [...this.ears.keys()]) this.unsubscribe(inbox)
  }
}
