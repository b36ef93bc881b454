/**
 * Keeps leases and waiters, and ends those whose time is over. One alarm serves them all (heartbeat.ts).
 *
 * Invariants:
 * - A lease is here from before its request is sent until the step in which its caller leaves it (R16). So a message or
 *   an answer for a token that is not here is for nobody; its leave is under way already (R15).
 * - A held lease ends at its deadline at the latest, whether or not the store answers.
 * - Only `become` assigns a state, and it puts the lease where its new state wants to be looked at.
 */
import * as Edition from "#edition"
import type * as Clock from "effect/Clock"
import type * as Effect from "effect/Effect"
import type { LockLostError } from "../../DlockError.js"
import * as Alarm from "../alarm.js"
import type { AcquireAnswer, Answer, InboxEvent, Store, Target, Waiting } from "../store.js"
import * as Telemetry from "../telemetry.js"
import type { Tokens } from "../tokens.js"
import { askAgainAt, Deadline } from "./deadline.js"
import * as Errors from "./errors.js"
import * as Heap from "./heap.js"
import type { Lease, State, WaitEnd } from "./lease.js"
import * as L from "./lease.js"
import { Prober } from "./prober.js"
import * as Timing from "./timing.js"

export interface Options {
  readonly store: Store
  readonly clock: Clock.Clock
  readonly commandTimeoutMillis: number
  /** Runs in the background until it ends or the service closes. */
  readonly fork: (effect: Effect.Effect<void>) => void
  /** Gives the token back, in the background. */
  readonly leave: (lease: Lease) => void
  /** Gives back for good what the store only keeps. Says whether it does. */
  readonly giveUpKept: (token: string) => boolean
  readonly settle: (targets: ReadonlyArray<Target>) => void
  readonly isOwnToken: Tokens["isOwn"]
}

const countLoss = (reason: LockLostError["reason"]): void => Edition.count(Telemetry.lost, { reason })

export class Keeper {
  readonly leases = new Map<string, Lease>()
  readonly heap = Heap.make<Lease>()
  alarm: Alarm.Alarm = { notLaterThan: () => {} }
  readonly prober: Prober
  subscribed = false

  constructor(readonly options: Options) {
    this.prober = new Prober(() => options.fork(options.store.probe))
  }

  now(): number {
    return Alarm.monotonic(this.options.clock)
  }

  /** From here on messages find the lease, even before its request is answered (R30). */
  add(lease: Lease): void {
    this.leases.set(lease.token, lease)
  }

  /** Forgets a lease that holds nothing and waits for nothing. */
  drop(lease: Lease): void {
    this.become(lease, { _tag: "Ended", reason: undefined, fences: [] })
  }

  become(lease: Lease, state: State): void {
    const before = lease.state._tag
    lease.state = state
    if (state._tag === "Ended") { for (const { token } of lease.parts ?? [lease]) this.leases.delete(token) }
    const more = Number(state._tag === "Waiting") - Number(before === "Waiting")
    if (more !== 0) this.alarm.notLaterThan(this.prober.moved(more, this.now()))
    this.look(lease)
  }

  look(lease: Lease): void {
    this.heap.schedule(lease, L.nextLook(lease))
    this.alarm.notLaterThan(lease.wakeAt)
  }

  /** The answer to the lease's own request. */
  onAcquired(lease: Lease, sentAt: number, answer: Extract<AcquireAnswer, { readonly _tag: "Granted" | "Waiting" }>) {
    if (answer._tag === "Granted") return this.hold(lease, sentAt, answer.remainingMillis, answer.fences)
    const { state } = lease
    this.onWaiting(lease, sentAt, answer)
    if (state._tag !== "Requested") return
    if (typeof state.early === "object") this.endWait(lease, state.early)
    else if (state.early !== undefined) this.onGrant(lease, state.early)
    else if (state.resubscribed) this.refreshNow(lease)
  }

  hold(lease: Lease, sentAt: number, remainingMillis: number, fences: ReadonlyArray<number>): void {
    const { ttlMillis } = lease.terms
    lease.refreshedAt = sentAt
    lease.refreshAt = askAgainAt(sentAt, remainingMillis, ttlMillis)
    this.holdUntil(lease, new Deadline().hear(sentAt, remainingMillis, ttlMillis), fences)
  }

  holdUntil(lease: Lease, deadline: Deadline, fences: ReadonlyArray<number>): void {
    this.become(lease, { _tag: "Held", since: this.now(), deadline, fences, isAsked: fences.includes(lease.askedFor) })
    this.loseIfRevoked(lease)
    this.wake(lease)
  }

  /** The message may have overtaken the answer that grants (R30). */
  loseIfRevoked(lease: Lease): void {
    const { revokedUpTo, state } = lease
    if (state._tag === "Held" && state.fences.some((fence) => fence <= revokedUpTo)) this.lose(lease, "Revoked")
  }

  onWaiting(lease: Lease, sentAt: number, answer: Waiting): void {
    const now = this.now()
    const { state } = lease
    const known = state._tag === "Waiting" ? state : { lastFence: 0, usable: new Deadline() }
    const alive = L.livenessMillis(lease.terms.ttlMillis)
    lease.refreshedAt = sentAt
    lease.refreshAt = L.nextHeartbeat(lease, sentAt, now, answer, this.subscribed)
    this.become(lease, {
      _tag: "Waiting",
      lastFence: Math.max(known.lastFence, answer.lastFence),
      usable: known.usable.hear(sentAt, answer.remainingMillis, alive),
      giveUpAt: sentAt + Math.max(alive, this.options.commandTimeoutMillis),
      holder: answer.holder
    })
    lease.terms.onHolder?.(answer.holder)
  }

  /** A grant out of the queue lasts as long as the waiter's liveness, which was last acknowledged for this token (R4). */
  onGrant(lease: Lease, fence: number): void {
    const { state } = lease
    if (state._tag === "Requested") this.become(lease, { ...state, early: fence })
    if (state._tag !== "Waiting" || fence <= state.lastFence) return
    const enough = L.livenessMillis(lease.terms.ttlMillis) / 3
    if (lease.terms.renew && state.usable.at - this.now() >= enough) {
      this.holdUntil(lease, state.usable, [fence])
    } else {
      this.refreshNow(lease)
    }
  }

  /** The answer says that it was granted meanwhile: for as long as a waiter lives, if this very command did it. */
  onGranted(
    lease: Lease,
    sentAt: number,
    { fence, remainingMillis }: Extract<Answer, { readonly _tag: "Held" }>
  ): void {
    const { renew, ttlMillis } = lease.terms
    // Nothing will make it longer later on, but another refresh does.
    if (!renew && remainingMillis < ttlMillis) this.refreshNow(lease)
    else this.hold(lease, sentAt, remainingMillis, [fence])
  }

  onEvent(event: InboxEvent): void {
    if (event._tag === "Subscribed" || event._tag === "Unsubscribed") {
      this.subscribed = event._tag === "Subscribed"
      for (const lease of this.leases.values()) {
        if (lease.state._tag === "Waiting") this.refreshNow(lease)
        else if (lease.state._tag === "Requested") this.become(lease, { ...lease.state, resubscribed: true })
      }
      return
    }
    const lease = this.leases.get(event.token)
    if (lease === undefined) {
      if (event._tag === "Asked" && this.options.giveUpKept(event.token)) return
      return Telemetry.unexpectedMessage(this.options.isOwnToken(event.token))
    }
    switch (event._tag) {
      case "Granted":
        return this.onGrant(lease, event.fence)
      case "Revoked":
        lease.revokedUpTo = Math.max(lease.revokedUpTo, event.fence)
        return this.loseIfRevoked(lease)
      case "Asked":
        return this.ask(lease, event.fence)
      case "OverLimit":
        if (lease.state._tag === "Waiting") this.endWait(lease, event)
        else if (lease.state._tag === "Requested") this.become(lease, { ...lease.state, early: event })
    }
  }

  /** Its holder is told to stop, and keeps it until it has. */
  ask(lease: Lease, fence: number): void {
    const { state } = lease
    lease.askedFor = Math.max(lease.askedFor, fence)
    if (state._tag !== "Held" || state.isAsked || !state.fences.includes(fence)) return
    lease.keepUntil = -Infinity
    this.become(lease, { ...state, isAsked: true })
    this.tell(lease)
  }

  /** Once, whatever the reason. */
  tell(lease: Lease): void {
    const { watchers = [] } = lease
    lease.watchers = undefined
    for (const watcher of watchers) watcher()
  }

  /** Even when a refresh is under way: that one was sent before what made this one necessary. */
  refreshNow(lease: Lease): void {
    lease.refreshing = false
    lease.refreshAt = this.now()
    this.look(lease)
  }

  endWait(lease: Lease, end: WaitEnd): void {
    this.drop(lease)
    this.options.leave(lease)
    lease.waitEnd = end
    this.wake(lease)
  }

  wake(lease: Lease): void {
    const { wake } = lease
    lease.wake = undefined
    wake?.()
  }

  lose(lease: Lease, reason: LockLostError["reason"]): void {
    if (lease.state._tag !== "Held") return
    this.become(lease, { _tag: "Ended", reason, fences: lease.state.fences })
    this.options.leave(lease)
    countLoss(reason)
    this.tell(lease)
  }

  /** Ends a lease that is held and given back, and says whether it was. The caller sees to its leave. */
  release(lease: Lease): boolean {
    if (lease.state._tag !== "Held") return false
    this.become(lease, { _tag: "Ended", reason: "Released", fences: lease.state.fences })
    this.tell(lease)
    return true
  }

  /** It was given back, and the store says that it had been lost before. */
  supersede(lease: Lease, fences: ReadonlyArray<number>): L.Ended {
    const ended: L.Ended = { _tag: "Ended", reason: "Superseded", fences }
    this.become(lease, ended)
    countLoss("Superseded")
    return ended
  }

  /** Ends the lease if its time is over. Says whether it did. */
  endIfDue(lease: Lease, now: number): boolean {
    const { state } = lease
    if (state._tag === "Held") {
      if (now >= state.since + lease.terms.maxHoldMillis) this.lose(lease, "MaxHold")
      else if (now >= state.deadline.at) this.lose(lease, lease.failure || lease.refreshing ? "Unreachable" : "Expired")
    } else if (state._tag === "Waiting") {
      if (now >= lease.waitUntil) this.endWait(lease, { _tag: "Timeout", holder: L.holderAt(lease, state, now) })
      else if (now >= state.giveUpAt + Timing.oversleptMillis) this.askOnceMore(lease, state)
      else if (now >= state.giveUpAt) this.endWait(lease, lease.failure ?? Errors.silent())
    }
    return lease.state._tag === "Ended"
  }

  /** This process was paused, or its event loop blocked: the silence was its own. */
  askOnceMore(lease: Lease, state: L.Waiting): void {
    this.become(lease, { ...state, giveUpAt: this.now() + this.options.commandTimeoutMillis })
    this.refreshNow(lease)
  }

  /** The answer to a command that asked for so much time. */
  onAnswer(lease: Lease, sentAt: number, askedMillis: number, answer: Answer): void {
    const { state } = lease
    if (state._tag !== "Waiting" && state._tag !== "Held") return
    lease.refreshing = false
    lease.failure = answer._tag === "Failed" ? answer.error : undefined
    if (answer._tag === "Failed") {
      lease.refreshAt = this.now() + Math.min(1_000, Math.max(50, lease.terms.ttlMillis / 10))
      this.look(lease)
    } else if (state._tag === "Waiting") {
      if (answer._tag === "Waiting") this.onWaiting(lease, sentAt, answer)
      else if (answer._tag === "Held") this.onGranted(lease, sentAt, answer)
      else this.endWait(lease, answer)
    } else if (answer._tag === "Held") {
      state.deadline.hear(sentAt, answer.remainingMillis, askedMillis)
      if (sentAt >= lease.refreshedAt) {
        lease.refreshedAt = sentAt
        lease.refreshAt = askAgainAt(sentAt, answer.remainingMillis, lease.terms.ttlMillis)
      }
      this.look(lease)
    } else if (sentAt > state.since) {
      // R13: asked after the grant, the store does not know it.
      this.lose(lease, "Superseded")
    } else {
      this.look(lease)
    }
  }
}
