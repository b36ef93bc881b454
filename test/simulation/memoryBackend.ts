/**
 * The memory store as it is in src, behind the commands of the Redis store. It adds what only a store with a network in
 * between needs: `notAfter` (R3), and keys that expire (R21).
 */
import * as TestEdition from "#test-edition"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { inspect } from "node:util"
import type {
  Answer as FlightAnswer,
  FlightEvent,
  FlightStore,
  JoinAnswer,
  Stores
} from "../../src/internal/flightStore.js"
import type * as Key from "../../src/internal/key.js"
import { emptyFlight, isOver } from "../../src/internal/memory/flightModel.js"
import * as Model from "../../src/internal/memory/model.js"
import * as Memory from "../../src/internal/memory/store.js"
import type { AcquireAnswer, Answer, Holder, InboxEvent, Target } from "../../src/internal/store.js"
import { wrongType } from "../support/lua/database.js"
import type { Reply } from "../support/lua/interpreter.js"
import type { Asked } from "./asked.js"
import * as A from "./asked.js"
import type { Backend } from "./backend.js"
import type { Server } from "./server.js"

const run = <A, E>(effect: Effect.Effect<A, E>): A => Effect.runSync(Effect.orDie(effect))

/** The places of those that want to be settled again, from 1. */
const indices = (unsettled: ReadonlyArray<Target>, targets: ReadonlyArray<Target>): ReadonlyArray<number> => {
  const names = new Set(unsettled.map(A.nameOf))
  return targets.flatMap((target, i) => names.has(A.nameOf(target)) ? [i + 1] : [])
}

const first = (holder: Holder | undefined): ReadonlyArray<Reply> =>
  holder === undefined ? [-1, "0", ""] : [holder.endsMillis, String(holder.fence), holder.metadata]

const answerOf = (answer: Answer): ReadonlyArray<Reply> => {
  switch (answer._tag) {
    case "Held":
      return ["held", answer.remainingMillis, String(answer.fence)]
    case "Waiting":
      return ["waiting", answer.remainingMillis, String(answer.lastFence), answer.rank, ...first(answer.holder)]
    case "Gone":
      return ["gone"]
    case "Failed":
      return ["failed", answer.error.message]
  }
}

const acquireAnswerOf = (answer: Exclude<AcquireAnswer, { readonly _tag: "Refused" }>): ReadonlyArray<Reply> => {
  switch (answer._tag) {
    case "Granted":
      return ["granted", answer.remainingMillis, answer.fences.map(String)]
    case "Waiting":
      return ["waiting", answer.remainingMillis, String(answer.lastFence), answer.rank, ...first(answer.holder)]
    case "Gone":
      return ["gone"]
  }
}

const flightAnswerOf = (answer: JoinAnswer | FlightAnswer): ReadonlyArray<Reply> => {
  switch (answer._tag) {
    case "Leads":
      return ["leads", answer.remainingMillis, answer.followers]
    case "Follows":
      return ["follows", answer.remainingMillis, answer.leaderEndsMillis]
    case "Outcome":
      return ["outcome", String(answer.finishedAt), answer.payload]
    case "Stored":
      return ["stored", String(answer.finishedAt)]
    case "Kept":
      return ["kept", answer.payload]
    case "Gone":
      return ["gone"]
    case "Failed":
      return ["failed", answer.error.message]
  }
}

/** As the scripts put it, and src/internal/redis/wire.ts reads it. */
const eventOf = (event: Exclude<Said, { readonly _tag: "Outcome" }>): ReadonlyArray<string> => {
  switch (event._tag) {
    case "Granted":
    case "Revoked":
    case "Asked":
      return [event._tag.toLowerCase(), event.token, String(event.fence)]
    case "OverLimit":
      return ["overlimit", event.token, String(event.limit)]
    case "Stored":
      return ["stored", event.token, String(event.finishedAt)]
    case "Moved":
    case "Refused":
      return [event._tag.toLowerCase(), event.token]
  }
}

const messageOf = (...events: ReadonlyArray<Exclude<Said, { readonly _tag: "Outcome" }>>): string =>
  JSON.stringify({ v: 1, events: events.map(eventOf) })

const isOfFlight = ({ _tag }: Said): boolean => ["Outcome", "Stored", "Moved", "Refused"].includes(_tag)

type Said = Exclude<InboxEvent | FlightEvent, { readonly _tag: "Subscribed" | "Unsubscribed" }>

const isSaid = (event: InboxEvent | FlightEvent): event is Said =>
  event._tag !== "Subscribed" && event._tag !== "Unsubscribed"

type AskedTo<Verb> = Extract<Asked, { readonly verb: Verb }>

const dayMillis = 86_400_000

export class MemoryBackend implements Backend {
  readonly memory: Memory.Server
  private readonly verbs = new Map<string, Stores>()
  private readonly ears = new Map<string, Scope.Closeable>()
  private spoiled: string | undefined
  /** When the keys of a lock would expire. */
  private readonly keptUntil = new Map<string, number>()
  /** Until when a copy of the join may come that made a token's entry. */
  private readonly joinedUntil = new Map<string, number>()
  /** What the store has to say of the present command. */
  private said: Array<readonly [inbox: string, event: Said]> = []

  constructor(readonly server: Server) {
    // In the middle of its microsecond: a double has not room for all its digits.
    const millis = () => server.nowMicros() / 1000 + 0.0005
    this.memory = run(TestEdition.byClock(millis)(Memory.makeServer(dayMillis)))
  }

  private connect(inbox: string) {
    const scope = run(Scope.make())
    const store = run(Scope.provide(this.memory.connect(inbox), scope))
    // Nobody waits for these, and the order of what is said to several inboxes counts.
    this.memory.inboxes.set(inbox, (event) => void (isSaid(event) && this.said.push([inbox, event])))
    this.memory.flightInboxes.set(inbox, (event) => void (isSaid(event) && this.said.push([inbox, event])))
    return { scope, store }
  }

  /** The verbs of a process. Whether it is subscribed is another matter. */
  private storeOf(inbox: string): Stores {
    const known = this.verbs.get(inbox)
    if (known) return known
    const { scope, store } = this.connect(inbox)
    run(Scope.close(scope, Exit.void))
    this.verbs.set(inbox, store)
    return store
  }

  /** The memory store reaches who is connected: just those who are subscribed. */
  private listen(): void {
    for (const [inbox, scope] of this.ears) {
      if (this.server.isHeardBy(inbox)) continue
      this.ears.delete(inbox)
      run(Scope.close(scope, Exit.void))
    }
    for (const inbox of this.server.listeners()) {
      if (this.ears.has(inbox)) continue
      // Which comes and goes, and would take the ear with it.
      this.storeOf(inbox)
      this.ears.set(inbox, this.connect(inbox).scope)
    }
  }

  /** When somebody's time is over: so the scripts tell several. */
  private endsOf(asked: Asked): ReadonlyMap<string, number> {
    if (asked.verb === "revoke") {
      const { holders } = this.lock(A.nameOf(asked.target)) ?? Model.emptyLock()
      return new Map([...holders].map(([token, { until }]) => [token, until]))
    }
    const id = "part" in asked ? asked.part.id : asked.verb === "finish" ? asked.request.id : ""
    return new Map([...this.flight(id)?.followers ?? []].map(([token, { until }]) => [token, until]))
  }

  /** As the scripts do: one message an inbox of what concerns leases, one for each follower of a flight. */
  private publish(ends: ReadonlyMap<string, number>): void {
    const byEnd = (a: Said, b: Said): number =>
      ends.has(a.token) && ends.has(b.token)
        ? ends.get(a.token)! - ends.get(b.token)! || (a.token < b.token ? -1 : 1)
        : 0
    const said = this.said.sort(([, a], [, b]) => byEnd(a, b))
    this.said = []
    const leases = new Map<string, Array<Exclude<Said, { readonly _tag: "Outcome" }>>>()
    for (const [inbox, event] of said) {
      if (event._tag === "Outcome") {
        this.server.publish(inbox, `{"v":1,"ended":["${event.token}","${event.finishedAt}"]}\n${event.payload}`)
      } else if (isOfFlight(event)) {
        this.server.publish(inbox, messageOf(event))
      } else {
        leases.set(inbox, [...leases.get(inbox) ?? [], event])
      }
    }
    for (const [inbox, events] of leases) {
      for (let at = 0; at < events.length; at += 64) this.server.publish(inbox, messageOf(...events.slice(at, at + 64)))
    }
  }

  run(command: ReadonlyArray<string>): Reply {
    const asked = A.parse(command)!
    this.listen()
    this.said = []
    const ends = this.endsOf(asked)
    const names = A.targetsOf(asked).map(A.nameOf)
    for (const name of names) this.expireLock(name)
    const reply = this.carryOut(asked)
    for (const name of names) this.remember(name)
    this.publish(ends)
    return reply
  }

  /** As the keys of a lock on Redis, which last until the latest deadline that was ever in them (R21). */
  expire(): void {
    for (const name of this.memory.locks.keys()) this.expireLock(name)
  }

  private expireLock(name: string): void {
    const lock = this.memory.locks.get(name)
    if (lock === undefined || (this.keptUntil.get(name) ?? Infinity) > this.server.nowMillis()) return
    for (const entries of [lock.holders, lock.waiters, lock.tombstones]) entries.clear()
    lock.used = 0
    this.keptUntil.delete(name)
  }

  private remember(name: string): void {
    const { holders, tombstones, waiters } = this.memory.locks.get(name) ?? Model.emptyLock()
    const now = this.server.nowMillis()
    const known = this.keptUntil.get(name) ?? 0
    const spare = (until: number) => until <= known ? until : until + Math.floor((until - now) / 8)
    const ends = [
      ...[...holders.values()].map(({ until }) => until),
      ...[...waiters.values()].map(({ until }) => spare(until)),
      ...tombstones.values()
    ]
    if (ends.length === 0) this.keptUntil.delete(name)
    else this.keptUntil.set(name, Math.max(known, ...ends))
  }

  spoil(thing: { readonly kind: Key.Kind; readonly key: string }): void {
    this.spoiled = A.nameOf(thing)
  }

  unspoil(): void {
    this.spoiled = undefined
  }

  private isSpoiled(thing: { readonly kind: Key.Kind; readonly key: string }): boolean {
    return A.nameOf(thing) === this.spoiled
  }

  /** Whether what a command is about is another program's, when it is not one for several. */
  private isRefused(asked: Asked): boolean {
    switch (asked.verb) {
      case "acquire":
        return asked.request.claims.some((claim) => this.isSpoiled(claim))
      case "lower":
      case "revoke":
      case "inspect":
        return this.isSpoiled(asked.target)
      case "join":
      case "finish":
        return this.isSpoiled({ kind: "flight", key: asked.request.id })
      case "refuse":
      case "leaveFlight":
      case "fetch":
        return this.isSpoiled({ kind: "flight", key: asked.part.id })
      default:
        return false
    }
  }

  private carryOut(asked: Asked): Reply {
    const now = this.server.nowMillis()
    const store = this.storeOf("inbox" in asked ? asked.inbox : "")
    const digits = String(now)
    if ("notAfter" in asked && asked.verb !== "finish" && asked.notAfter <= now) {
      return asked.verb === "acquire" ? [digits, "late", []] : [digits, "late"]
    }
    if (this.isRefused(asked)) return { err: wrongType }
    switch (asked.verb) {
      case "acquire":
        return this.acquire(asked, store, digits)
      case "refresh":
        return this.refresh(asked, store, digits)
      case "leave":
        return this.leave(asked, store, digits)
      case "lower": {
        const { answer, unsettled } = run(store.lower(asked.target, asked.token, asked.permits))
        return [digits, indices(unsettled, [asked.target]), answerOf(answer)]
      }
      case "revoke": {
        const { answer, unsettled } = run(store.revoke(asked.target, asked.fence, asked.asks))
        return [digits, indices(unsettled, [asked.target]), answer]
      }
      case "inspect": {
        const { holders, lastFence, limit, used, waiting } = run(store.inspect(asked.target))
        return [
          digits,
          [limit, used, waiting, String(lastFence)],
          holders.map((one) => [String(one.fence), one.permits, one.limit, one.remainingMillis, one.metadata])
        ]
      }
      default:
        return this.onFlights(asked, store, digits)
    }
  }

  private refresh({ items, subscribed, targets }: AskedTo<"refresh">, store: Stores, digits: string): Reply {
    const fine = targets.filter((target) => !this.isSpoiled(target))
    const wanted = items.filter(({ target }) => !this.isSpoiled(target))
    const { answer, unsettled } = run(store.refresh({ items: wanted, subscribed, also: fine }))
    const answers = answer.map(answerOf).values()
    const all = items.map(({ target }) => this.isSpoiled(target) ? ["failed", wrongType] : answers.next().value!)
    return [digits, indices(unsettled, targets), all]
  }

  private leave({ items, targets }: AskedTo<"leave">, store: Stores, digits: string): Reply {
    const wanted = items.filter(({ target }) => !this.isSpoiled(target))
    // R15: with their tombstones, which a store that nothing reaches late has no need of.
    const { answer, unsettled } = run(store.leave(wanted))
    const words = answer.map((one) => one._tag === "Left" ? one.was.toLowerCase() : one.error.message).values()
    const all = items.map(({ target }) => this.isSpoiled(target) ? `failed ${wrongType}` : words.next().value!)
    return [digits, indices(unsettled, targets), all]
  }

  private acquire({ request }: AskedTo<"acquire">, store: Stores, digits: string): Reply {
    const { answer, formerLimits, unsettled } = run(store.acquire(request))
    const place = (name: string) => request.claims.findIndex((claim) => A.nameOf(claim) === name) + 1
    const [what = "", ...said]: ReadonlyArray<Reply> = answer._tag === "Refused"
      ? [
        "refused",
        answer.blockers.map(({ holder, key }) => [
          request.claims.findIndex((one) => one.key === key) + 1,
          ...first(holder)
        ])
      ]
      : acquireAnswerOf(answer)
    const formers = formerLimits.map(({ claim, limit }) => [place(A.nameOf(claim)), limit])
    return [digits, what, indices(unsettled, request.claims), ...said, ...formers.length > 0 ? [formers] : []]
  }

  private onFlights(
    asked: AskedTo<"join" | "refreshFlights" | "finish" | "refuse" | "leaveFlight" | "fetch">,
    { flights }: Stores,
    digits: string
  ): Reply {
    switch (asked.verb) {
      case "join":
        return [digits, ...flightAnswerOf(this.join(asked, flights))]
      case "refreshFlights":
        return [
          digits,
          asked.items.map((item) =>
            this.isSpoiled({ kind: "flight", key: item.id })
              ? ["failed", wrongType]
              : flightAnswerOf(this.burying(item.id, () => run(flights.refresh([item]))[0]!))
          )
        ]
      case "finish":
        return [digits, this.finish(asked, flights) ? "accepted" : "superseded"]
      case "leaveFlight":
        this.burying(asked.part.id, () => run(flights.leave(asked.part)), asked.buriedUntil)
        return [digits]
      case "fetch":
        return [digits, ...flightAnswerOf(run(flights.fetch(asked.part)))]
      case "refuse":
        this.refuse(asked.part)
        return [digits]
    }
  }

  private join({ notAfter, request }: AskedTo<"join">, flights: FlightStore): JoinAnswer {
    const { id, token } = request
    const isCopy = (this.joinedUntil.get(token) ?? 0) > this.server.nowMillis()
    if (!isCopy && !this.hasPart(request)) this.joinedUntil.set(token, notAfter)
    const answer = this.burying(id, () => run(flights.join(request)))
    const followers = this.memory.flights.get(id)?.followers
    const follower = followers?.get(token)
    // The next command may be what buries it.
    if (follower) followers?.set(token, { ...follower, notAfter: this.joinedUntil.get(token)! })
    return answer
  }

  private hasPart({ id, token }: A.Part): boolean {
    const { done, followers, leader, served } = this.memory.flights.get(id) ?? emptyFlight()
    const isFollower = (followers.get(token)?.until ?? 0) > this.server.nowMillis()
    return leader?.token === token || isFollower || served.has(token) || done.has(token)
  }

  /**
   * R36: what is buried stays so as long as on Redis, until no copy of its own join may come. Then whoever has heard of its
   * join nothing but that it was late may send it again, with a later end. The memory store knows no ends of its own: it has
   * one time for all marks.
   */
  private burying<A>(id: string, step: () => A, leftUntil = 0): A {
    const before = new Map(this.memory.flights.get(id)?.buried)
    const result = step()
    const buried = this.memory.flights.get(id)?.buried
    for (const token of buried?.keys() ?? []) {
      const known = before.get(token) ?? 0
      const own = Math.max(this.joinedUntil.get(token) ?? 0, leftUntil)
      buried?.set(token, known > this.server.nowMillis() ? known : own)
    }
    return result
  }

  /** R33: the mark stands as long as on Redis, where a copy may come later than any here. */
  private finish({ notAfter, request }: AskedTo<"finish">, flights: FlightStore): boolean {
    const { id, keepMillis, retentionMillis, token } = request
    const now = this.server.nowMillis()
    const before = this.memory.flights.get(id)
    const isCopy = before?.done.has(token) === true
    const served = [...before?.followers.values() ?? []].some(({ until }) => until > now)
    const accepted = this.burying(id, () => run(flights.finish(request)))
    const until = Math.max(
      this.joinedUntil.get(token) ?? 0,
      notAfter,
      now + keepMillis,
      served ? now + retentionMillis : 0
    )
    if (accepted && !isCopy) this.memory.flights.get(id)?.done.set(token, until)
    return accepted
  }

  /** R38: only deletes. The memory store needs none, because it refuses nothing. */
  private refuse({ id, token }: A.Part): void {
    const flight = this.memory.flights.get(id)
    if (flight?.leader?.token !== token) return
    flight.leader = undefined
    const followers = [...flight.followers]
    flight.followers.clear()
    for (const [token, { inbox, until }] of followers) {
      if (until > this.server.nowMillis()) this.said.push([inbox, { _tag: "Refused", token }])
    }
  }

  lock(name: string) {
    return this.memory.locks.get(name)
  }

  lockNames() {
    return this.memory.locks.keys()
  }

  flight(id: string) {
    return this.memory.flights.get(id)
  }

  flightsLeft(): ReadonlyArray<string> {
    const now = this.server.nowMillis()
    return [...this.memory.flights].flatMap(([id, flight]) => isOver(flight, now) ? [] : [`${id}: ${inspect(flight)}`])
  }

  snapshot(): () => void {
    const { flights, locks } = this.memory
    const copy = structuredClone({ flights, locks, keptUntil: this.keptUntil })
    return () => {
      this.clear()
      for (const [name, until] of copy.keptUntil) this.keptUntil.set(name, until)
      for (const [name, lock] of copy.locks) locks.set(name, lock)
      for (const [id, flight] of copy.flights) flights.set(id, flight)
    }
  }

  clear(): void {
    this.memory.locks.clear()
    this.memory.flights.clear()
    this.keptUntil.clear()
  }
}
