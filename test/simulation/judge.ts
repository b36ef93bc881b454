/**
 * What must be true, whatever happens. Everything is watched from outside: what the server has, what each engine believes
 * to hold, what callers are given.
 *
 * A fault that no lease can withstand (lost data, a stepped clock, a suspended machine: docs/guarantees.md) taints the
 * tokens that existed then: their holds may overlap with others. Their fences must still be in order.
 */
import * as Option from "effect/Option"
import type { Lease } from "../../src/internal/engine/lease.js"
import * as L from "../../src/internal/engine/lease.js"
import type { FlightMessage, LeaseMessage } from "../../src/internal/redis/wire.js"
import * as Wire from "../../src/internal/redis/wire.js"
import type { AcquireRequest, Failed, LeaveItem, Left, RefreshItem, Target } from "../../src/internal/store.js"
import type { Reply } from "../support/lua/interpreter.js"
import { isError } from "../support/lua/interpreter.js"
import type { Asked } from "./asked.js"
import { nameOf, targetsOf } from "./asked.js"
import type { LockView, RedisKey } from "./backend.js"
import { LeaseJudge } from "./leaseJudge.js"
import type { Process } from "./process.js"
import type { World } from "./world.js"

type AskedTo<Verb> = Extract<Asked, { readonly verb: Verb }>

const emptyLock: LockView = { limit: 1, used: 0, holders: new Map(), waiters: new Map(), tombstones: new Map() }

/** The targets that want to be settled again, of those whose places, from 1, a script has replied. */
const unsettledOf = (places: Reply | undefined, targets: ReadonlyArray<Target>): ReadonlyArray<Target> =>
  Array.isArray(places) ? places.map((place) => targets[Number(place) - 1]!) : []

/** Whether what a script has replied for each of several says that one failed. */
const isFailed = (answers: Reply | undefined, i: number): boolean => {
  const answer = Array.isArray(answers) ? answers[i] : undefined
  return String(Array.isArray(answer) ? answer[0] : answer).startsWith("failed")
}

interface Token {
  readonly process: Process
  tainted: boolean
  /** What was taken from it by force, or evicted. */
  readonly taken: Set<string>
  /** Its leave was sent. */
  left: boolean
  /** Of what was asked for, or what told of it was evicted: what it keeps need not be kept. */
  readonly asked: Set<string>
  /** How often. */
  leaves: number
  /** The answer to the first was that there was nothing to leave. */
  wasLost: boolean
  /** The targets of which it was told that its leave was carried out. */
  readonly gone: Set<string>
  /** From then on, by the server's clock, the copy of its acquire that came last is refused (R3). */
  notAfter: number
  /** The latest time that the server's clock had shown before it went back. */
  shownMillis: number
}

/** A waiter as it arrived at the server. */
interface Arrival {
  readonly token: string
  /** Since its last heartbeat the server could always tell it of a grant. */
  reachable: boolean
}

interface Watched {
  /** The most that was ever asked for. Lowering the limit takes nothing from those who hold (R12). */
  limit: number
  lastFence: number
  /** The server may have forgotten it. Then the next goes on from its clock. */
  isForgotten: boolean
  /** And that was behind: what was granted before has higher fences than what came later. */
  isBehind: boolean
  /** Those that a token was granted with: a stale replica may grant again. */
  readonly fences: Map<string, ReadonlyArray<number>>
  readonly grantedAt: Map<string, number>
  arrivals: Array<Arrival>
  /** The highest fence of a hold of so many permits that a caller was given. */
  readonly given: Map<number, number>
  /** The fence of the last write to the resource behind the lock. */
  written: number
  /** Since when the head of the queue could be granted, and is not. */
  idleSince: number | undefined
}

/** In a world without faults, a free permit finds the first who waits for it within that time. */
const idleMillisMax = 2_000

const eventsOf = (message: string): ReadonlyArray<LeaseMessage | FlightMessage> =>
  Option.getOrElse(Wire.decode(message), () => [])

export class Judge {
  readonly tokens = new Map<string, Token>()
  readonly leases: LeaseJudge
  private readonly watched = new Map<string, Watched>()

  constructor(readonly world: World) {
    this.leases = new LeaseJudge(world, this)
  }

  private watch(name: string): Watched {
    const known = this.watched.get(name)
    if (known) return known
    const made: Watched = {
      limit: 0,
      lastFence: 0,
      isForgotten: false,
      isBehind: false,
      fences: new Map(),
      grantedAt: new Map(),
      arrivals: [],
      given: new Map(),
      written: 0,
      idleSince: undefined
    }
    this.watched.set(name, made)
    return made
  }

  /** The tokens of that process, or of all, are not promised anything from now on but the order of their fences. */
  taint(process?: Process): void {
    this.world.flights.taint(process)
    for (const token of this.tokens.values()) {
      if (process === undefined || token.process === process) token.tainted = true
    }
  }

  isTainted(token: string, name: string): boolean {
    const known = this.tokens.get(token)
    return known !== undefined && (known.tainted || known.taken.has(name))
  }

  /** Nothing is promised any more of what it has, nor of what it keeps. */
  isEnded(token: string, name: string): boolean {
    return this.isTainted(token, name) || this.tokens.get(token)?.asked.has(name) === true
  }

  /** When the server was first seen to have granted it. */
  grantedAt(name: string, token: string): number | undefined {
    return this.watch(name).grantedAt.get(token)
  }

  // ------------------------------------------------------------------------------------------------- what is sent

  onAcquireSent(process: Process, request: AcquireRequest): void {
    const { claims, token } = request
    this.leases.onAcquireSent(request)
    if (this.tokens.has(token)) this.world.violate("R11: a token serves one attempt", token)
    this.tokens.set(token, {
      process,
      tainted: false,
      taken: new Set(),
      left: false,
      leaves: 0,
      wasLost: false,
      asked: new Set(),
      gone: new Set(),
      notAfter: Infinity,
      shownMillis: 0
    })
    for (const claim of claims) {
      const watched = this.watch(nameOf(claim))
      watched.limit = Math.max(watched.limit, claim.limit)
    }
  }

  onRefreshSent(process: Process, items: ReadonlyArray<RefreshItem>): void {
    const leases = this.world.engineOf(process)?.keeper.leases
    for (const { token } of items) {
      if (leases?.has(token) !== true) this.world.violate("R16: nothing is refreshed that nobody wants", token)
    }
  }

  onLeaveSent(process: Process, items: ReadonlyArray<LeaveItem>): void {
    const leases = this.world.engineOf(process)?.keeper.leases
    for (const { token } of items) {
      if (leases?.has(token)) this.world.violate("R16: a lease ends before its leave is sent", token)
      const known = this.tokens.get(token)
      if (!known) continue
      known.left = true
      known.leaves++
    }
    this.leases.onLeaveSent(items)
  }

  // ----------------------------------------------------------------------------------------- what the server does

  lock(target: Target): LockView {
    return this.world.server.backend.lock(nameOf(target)) ?? emptyLock
  }

  /** Watches a script. */
  onCommand(asked: Asked, run: () => Reply): Reply {
    const reply = this.watchCommand(asked, run)
    if (this.world.server.isHalfDone) this.onHalfDone(asked)
    return reply
  }

  /** Of those who wait it may have taken some out of the queue. Their next heartbeats put them back in their places (R7). */
  private onHalfDone(asked: Asked): void {
    for (const target of targetsOf(asked)) this.onPassedOver(nameOf(target))
  }

  private watchCommand(asked: Asked, run: () => Reply): Reply {
    switch (asked.verb) {
      case "acquire":
        return this.acquire(asked, run)
      case "refresh":
        return this.refresh(asked, run)
      case "leave":
        return this.settles(asked.items.map(({ target }) => target), asked.targets, run)
      case "lower":
        return this.leases.lower(asked, asked.permits, () => this.settles([asked.target], [asked.target], run))
      case "revoke":
        return this.revoke(asked, run)
      case "join":
        return this.world.flights.join(run)
      case "finish":
        return this.world.flights.finish(asked.request, run)
      default:
        return run()
    }
  }

  private acquire({ inbox, notAfter, request }: AskedTo<"acquire">, run: () => Reply): Reply {
    const { server } = this.world
    const { claims, token } = request
    const sent = this.tokens.get(token)
    if (sent) sent.notAfter = notAfter
    const before = claims.map((claim) => this.lock(claim))
    const known = before.some((lock) =>
      lock.holders.has(token) || lock.waiters.has(token) || lock.tombstones.has(token)
    )
    const reply = run()
    if (!Array.isArray(reply)) return reply
    if (reply[1] === "late") {
      this.world.count("acquires too late")
      return reply
    }
    const what = String(reply[1])
    this.leases.acquire(request, known, what)
    this.leases.onSettled(claims, unsettledOf(reply[2], claims))
    for (const claim of claims) {
      const { limit } = this.lock(claim)
      if (!known && limit !== claim.limit && what !== "refused") {
        this.world.violate("R12: the latest acquire sets the limit", `${limit} is not ${claim.limit}`)
      }
      const { arrivals } = this.watch(nameOf(claim))
      const arrived = arrivals.find((one) => one.token === token)
      const reachable = !request.subscribed || server.isHeardBy(inbox)
      if (arrived) arrived.reachable = reachable
      else if (what === "waiting") arrivals.push({ token, reachable })
    }
    return reply
  }

  private refresh({ items, subscribed, targets }: AskedTo<"refresh">, run: () => Reply): Reply {
    const ends = items.map((item) => this.endOf(item))
    const reply = this.settles(items.map(({ target }) => target), targets, run)
    if (isError(reply)) return reply
    items.forEach((item, i) => {
      const end = this.endOf(item)
      const before = ends[i]
      if (end !== undefined && (before === undefined || end < before)) {
        this.world.violate(
          "R2, R6: a refresh creates nothing and shortens nothing",
          `${item.token}: ${before} => ${end}`
        )
      }
      const arrived = this.watch(nameOf(item.target)).arrivals.find((one) => one.token === item.token)
      const inbox = this.tokens.get(item.token)?.process.inbox
      if (arrived && inbox !== undefined) arrived.reachable = !subscribed || this.world.server.isHeardBy(inbox)
    })
    return reply
  }

  /** A script that grants what it frees. Its reply begins with the time, and what is left to do. */
  private settles(touched: ReadonlyArray<Target>, targets: ReadonlyArray<Target>, run: () => Reply): Reply {
    const reply = run()
    if (Array.isArray(reply)) {
      const done = touched.filter((_, i) => !isFailed(reply[2], i))
      this.leases.onSettled(done, unsettledOf(reply[1], targets))
    }
    return reply
  }

  private endOf({ target, token }: LeaveItem): number | undefined {
    const lock = this.lock(target)
    const end = lock.holders.get(token)?.until ?? lock.waiters.get(token)?.until
    return end === undefined || end <= this.world.server.nowMillis() ? undefined : end
  }

  onLeft(items: ReadonlyArray<LeaveItem>, answers: ReadonlyArray<Left | Failed>): void {
    items.forEach(({ target, token }, i) => {
      const [answer, known] = [answers[i], this.tokens.get(token)]
      if (answer?._tag !== "Left" || known === undefined) return
      if ((items[i]?.keepMillis ?? 0) === 0) known.gone.add(nameOf(target))
      if (answer.was === "Unknown" && known.leaves === 1) known.wasLost = true
    })
  }

  /** What was released in time, and the server had not known any more. */
  onReleased(process: Process, { token }: Lease, before: L.State, items: ReadonlyArray<LeaveItem>): void {
    if (before._tag !== "Held" || process.now() >= before.deadline.at) return
    if (items.some((item) => this.tokens.get(item.token)?.wasLost)) {
      this.world.violate("R45: who releases what was lost is told", token)
    }
  }

  private revoke({ asks, fence, target }: AskedTo<"revoke">, run: () => Reply): Reply {
    const { server } = this.world
    const before = [...this.lock(target).holders]
    // R46: what was evicted has no fence that could be compared.
    const bare = [...this.lock(target).bare?.keys() ?? []]
    const check = this.leases.revoke(target, fence, asks)
    const reply = this.settles([target], [target], run)
    // One that has stopped half-way may have taken it from some of them. These hear so with their next renewal.
    if (!asks && (!isError(reply) || server.isHalfDone)) this.excuse(nameOf(target), bare)
    for (const [token, holder] of before) {
      if (holder.fence <= fence) this.tokens.get(token)?.asked.add(nameOf(target))
      if (holder.fence <= fence && !asks && (!isError(reply) || server.isHalfDone)) {
        this.tokens.get(token)!.taken.add(nameOf(target))
      }
    }
    if (isError(reply)) return reply
    check()
    const after = this.lock(target).holders
    for (const [token, holder] of before) {
      if (holder.fence <= fence && (!asks || holder.isKept)) continue
      if (holder.until > server.nowMillis() && !after.has(token)) {
        this.world.violate("R17: a later grant is not revoked", token)
      }
    }
    return reply
  }

  // --------------------------------------------------------------------------------------------- what is said

  onSaid(message: string): void {
    for (const event of eventsOf(message)) this.leases.onSaid(event)
  }

  onMessage(process: Process, message: string): void {
    for (const event of eventsOf(message)) {
      if (event._tag === "Outcome") this.world.flights.onOutcome(event.token, event.payload, "sent")
      else this.leases.onHeard(process, event)
    }
  }

  onDeaf(inbox: string): void {
    for (const { arrivals } of this.watched.values()) {
      for (const arrival of arrivals) {
        if (this.tokens.get(arrival.token)?.process.inbox === inbox) arrival.reachable = false
      }
    }
  }

  /** The server has other data now: who waits in it waits in the order it has. */
  onDataLost(): void {
    this.taint()
    this.leases.onDataLost()
    for (const [name, watched] of this.watched) {
      const lock = this.world.server.backend.lock(name)
      watched.isForgotten = true
      watched.arrivals = [...lock?.waiters.keys() ?? []].map((token) => ({ token, reachable: false }))
    }
  }

  /** One key of something is going. What is left of it counts on: docs/guarantees.md, "Two holders after Redis lost data". */
  onEvicted({ key, kind, part }: RedisKey): void {
    if (kind === "flight") return this.world.flights.onEvicted(key, part)
    const name = nameOf({ kind, key })
    const { bare, holders, tombstones } = this.world.server.backend.lock(name) ?? emptyLock
    if (part === "held") this.excuse(name, holders.keys(), bare?.keys() ?? [])
    // What keeps late copies away.
    if (part === "state" || part === "alive") this.excuse(name, tombstones.keys())
    if (part === "state") { for (const token of holders.keys()) this.tokens.get(token)?.asked.add(name) }
    if (part === "queue") this.onPassedOver(name)
    if (part === "fence") this.watch(name).isForgotten = true
  }

  /** Before its clock goes back. */
  onStepBack(): void {
    const now = this.world.server.nowMillis()
    for (const token of this.tokens.values()) token.shownMillis = Math.max(token.shownMillis, now)
  }

  private excuse(name: string, ...all: ReadonlyArray<Iterable<string>>): void {
    for (const tokens of all) for (const token of tokens) this.tokens.get(token)?.taken.add(name)
  }

  private onPassedOver(name: string): void {
    for (const arrival of this.watch(name).arrivals) arrival.reachable = false
  }

  afterCommand(): void {
    const { backend } = this.world.server
    for (const name of backend.lockNames()) this.checkLock(name, backend.lock(name)!)
    this.leases.afterCommand()
  }

  private checkLock(name: string, lock: LockView): void {
    const { server } = this.world
    const now = server.nowMillis()
    const watched = this.watch(name)
    let permits = 0
    let used = 0
    const granted: Array<string> = []
    for (const [token, holder] of lock.holders) {
      permits += holder.permits
      if (holder.until > now) used += holder.permits
      this.checkWanted(name, token)
      if (watched.fences.get(token)?.includes(holder.fence)) continue
      if (watched.isForgotten && server.nowMicros() <= watched.lastFence) this.startAnew(name, watched)
      watched.isForgotten = false
      if (holder.fence <= watched.lastFence) {
        this.world.violate("fences grow", `${token} got ${holder.fence} after ${watched.lastFence}`)
      }
      granted.push(token)
    }
    for (const token of lock.waiters.keys()) this.checkWanted(name, token)
    for (const token of granted) {
      const { fence } = lock.holders.get(token)!
      watched.grantedAt.set(token, this.world.now)
      watched.fences.set(token, [...watched.fences.get(token) ?? [], fence])
      watched.lastFence = Math.max(watched.lastFence, fence)
      const place = watched.arrivals.findIndex((one) => one.token === token)
      const before = place < 0 ? watched.arrivals : watched.arrivals.slice(0, place)
      for (const one of before) {
        const waiter = lock.waiters.get(one.token)
        if (waiter && waiter.until > now && one.reachable) {
          this.world.violate("first in, first out", `${token} was granted before ${one.token} of ${name}`)
        }
      }
    }
    if (lock.used !== undefined && permits !== lock.used) {
      this.world.violate("used is the sum of permits", `${lock.used} of ${permits} on ${name}`)
    }
    if (used > watched.limit) this.world.violate("the server keeps the limit", `${used} of ${watched.limit} on ${name}`)
    watched.arrivals = watched.arrivals.filter((one) => lock.waiters.has(one.token))
  }

  /** The clock is behind the last fence, which the server has forgotten: docs/guarantees.md, "Clocks". */
  private startAnew(name: string, watched: Watched): void {
    this.world.count("fences that began anew")
    this.excuse(name, watched.fences.keys())
    Object.assign(watched, { lastFence: 0, written: 0, isBehind: true })
    watched.given.clear()
  }

  private checkWanted(name: string, token: string): void {
    const known = this.tokens.get(token)
    if (!known?.gone.has(name) || this.isTainted(token, name)) return
    // R3 and R15 count in the server's time. What was late is not while that is repeated, and its tombstone is gone. So a
    // copy is held by nobody for a lease: the others wait for it.
    if (known.notAfter <= known.shownMillis) {
      this.world.count("copies that came back with the server's clock")
      known.taken.add(name)
    } else {
      this.world.violate("R3, R15: who has left does not come back", token)
    }
  }

  // ------------------------------------------------------------------------------------------ what callers are given

  onGiven(process: Process, lease: Lease): void {
    const { claims, state } = lease
    if (state._tag !== "Held" || state.deadline.at <= process.now()) {
      return this.world.violate("what is given is held", lease.token)
    }
    L.toItems(lease).forEach(({ target, token }, i) => {
      const claim = claims[i]!
      const name = nameOf(target)
      const watched = this.watch(name)
      const fence = state.fences[i]!
      if (!watched.fences.get(token)?.includes(fence)) {
        this.world.violate("the fence is that of the grant", `${token} ${fence}`)
      }
      if (watched.isBehind && this.isTainted(token, name)) return
      for (const [permits, highest] of watched.given) {
        if (permits + claim.permits > watched.limit && fence <= highest && !this.isTainted(token, name)) {
          this.world.violate("fences of conflicting holds grow", `${token} has ${fence} after ${highest}`)
        }
      }
      watched.given.set(claim.permits, Math.max(fence, watched.given.get(claim.permits) ?? 0))
    })
  }

  /** `checked`: the holder has asked in the same breath whether it still holds. */
  onWrite(process: Process, lease: Lease, fences: ReadonlyArray<number>, checked: boolean): void {
    const { claims, state, terms, token } = lease
    const now = process.now()
    if (state._tag === "Ended" && state.reason !== undefined) this.world.violate("who was told writes no more", token)
    if (checked && (state._tag !== "Held" || state.deadline.at <= now || now >= state.since + terms.maxHoldMillis)) {
      this.world.violate("who is told that it holds does", token)
    }
    if (state._tag === "Held" && state.isAsked) this.world.violate("who was asked writes no more", token)
    L.toItems(lease).forEach((item, i) => {
      if (claims[i]!.limit === 1) this.write(item, fences[i]!, checked)
    })
  }

  private write({ target, token }: LeaveItem, fence: number, checked: boolean): void {
    const name = nameOf(target)
    const watched = this.watch(name)
    if (watched.isBehind && this.isTainted(token, name)) return
    if (fence >= watched.written) {
      watched.written = fence
    } else if (checked && !this.isTainted(token, name)) {
      this.world.violate(
        "no write of a holder comes after one of the next",
        `${token} with ${fence} after ${watched.written}`
      )
    } else {
      this.world.count("late writes refused by their fence")
    }
  }

  // -------------------------------------------------------------------------------------------------- after each step

  afterStep(): void {
    const inForce = new Map<string, Array<string>>()
    const used = new Map<string, number>()
    for (const { engine, process } of this.world.members) {
      if (process.state !== "running" || engine === undefined) continue
      const now = process.now()
      for (const [first, lease] of engine.keeper.leases) {
        const { state } = lease
        // One of several parts is there once for each.
        if (state._tag !== "Held" || state.deadline.at <= now || first !== lease.token) continue
        this.leases.onHeld(lease)
        // In the world's time, as far as this clock can be trusted to go on as it does.
        const endsAt = this.world.now + (state.deadline.at - now) / process.rate
        L.toItems(lease).forEach((item, i) => {
          const { target, token } = item
          const name = nameOf(target)
          const permits = this.leases.permitsOf(lease, i, item)
          if (this.isTainted(token, name)) return
          const lock = this.lock(target)
          const holder = lock.holders.get(token)
          const until = holder?.until ?? lock.bare?.get(token) ?? 0
          if ((holder && holder.fence !== state.fences[i]) || until < endsAt + this.world.server.offsetMillis) {
            this.world.violate("S3: a lease ends for its holder before it ends at the server", `${token} of ${name}`)
          }
          used.set(name, (used.get(name) ?? 0) + permits)
          inForce.set(name, [...inForce.get(name) ?? [], token])
        })
      }
    }
    this.leases.afterStep()
    for (const [name, permits] of used) {
      const { limit } = this.watch(name)
      if (permits > limit) {
        this.world.violate(
          "mutual exclusion",
          `${inForce.get(name)!.join(" and ")} hold ${permits} of ${limit} on ${name}`
        )
      }
    }
  }

  /** Only while there are no faults: capacity and somebody who waits for it do not stay side by side. */
  checkIdle(): void {
    const { now, server } = this.world
    for (const [name, watched] of this.watched) {
      const lock = server.backend.lock(name)
      const millis = server.nowMillis()
      const head = [...lock?.waiters ?? []].find(([, { until }]) => until > millis)
      const used = [...lock?.holders.values() ?? []].reduce(
        (sum, one) => one.until > millis ? sum + one.permits : sum,
        0
      )
      const owner = head && this.tokens.get(head[0])
      const isIdle = head !== undefined && owner?.process.state === "running" && !owner.left &&
        used + head[1].permits <= lock!.limit
      watched.idleSince = isIdle ? watched.idleSince ?? now : undefined
      if (now - (watched.idleSince ?? now) > idleMillisMax) {
        this.world.violate("nobody is stuck", `${head![0]} waits for ${name}, which is free`)
      }
    }
  }

  /** Everybody has left: the server has nothing of them. */
  checkEmpty(): void {
    const millis = this.world.server.nowMillis()
    const { backend } = this.world.server
    for (const name of backend.lockNames()) {
      const { holders, waiters } = backend.lock(name)!
      for (const [token, { until }] of [...holders, ...waiters]) {
        if (until > millis && !this.isTainted(token, name) && this.tokens.get(token)?.process.state !== "dead") {
          this.world.violate("nothing is left", `${token} of ${name} for ${until - millis} ms`)
        }
      }
    }
  }
}
