/**
 * One attempt to hold something: the state machine that everything else turns on.
 *
 *   Requested --> Held ----------------------> Ended
 *       |           ^                            ^
 *       +--> Waiting-+---------------------------+
 *
 * A lease is `Held` only while `deadline` lies ahead. That is a local, monotonic time, counted from before the command
 * was sent that the store answered (R5): it always ends before the store lets somebody else in, whether Redis answers
 * or not. `Ended` is final; a new attempt has a new token (R11).
 */
import type { BackendError } from "../../DlockError.js"
import { LockLostError } from "../../DlockError.js"
import type { Answer, Claim, Holder, LeaveItem, RefreshItem, Waiting as WaitingAnswer } from "../store.js"
import { askAgainAt, Deadline } from "./deadline.js"
import type { Waking } from "./heap.js"
import * as Timing from "./timing.js"

export type State =
  | Requested
  | Waiting
  | Held
  | Ended

/** Its request is under way. */
export interface Requested {
  readonly _tag: "Requested"
  /** Whether the subscription has come or gone meanwhile: the request says what is not true, or messages were lost (R25). */
  readonly resubscribed: boolean
  /** A grant, or the news that there are too few permits, that overtook the answer to its own request (R30). */
  readonly early: number | OverLimit | undefined
}

/** The store has it in the queue. */
export interface Waiting {
  readonly _tag: "Waiting"
  /** The last fence that the store has told. A grant that is not above it is stale (R2). */
  readonly lastFence: number
  /** Until when a grant of this very token may be used without asking again (R4). */
  readonly usable: Deadline
  /** When the store must have answered, or it counts as unreachable. */
  readonly giveUpAt: number
  /** Whom it waits for, as the last answer said. */
  readonly holder: Holder | undefined
}

/** The store has granted every claim. */
export interface Held {
  readonly _tag: "Held"
  /** When the grant was learned. An answer to an older command says nothing about it (R13). */
  readonly since: number
  readonly deadline: Deadline
  /** One for each claim. */
  readonly fences: ReadonlyArray<number>
  /** Somebody has asked for it (R17): its holder is to stop, and has it until it gives it back. */
  readonly isAsked: boolean
}

export interface Ended {
  readonly _tag: "Ended"
  /** Why a lease that was held ended. `Released` is no loss. */
  readonly reason: LockLostError["reason"] | undefined
  readonly fences: ReadonlyArray<number>
}

/** Why a waiter stopped waiting without the lock. */
export type WaitEnd =
  | { readonly _tag: "Gone" }
  | { readonly _tag: "Timeout"; readonly holder: Holder | undefined }
  | OverLimit
  | BackendError

/** The limit was lowered, and it asks for more (R12). */
export interface OverLimit {
  readonly _tag: "OverLimit"
  readonly limit: number
}

/** How a lease is kept. Those of calls without options are one object. */
export interface Terms {
  readonly ttlMillis: number
  readonly renew: boolean
  /** `Infinity` when there is none. */
  readonly maxHoldMillis: number
  readonly metadata: string
  /** Told who holds what this one waits for, with each answer of the store. */
  readonly onHolder: ((holder: Holder | undefined) => void) | undefined
}

export interface Lease extends Waking {
  readonly token: string
  readonly claims: ReadonlyArray<Claim>
  readonly terms: Terms
  /** The longest that it was ever asked to last: `extend` may ask for more than the terms. */
  longestMillis: number
  /** Local time until which the store is to keep it when it is given back, unless somebody asks for it. */
  keepUntil: number
  /** What it was merged from: leases on one claim each, with tokens of their own, that a multi-lock waited for. */
  readonly parts: ReadonlyArray<Lease> | undefined
  state: State
  /** Local time at which a `wait` is over. */
  readonly waitUntil: number
  /** When to refresh next. */
  refreshAt: number
  /** When its request was sent. */
  readonly askedAt: number
  /** When the last of its request and its refreshes that was answered was sent. */
  refreshedAt: number
  /** Whether a refresh is under way. */
  refreshing: boolean
  /** Why the last refresh failed, until one works. */
  failure: BackendError | undefined
  /** The highest fence that a forced release has named. */
  revokedUpTo: number
  /** The highest fence that somebody has asked for, perhaps before it was known to be held (R30). */
  askedFor: number
  /** Wakes the fiber that waits, when the wait is over. */
  wake: (() => void) | undefined
  /** Why the wait ended, if not with the lock. */
  waitEnd: WaitEnd | undefined
  /** Called once when a held lease ends. */
  watchers: Set<() => void> | undefined
}

/** A waiter is alive for at most this long without a heartbeat, however long its lease would last (R14). */
const livenessMillisMax = 10_000

export const livenessMillis = (ttlMillis: number): number => Math.min(ttlMillis, livenessMillisMax)

export const make = (
  token: string,
  claims: ReadonlyArray<Claim>,
  terms: Terms,
  waitUntil: number,
  sentAt: number
): Lease => ({
  token,
  claims,
  terms,
  longestMillis: terms.ttlMillis,
  keepUntil: -Infinity,
  parts: undefined,
  state: { _tag: "Requested", resubscribed: false, early: undefined },
  waitUntil,
  refreshAt: Infinity,
  askedAt: sentAt,
  refreshedAt: sentAt,
  refreshing: false,
  failure: undefined,
  revokedUpTo: 0,
  askedFor: 0,
  wake: undefined,
  waitEnd: undefined,
  watchers: undefined,
  wakeAt: Infinity,
  place: -1
})

/** One lease out of several that are held, as good as the worst of them. `undefined` when one of them is not held. */
export const merge = (parts: ReadonlyArray<Lease>, terms: Terms, now: number): readonly [Lease, Held] | undefined => {
  const states = parts.flatMap(({ state }) => state._tag === "Held" ? [state] : [])
  const [first] = parts
  if (first === undefined || states.length < parts.length) return undefined
  const lease = {
    ...make(first.token, parts.flatMap((part) => part.claims), terms, Infinity, now),
    parts,
    refreshAt: Math.min(...parts.map((part) => part.refreshAt)),
    refreshedAt: Math.min(...parts.map((part) => part.refreshedAt)),
    failure: parts.find((part) => part.failure)?.failure
  }
  return [lease, {
    _tag: "Held",
    since: now,
    deadline: Deadline.earliest(states.map((state) => state.deadline)),
    fences: states.flatMap((state) => state.fences),
    isAsked: states.some((state) => state.isAsked)
  }]
}

/** The holder by now, of whom the last answer told. */
export const holderAt = (lease: Lease, { holder }: Waiting, now: number): Holder | undefined =>
  holder && { ...holder, endsMillis: Math.max(0, Math.round(holder.endsMillis - (now - lease.refreshedAt))) }

/** Whether its time was over before a single refresh could be answered. */
export const isTooShort = ({ askedAt, refreshedAt, state }: Lease): boolean =>
  refreshedAt === askedAt && state._tag === "Ended" && (state.reason === "Expired" || state.reason === "Unreachable")

/** When the lease must be looked at next: refreshed, or ended. */
export const nextLook = (lease: Lease): number => {
  const { state } = lease
  switch (state._tag) {
    case "Waiting":
      return Math.min(lease.refreshing ? Infinity : lease.refreshAt, lease.waitUntil, state.giveUpAt)
    case "Held":
      return Math.min(
        lease.refreshing || !lease.terms.renew ? Infinity : lease.refreshAt,
        state.deadline.at,
        state.since + lease.terms.maxHoldMillis
      )
    default:
      return Infinity
  }
}

/** Whether it was held, and ended otherwise than by being given back. */
export const isLost = (state: State): state is Ended =>
  state._tag === "Ended" && state.reason !== undefined && state.reason !== "Released"

/** What the holder of an ended lease is told. */
export const lostError = ({ claims }: Lease, { fences, reason }: Pick<Ended, "fences" | "reason">): LockLostError =>
  new LockLostError({
    keys: claims.map((claim) => claim.key),
    reason: reason ?? "Expired",
    fencingToken: fences[0] ?? 0
  })

/** Every token with what it holds. */
export const toItems = ({ claims, parts, token }: Lease): ReadonlyArray<LeaveItem> =>
  parts === undefined ? claims.map((target) => ({ target, token })) : parts.flatMap(toItems)

export const toRefreshItems = (lease: Lease, ttlMillis: number): ReadonlyArray<RefreshItem> =>
  toItems(lease).map(({ target, token }) => ({
    target,
    token,
    ttlMillis,
    livenessMillis: livenessMillis(lease.terms.ttlMillis)
  }))

/** What is true of a lease on several things: the worst that was said of one of them. */
export const worst = ({ state }: Lease, answers: ReadonlyArray<Answer>): Answer =>
  answers.some((answer, i) => isGone(state, answer, i)) ? gone : answers.find((answer) => answer._tag === "Failed") ??
    answers.find((answer) => answer._tag === "Waiting") ??
    answers.reduce((a, b) => a._tag === "Held" && b._tag === "Held" && a.remainingMillis <= b.remainingMillis ? a : b)

/**
 * R13: what the same token holds under another fence was lost, with the store's data, and granted to it again. Others may have
 * held it in between.
 */
const isGone = (state: State, answer: Answer, claim: number): boolean =>
  answer._tag === "Gone" || (answer._tag === "Held" && state._tag === "Held" && answer.fence !== state.fences[claim])

const gone: Answer = { _tag: "Gone" }

/** When a waiter refreshes again after that answer. */
export const nextHeartbeat = (
  { terms }: Lease,
  sentAt: number,
  now: number,
  answer: WaitingAnswer,
  subscribed: boolean
): number =>
  Math.min(
    askAgainAt(sentAt, answer.remainingMillis, livenessMillis(terms.ttlMillis)),
    subscribed ? Infinity : now + Timing.unsubscribedHeartbeatMillis,
    // R10: nobody releases what a dead holder leaves behind. Whoever comes first after its end settles it.
    answer.holder === undefined
      ? Infinity
      : now + answer.holder.endsMillis + 1 + answer.rank * Timing.pokeStaggerMillis
  )

/** Whether another refresh now would be of use: half of the time to the next one has passed. */
export const worthRefreshing = (lease: Lease, now: number): boolean =>
  !lease.refreshing && (lease.state._tag === "Waiting" || (lease.state._tag === "Held" && lease.terms.renew)) &&
  lease.refreshAt - now <= (lease.refreshAt - lease.refreshedAt) / 2

/** In order, with at most `max` claims each. No lease has more. */
export const batches = (leases: ReadonlyArray<Lease>, max: number): Array<Array<Lease>> => {
  const all: Array<Array<Lease>> = []
  let room = 0
  for (const lease of leases) {
    room -= lease.claims.length
    if (room < 0) {
      all.push([])
      room = max - lease.claims.length
    }
    all[all.length - 1]?.push(lease)
  }
  return all
}
