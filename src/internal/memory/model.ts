/**
 * The lock server, in memory: the same state machine as the Lua of redis/lua.ts, step by step, and the one to read first.
 * Plain functions on plain data; the time is an argument. The suites run both against each other.
 *
 * Invariants: `used` is the sum of the holders' permits, and at most `limit` unless the limit was lowered (R12). Waiters
 * stand in order of arrival. A waiter that is not `queued` was passed over, and keeps its place (R7).
 */
import type {
  Acquired,
  AcquireRequest,
  Answer,
  Claim,
  Holder as StoreHolder,
  Inspection,
  Left,
  RefreshItem
} from "../store.js"

interface Entry {
  permits: number
  /** The limit that its process asked for. */
  readonly limit: number
  readonly inbox: string
  readonly metadata: string
  subscribed: boolean
  /** The end of the lease, or of the waiter's liveness. */
  until: number
}

interface Holder extends Entry {
  readonly fence: number
  /** Nobody works under it any more: it only keeps others out until it ends. */
  isKept: boolean
}

interface Waiter extends Entry {
  queued: boolean
}

export interface Lock {
  limit: number
  used: number
  lastFence: number
  /** `lastFence` is kept until then: the latest end of a lease, and as long as the server remembers it afterwards (R21). */
  rememberUntil: number
  /** No waiter and no tombstone ends before. */
  nextDeath: number
  readonly holders: Map<string, Holder>
  readonly waiters: Map<string, Waiter>
  /** Tokens that may not be created any more, and until when (R15). */
  readonly tombstones: Map<string, number>
}

export interface Message {
  readonly what: "granted" | "revoked" | "asked" | "overlimit"
  readonly inbox: string
  readonly token: string
  readonly number: number
}

/** One call: its time, who can be reached, and what it has to say to whom. */
export interface Call {
  readonly nowMicros: number
  readonly nowMillis: number
  /** How long a fence is remembered after its lease. */
  readonly rememberMillis: number
  /** The highest fence of all locks that were forgotten. What is taken anew goes on from there. */
  readonly forgottenFence: number
  readonly reachable: (inbox: string) => boolean
  readonly messages: Array<Message>
}

const stepsMax = 64

export const emptyLock = (): Lock => ({
  limit: 1,
  used: 0,
  lastFence: 0,
  rememberUntil: 0,
  nextDeath: Infinity,
  holders: new Map(),
  waiters: new Map(),
  tombstones: new Map()
})

/** Whether nothing of it needs to be kept, as everything in it has had its time. */
export const isOver = (lock: Lock, nowMillis: number): boolean =>
  lock.rememberUntil <= nowMillis &&
  [...lock.holders.values(), ...lock.waiters.values()].every(({ until }) => until <= nowMillis) &&
  [...lock.tombstones.values()].every((until) => until <= nowMillis)

const firstQueued = (lock: Lock): readonly [string, Waiter] | undefined => {
  for (const pair of lock.waiters) if (pair[1].queued) return pair
}

const firstEnd = (lock: Lock): Holder | undefined =>
  Array.from(lock.holders.values()).reduce<Holder | undefined>((a, b) => a && a.until <= b.until ? a : b, undefined)

const firstHolder = (lock: Lock, call: Call): StoreHolder | undefined => {
  const first = firstEnd(lock)
  return first &&
    { endsMillis: Math.max(0, first.until - call.nowMillis), fence: first.fence, metadata: first.metadata }
}

/** Free permits are not for a newcomer while somebody who can be reached waits. */
const fits = (lock: Lock, claim: Claim): boolean =>
  firstQueued(lock) === undefined && lock.used + claim.permits <= lock.limit

const dropHolder = (lock: Lock, token: string, holder: Holder): void => {
  lock.holders.delete(token)
  lock.used -= holder.permits
}

const hold = (lock: Lock, call: Call, token: string, entry: Entry): Holder => {
  const fence = Math.max(lock.lastFence + 1, call.forgottenFence + 1, call.nowMicros)
  const holder = { ...entry, fence, isKept: false }
  lock.lastFence = holder.fence
  lock.rememberUntil = Math.max(lock.rememberUntil, entry.until + call.rememberMillis)
  lock.waiters.delete(token)
  lock.holders.set(token, holder)
  lock.used += entry.permits
  return holder
}

/** Drops expired holders and dead waiters, grants while the head fits (R9). True when it stopped with work left (R22). */
export const settle = (lock: Lock, call: Call, answered: ReadonlySet<string>): boolean => {
  let steps = 0
  for (const [token, holder] of lock.holders) {
    if (holder.until > call.nowMillis) continue
    if (++steps > stepsMax) return true
    dropHolder(lock, token, holder)
  }
  for (let head = firstQueued(lock); head && lock.used < lock.limit; head = firstQueued(lock)) {
    if (++steps > stepsMax) return true
    const [token, waiter] = head
    const told = answered.has(token)
    if (waiter.until <= call.nowMillis) {
      lock.waiters.delete(token)
    } else if (waiter.permits > lock.limit) {
      lock.waiters.delete(token)
      call.messages.push({ what: "overlimit", inbox: waiter.inbox, token, number: lock.limit })
    } else if (lock.used + waiter.permits > lock.limit) {
      break
    } else if (waiter.subscribed && !told && !call.reachable(waiter.inbox)) {
      waiter.queued = false
    } else {
      // Until the waiter's liveness ends, not a whole ttl: it may have died just now (R14).
      const { fence } = hold(lock, call, token, waiter)
      if (waiter.subscribed && !told) call.messages.push({ what: "granted", inbox: waiter.inbox, token, number: fence })
    }
  }
  bury(lock, call.nowMillis)
  return false
}

const bury = (lock: Lock, nowMillis: number): void => {
  if (nowMillis < lock.nextDeath) return
  lock.nextDeath = Infinity
  for (const [token, { until }] of lock.waiters) {
    if (until <= nowMillis) lock.waiters.delete(token)
    else lock.nextDeath = Math.min(lock.nextDeath, until)
  }
  for (const [token, until] of lock.tombstones) {
    if (until <= nowMillis) lock.tombstones.delete(token)
    else lock.nextDeath = Math.min(lock.nextDeath, until)
  }
}

type Times = Pick<RefreshItem, "ttlMillis" | "livenessMillis">

/** Never to an earlier end (R6); never what is not in force any more (R2). */
export const renew = (lock: Lock, call: Call, token: string, times: Times, subscribed: boolean): void => {
  const holder = lock.holders.get(token)
  if (holder && !holder.isKept && holder.until > call.nowMillis) {
    holder.until = Math.max(holder.until, call.nowMillis + Math.ceil(times.ttlMillis))
    lock.rememberUntil = Math.max(lock.rememberUntil, holder.until + call.rememberMillis)
  }
  const waiter = lock.waiters.get(token)
  if (waiter && waiter.until > call.nowMillis) {
    waiter.until = Math.max(waiter.until, call.nowMillis + Math.ceil(times.livenessMillis))
    waiter.queued = true
    waiter.subscribed = subscribed
  }
}

/** What the server says about a token. */
export const statusOf = (lock: Lock, call: Call, token: string): Exclude<Answer, { readonly _tag: "Failed" }> => {
  const holder = lock.holders.get(token)
  if (holder && holder.until > call.nowMillis) {
    return { _tag: "Held", remainingMillis: holder.until - call.nowMillis, fence: holder.fence }
  }
  const waiter = lock.waiters.get(token)
  if (waiter === undefined || waiter.until <= call.nowMillis) return { _tag: "Gone" }
  let rank = 0
  for (const [other, { queued }] of lock.waiters) {
    if (other === token) break
    if (queued) rank++
  }
  return {
    _tag: "Waiting",
    remainingMillis: waiter.until - call.nowMillis,
    lastFence: lock.lastFence,
    rank,
    holder: firstHolder(lock, call)
  }
}

/**
 * All claims or none; refused when not `accepted`. The locks are those of the claims, in their order; `unsettled` are
 * those that need more steps, and nothing is granted past them.
 */
export const acquire = (
  locks: ReadonlyArray<readonly [Lock, Claim]>,
  call: Call,
  request: AcquireRequest,
  inbox: string
): Omit<Acquired, "answer"> & { readonly accepted: boolean } => {
  const { metadata, subscribed, token } = request
  const known = locks.some(([lock]) => lock.holders.has(token) || lock.waiters.has(token) || lock.tombstones.has(token))
  const unsettled: Array<Claim> = []
  const formerLimits: Array<Acquired["formerLimits"][number]> = []
  for (const [lock, claim] of locks) {
    if (known) {
      renew(lock, call, token, request, subscribed)
    } else {
      const inUse = Array.from(lock.holders.values()).some((holder) => holder.until > call.nowMillis)
      if (inUse && lock.limit !== claim.limit) formerLimits.push({ claim, limit: lock.limit })
      // The latest acquire sets the limit (R12).
      lock.limit = claim.limit
    }
    if (settle(lock, call, new Set([token]))) unsettled.push(claim)
  }
  // A copy of the command changes nothing.
  if (known) return { accepted: true, unsettled, formerLimits }
  const granted = locks.every(([lock, claim]) => fits(lock, claim))
  if (!granted && !request.wait) return { accepted: false, unsettled, formerLimits }
  for (const [lock, { limit, permits }] of locks) {
    const until = call.nowMillis + Math.ceil(granted ? request.ttlMillis : request.livenessMillis)
    const entry = { permits, limit, inbox, subscribed, metadata, until }
    if (granted) {
      hold(lock, call, token, entry)
    } else {
      lock.waiters.set(token, { ...entry, queued: true })
      lock.nextDeath = Math.min(lock.nextDeath, until)
    }
  }
  return { accepted: true, unsettled, formerLimits }
}

/** Who stands in the way of a claim that was refused. */
export const blocker = (lock: Lock, claim: Claim, call: Call) =>
  fits(lock, claim)
    ? []
    : [{ key: claim.key, holder: firstHolder(lock, call) }]

/** Says what the token was (R45). */
export const leave = (
  lock: Lock,
  call: Call,
  token: string,
  { buriedUntil = 0, keepMillis = 0 }: { readonly buriedUntil?: number; readonly keepMillis?: number }
): Left["was"] => {
  const was = whatIs(lock, call, token)
  const holder = lock.holders.get(token)
  if (holder && was === "Holder" && keepMillis > 0) {
    holder.until = Math.min(holder.until, call.nowMillis + Math.ceil(keepMillis))
    holder.isKept = true
    return was
  }
  if (holder) dropHolder(lock, token, holder)
  lock.waiters.delete(token)
  if (buriedUntil > call.nowMillis) {
    lock.tombstones.set(token, buriedUntil)
    lock.nextDeath = Math.min(lock.nextDeath, buriedUntil)
  }
  return was
}

const whatIs = (lock: Lock, { nowMillis }: Call, token: string): "Holder" | "Waiter" | "Unknown" => {
  const isInForce = (entry: Entry | undefined) => entry !== undefined && entry.until > nowMillis
  return isInForce(lock.holders.get(token)) ? "Holder" : isInForce(lock.waiters.get(token)) ? "Waiter" : "Unknown"
}

export const lower = (lock: Lock, token: string, permits: number): void => {
  const holder = lock.holders.get(token)
  if (holder === undefined || holder.permits <= permits) return
  lock.used -= holder.permits - permits
  holder.permits = permits
}

export const revoke = (lock: Lock, call: Call, fence: number, asks: boolean): number => {
  const revoked = Array.from(lock.holders)
    .filter(([, holder]) => holder.until > call.nowMillis && holder.fence <= fence)
  for (const [token, holder] of revoked) {
    if (!asks || holder.isKept) dropHolder(lock, token, holder)
    if (holder.isKept) continue
    call.messages.push({ what: asks ? "asked" : "revoked", inbox: holder.inbox, token, number: holder.fence })
  }
  return revoked.length
}

export const inspect = (lock: Lock, call: Call): Inspection => {
  const holders = Array.from(lock.holders.values()).filter((holder) => holder.until > call.nowMillis)
  return {
    limit: lock.limit,
    used: holders.reduce((sum, { permits }) => sum + permits, 0),
    waiting: Array.from(lock.waiters.values()).filter(({ queued, until }) => queued && until > call.nowMillis).length,
    lastFence: lock.lastFence,
    holders: holders.map(({ fence, limit, metadata, permits, until }) => ({
      fence,
      permits,
      limit,
      remainingMillis: until - call.nowMillis,
      metadata
    }))
  }
}
