/**
 * What must be true of a lease on several things, of permits that are lowered, and of holders that are asked to let go or
 * are revoked. Part of the judge.
 */
import type { Request } from "../../src/internal/engine/engine.js"
import type { Lease } from "../../src/internal/engine/lease.js"
import * as L from "../../src/internal/engine/lease.js"
import type { FlightMessage, LeaseMessage } from "../../src/internal/redis/wire.js"
import type { AcquireRequest, Answer, LeaveItem, Target } from "../../src/internal/store.js"
import type { Reply } from "../support/lua/interpreter.js"
import { isError } from "../support/lua/interpreter.js"
import { nameOf } from "./asked.js"
import type { Judge } from "./judge.js"
import type { Process } from "./process.js"
import type { World } from "./world.js"

/** One call of a caller: all that it ever asked for. */
interface Call {
  /** The server has said that others hold it, or wait for it. */
  isTaken: boolean
  readonly tokens: Set<string>
  /** It has had to wait for one after the other. */
  inTurn: boolean
}

/** What was given as one. */
interface Group {
  readonly items: ReadonlyArray<LeaveItem>
  isLeft: boolean
}

const idOf = ({ target, token }: LeaveItem): string => `${token} ${nameOf(target)}`

export class LeaseJudge {
  /** By their metadata, which goes with each request of a call. */
  private readonly calls = new Map<string, Call>()
  /** Tokens that the server refused: there is nothing to give back. */
  private readonly refused = new Set<string>()
  private readonly groups = new Map<string, Group>()
  /** How many permits a holder has had so far, by its token and fence. */
  private readonly permits = new Map<string, number>()
  /** The tokens of which a lower was carried out. */
  private readonly lowered = new Set<string>()
  /** The fences of which a process has heard that they are asked for, or revoked. */
  private readonly heard = { Asked: new Map<string, Set<number>>(), Revoked: new Map<string, Set<number>>() }
  private toBeSaid: Array<string> = []
  private readonly said = new Set<string>()
  /** Leases of which their process was told that something of it is gone. */
  private toBeOver: Array<Lease> = []
  /** Those that were held when somebody asked for them just now. */
  private askedNow: Array<Lease> = []

  constructor(readonly world: World, readonly judge: Judge) {}

  // -------------------------------------------------------------------------------------------------- what is sent

  onAcquireSent({ claims, metadata, token }: AcquireRequest): void {
    const call = this.calls.get(metadata) ?? { isTaken: false, tokens: new Set(), inTurn: false }
    this.calls.set(metadata, call)
    if (claims.length > 1 && call.inTurn) this.world.count("multis that started again")
    call.inTurn = claims.length === 1 && call.tokens.size > 0
    call.tokens.add(token)
  }

  onTaken({ metadata }: AcquireRequest): void {
    const call = this.calls.get(metadata)
    if (call) call.isTaken = true
  }

  /** Before the call is over. */
  onNotAcquired({ terms }: Request<unknown>, told: string): void {
    if (this.calls.get(terms.metadata)?.isTaken === false) {
      this.world.violate("an outage is not taken for somebody who holds it", `${terms.metadata} is told ${told}`)
    }
  }

  onLeaveSent(items: ReadonlyArray<LeaveItem>): void {
    const left = new Set(items.map(idOf))
    for (const { token } of items) {
      const group = this.groups.get(token)
      if (group === undefined || group.isLeft) continue
      group.isLeft = true
      for (const item of group.items) {
        if (!left.has(idOf(item))) this.world.violate("what is held as one is given back as one", idOf(item))
      }
    }
  }

  // ----------------------------------------------------------------------------------------- what the server does

  acquire({ claims, token }: AcquireRequest, known: boolean, what: string): void {
    if (what === "refused") this.refused.add(token)
    if (known) return
    const locks = claims.map((claim) => this.judge.lock(claim))
    const held = locks.filter((lock) => lock.holders.has(token)).length
    const queued = locks.filter((lock) => lock.waiters.has(token)).length
    const [isHeld, isQueued] = [what === "granted" ? locks.length : 0, Number(what === "waiting")]
    if (held !== isHeld || queued !== isQueued) {
      this.world.violate("all or none", `${token} is ${what}, holds ${held} and waits for ${queued}`)
    }
  }

  lower(item: LeaveItem, permits: number, run: () => Reply): Reply {
    const { target, token } = item
    this.lowered.add(token)
    const before = this.judge.lock(target).holders.get(token)
    const [had, until] = [before?.permits ?? 0, before?.until ?? 0]
    const reply = run()
    if (isError(reply)) return reply
    if (until > this.world.server.nowMillis()) {
      const has = this.judge.lock(target).holders.get(token)?.permits
      const isToHave = Math.min(had, permits)
      if (has !== isToHave) {
        this.world.violate("who lowers has the lower permits", `${token} has ${has}, not ${isToHave}`)
      }
      if (isToHave < had) this.world.count(this.queueOf(target) > 0 ? "lowers while others wait" : "lowers")
    }
    return reply
  }

  private queueOf(target: Target): number {
    return this.judge.lock(target).waiters.size
  }

  /** Before a revoke is carried out. Returns what is to be called after it, if it is. */
  revoke(target: Target, fence: number, asks: boolean): () => void {
    const { server } = this.world
    const what = asks ? "Asked" : "Revoked"
    const now = server.nowMillis()
    const meant = [...this.judge.lock(target).holders].filter(([, one]) => one.until > now && one.fence <= fence)
    return () => {
      for (const [token, { fence, inbox, isKept }] of meant) {
        this.world.count(what)
        if (!isKept && server.isHeardBy(inbox)) this.toBeSaid.push(`${what} ${token} ${fence}`)
      }
      const { holders } = this.judge.lock(target)
      for (const [token, { isKept }] of meant) {
        if (holders.has(token) !== (asks && !isKept)) {
          this.world.violate(asks ? "R17: who is asked keeps it" : "R17: who is revoked does not hold", token)
        }
      }
    }
  }

  onSaid(message: LeaseMessage | FlightMessage): void {
    if (message._tag === "Asked" || message._tag === "Revoked") {
      this.said.add(`${message._tag} ${message.token} ${message.fence}`)
    }
  }

  /** R9: no command leaves room beside somebody who waits for it, unless it says that there is more to do. */
  onSettled(targets: ReadonlyArray<Target>, unsettled: ReadonlyArray<Target>): void {
    if (this.world.server.isHalfDone) return
    const names = new Set(unsettled.map(nameOf))
    for (const target of targets) {
      const lock = this.world.server.backend.lock(nameOf(target))
      const head = [...lock?.waiters ?? []].find(([, { queued }]) => queued)
      if (lock === undefined || head === undefined || names.has(nameOf(target))) continue
      if (lock.used !== undefined && lock.used + head[1].permits <= lock.limit) {
        this.world.violate("R9: what is freed is granted", `${nameOf(target)} has room for ${head[0]}`)
      }
    }
  }

  /** What was lowered may be as before. */
  onDataLost(): void {
    this.permits.clear()
  }

  afterCommand(): void {
    for (const one of this.toBeSaid) {
      // Or PUBLISH may have been refused.
      if (!this.said.has(one) && !this.world.server.isHalfDone) this.world.violate("R17: holders are told", one)
    }
    this.toBeSaid = []
    this.said.clear()
    const { backend } = this.world.server
    for (const name of backend.lockNames()) {
      for (const [token, holder] of backend.lock(name)!.holders) {
        const grant = `${name} ${token} ${holder.fence}`
        const before = this.permits.get(grant)
        if (before === holder.permits) continue
        this.permits.set(grant, holder.permits)
        if (before !== undefined && (holder.permits > before || !this.lowered.has(token))) {
          this.world.violate(
            "permits are only lowered, and only when asked",
            `${token}: ${before} => ${holder.permits}`
          )
        }
      }
    }
  }

  // ------------------------------------------------------------------------------------ what processes are told of

  /** Before the message is seen to. */
  onHeard(process: Process, message: LeaseMessage | FlightMessage): void {
    if (message._tag !== "Asked" && message._tag !== "Revoked") return
    const { fence, token } = message
    const lease = this.world.engineOf(process)?.keeper.leases.get(token)
    if (lease === undefined) return
    if (message._tag === "Asked" && lease.state._tag === "Held") this.askedNow.push(lease)
    const heard = this.heard[message._tag]
    heard.set(token, (heard.get(token) ?? new Set()).add(fence))
  }

  /** The answer to a refresh that was sent at that time by the clock of the process, before it is seen to. */
  onRefreshed(process: Process, items: ReadonlyArray<LeaveItem>, sentAt: number, answers: ReadonlyArray<Answer>): void {
    const leases = this.world.engineOf(process)?.keeper.leases
    items.forEach(({ token }, i) => {
      const lease = leases?.get(token)
      const isLost = answers[i]!._tag === "Gone" || answers[i]!._tag === "Waiting"
      // A grant in the very moment in which it was sent may be the later one.
      if (isLost && lease?.state._tag === "Held" && sentAt > lease.state.since + 0.001) this.toBeOver.push(lease)
    })
  }

  onLowered(lease: Lease, permits: number): void {
    for (const { target, token } of L.toItems(lease)) {
      const holder = this.judge.lock(target).holders.get(token)
      if (holder && holder.permits > permits && !this.judge.isTainted(token, nameOf(target))) {
        this.world.violate("who lowers has the lower permits", `${token} has ${holder.permits}, not ${permits}`)
      }
    }
  }

  // ------------------------------------------------------------------------------------------ what callers are given

  /** A call is over, with a lease or without: everything else that it asked for is given back. */
  onCallOver(process: Process, request: Request<unknown>, lease: Lease | undefined): void {
    const leases = this.world.engineOf(process)?.keeper.leases
    const items = lease === undefined ? [] : L.toItems(lease)
    const kept = new Set(items.map(({ token }) => token))
    for (const token of this.calls.get(request.terms.metadata)?.tokens ?? []) {
      if (kept.has(token)) continue
      if (leases?.has(token)) this.world.violate("what a call does not give it does not keep", token)
      if (!this.refused.has(token) && this.judge.tokens.get(token)?.left !== true) {
        this.world.violate("what a call does not give it gives back", token)
      }
    }
    this.calls.delete(request.terms.metadata)
    if (lease !== undefined) this.onGiven(request, lease, items)
  }

  private onGiven({ claims, waits }: Request<unknown>, lease: Lease, items: ReadonlyArray<LeaveItem>): void {
    const [asked, given] = [claims, lease.claims].map((all) => JSON.stringify(all))
    const targets = items.map(({ target }) => nameOf(target)).join()
    if (asked !== given || targets !== claims.map(nameOf).join()) {
      this.world.violate("all or none", `${lease.token} holds ${given}, for ${asked}`)
    }
    for (const { key, limit, permits } of claims) {
      if (key === "rw") this.world.count(permits < limit ? "readers" : "writers")
    }
    if (items.length === 1) return
    this.world.count(
      lease.parts ? "multis one after the other" : waits ? "multis that wait, at once" : "multis at once"
    )
    const group: Group = { items, isLeft: false }
    for (const { token } of items) this.groups.set(token, group)
  }

  // -------------------------------------------------------------------------------------------------- after each step

  afterStep(): void {
    for (const lease of this.toBeOver) {
      if (lease.state._tag === "Held") this.world.violate("the loss of one is the loss of all", lease.token)
    }
    for (const { parts, state, token } of this.askedNow) {
      const isRevoked = (parts ?? [{ token }]).some((one) => this.heard.Revoked.has(one.token))
      if (state._tag === "Ended" && state.reason === "Revoked" && !isRevoked) {
        this.world.violate("R17: who is asked keeps it", token)
      }
    }
    this.toBeOver = []
    this.askedNow = []
  }

  /** A lease that its process believes to hold. */
  onHeld({ refreshAt, refreshing, state, terms, token }: Lease): void {
    // What has failed is tried again within a second.
    if (terms.renew && !refreshing && state._tag === "Held" && refreshAt > state.deadline.at + 1_000) {
      this.world.violate(
        "what is held is renewed in time",
        `${token} at ${refreshAt}, and ends at ${state.deadline.at}`
      )
    }
  }

  /** One thing of it. Returns how many permits that is. */
  permitsOf({ claims, state }: Lease, i: number, item: LeaveItem): number {
    const claim = claims[i]!
    const fence = state._tag === "Held" ? state.fences[i]! : 0
    if (this.heard.Revoked.get(item.token)?.has(fence)) {
      this.world.violate("R17: who is revoked does not hold", idOf(item))
    }
    if (this.heard.Asked.get(item.token)?.has(fence) && state._tag === "Held" && !state.isAsked) {
      this.world.violate("R17, R30: who is asked knows", idOf(item))
    }
    if (!this.lowered.has(item.token)) return claim.permits
    return this.judge.lock(claim).holders.get(item.token)?.permits ?? claim.permits
  }
}
