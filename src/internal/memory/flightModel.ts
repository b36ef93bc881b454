/**
 * The flights of a server, in memory: the same state machine as the Lua of redis/flightLua.ts, step by step, and the one
 * to read first. Plain functions on plain data; the time is an argument. A test walks both side by side.
 */
import type { Answer, FinishRequest, JoinAnswer, JoinRequest, Outcome, RefreshItem } from "../flightStore.js"

interface Leader {
  readonly token: string
  ends: number
  ttlMillis: number
}

/** What a run came to. */
interface Finished {
  readonly payload: string
  readonly finishedAt: number
}

export interface Flight {
  leader: Leader | undefined
  /** Alive until, where to reach it, and until when a copy of its join might come. */
  readonly followers: Map<string, { until: number; readonly inbox: string; readonly notAfter: number }>
  /** What a token that has followed may read, and until when. */
  readonly served: Map<string, { readonly outcome: Finished; readonly until: number }>
  /** Tokens that have no part in anything any more, and until when a copy of their join might still come (R36). */
  readonly buried: Map<string, number>
  /** Tokens whose finish was accepted, and until when a copy of it might still come (R33). */
  readonly done: Map<string, number>
  kept: { readonly outcome: Finished; readonly until: number } | undefined
}

export interface Message {
  readonly what: "outcome" | "stored" | "moved"
  readonly inbox: string
  readonly token: string
  readonly outcome: Finished | undefined
}

/** One call: its time, until when a copy of it might come, and what it has to say to whom. */
export interface Call {
  readonly nowMillis: number
  readonly notAfter: number
  readonly messages: Array<Message>
}

/** What is longer is not sent unasked. */
const sentBytesMax = 65_536

export const emptyFlight = (): Flight => ({
  leader: undefined,
  followers: new Map(),
  served: new Map(),
  buried: new Map(),
  done: new Map(),
  kept: undefined
})

const isLong = (payload: string): boolean =>
  payload.length * 3 > sentBytesMax && new TextEncoder().encode(payload).length > sentBytesMax

const isLed = (flight: Flight, nowMillis: number): boolean =>
  flight.leader !== undefined && flight.leader.ends > nowMillis

const dropOver = (entries: Map<string, { readonly until: number } | number>, nowMillis: number): void => {
  for (const [token, entry] of entries) {
    if ((typeof entry === "number" ? entry : entry.until) <= nowMillis) entries.delete(token)
  }
}

/** Drops what has had its time. A leader's record stays until somebody else leads, for a ttl at most (R33). */
const sweep = (flight: Flight, nowMillis: number): void => {
  // R36: a copy of its join must not bring it back.
  for (const [token, { notAfter, until }] of flight.followers) {
    if (until <= nowMillis) flight.buried.set(token, notAfter)
  }
  for (const entries of [flight.followers, flight.served, flight.buried, flight.done]) dropOver(entries, nowMillis)
  if (flight.kept && flight.kept.until <= nowMillis) flight.kept = undefined
  if (flight.leader && flight.leader.ends + flight.leader.ttlMillis <= nowMillis) flight.leader = undefined
}

/** Whether nothing of it needs to be kept. */
export const isOver = (flight: Flight, nowMillis: number): boolean => {
  sweep(flight, nowMillis)
  const { buried, done, followers, kept, leader, served } = flight
  return leader === undefined && kept === undefined && buried.size + done.size + followers.size + served.size === 0
}

const lead = (flight: Flight, call: Call, token: string, ttlMillis: number): void => {
  if (flight.leader) flight.buried.set(flight.leader.token, call.notAfter)
  flight.followers.delete(token)
  flight.leader = { token, ttlMillis, ends: call.nowMillis + Math.ceil(ttlMillis) }
}

const renew = (flight: Flight, call: Call, token: string, ttlMillis: number): void => {
  const ends = call.nowMillis + Math.ceil(ttlMillis)
  const { leader } = flight
  if (leader?.token === token) {
    if (leader.ends <= call.nowMillis) return
    leader.ends = Math.max(leader.ends, ends)
    leader.ttlMillis = ttlMillis
  }
  const follower = flight.followers.get(token)
  if (follower === undefined) return
  if (isLed(flight, call.nowMillis)) follower.until = Math.max(follower.until, ends)
  else lead(flight, call, token, ttlMillis)
}

const outcomeOf = ({ finishedAt, payload }: Finished): Outcome => ({ _tag: "Outcome", payload, finishedAt })

const statusOf = (flight: Flight, call: Call, token: string): Exclude<JoinAnswer, { readonly _tag: "Kept" }> => {
  const { leader } = flight
  const now = call.nowMillis
  if (leader?.token === token && leader.ends > now) {
    return { _tag: "Leads", remainingMillis: leader.ends - now, followers: flight.followers.size }
  }
  const follower = flight.followers.get(token)
  if (follower) {
    const leaderEndsMillis = Math.max(0, (leader?.ends ?? 0) - now)
    return { _tag: "Follows", remainingMillis: follower.until - now, leaderEndsMillis }
  }
  const served = flight.served.get(token)
  return served ? outcomeOf(served.outcome) : { _tag: "Gone" }
}

export const join = (flight: Flight, call: Call, request: JoinRequest, inbox: string): JoinAnswer => {
  const { gaveUp, keepMillis, token, ttlMillis } = request
  sweep(flight, call.nowMillis)
  if (gaveUp !== undefined && (flight.leader?.token === gaveUp || flight.followers.has(gaveUp))) {
    if (flight.leader?.token === gaveUp) flight.leader = undefined
    flight.followers.delete(gaveUp)
    flight.buried.set(gaveUp, call.notAfter)
  }
  const isNew = flight.leader?.token !== token &&
    ![flight.followers, flight.served, flight.buried, flight.done].some((entries) => entries.has(token))
  if (isNew) {
    const kept = keepMillis > 0 ? flight.kept?.outcome : undefined
    // One that lies in the future is of no age: the clock went back.
    const age = kept ? call.nowMillis - kept.finishedAt : -1
    if (kept && age >= 0 && age <= keepMillis) return { _tag: "Kept", payload: kept.payload }
    if (isLed(flight, call.nowMillis)) {
      const { notAfter, nowMillis } = call
      flight.followers.set(token, { inbox, notAfter, until: nowMillis + Math.ceil(ttlMillis) })
    } else {
      lead(flight, call, token, ttlMillis)
    }
  } else {
    renew(flight, call, token, ttlMillis)
  }
  return statusOf(flight, call, token)
}

export const refresh = (flight: Flight, call: Call, { token, ttlMillis }: RefreshItem): Answer => {
  sweep(flight, call.nowMillis)
  renew(flight, call, token, ttlMillis)
  const answer = statusOf(flight, call, token)
  return answer._tag === "Outcome" && isLong(answer.payload)
    ? { _tag: "Stored", finishedAt: answer.finishedAt }
    : answer
}

export const finish = (flight: Flight, call: Call, request: FinishRequest): boolean => {
  const { keepMillis, payload, retentionMillis, token } = request
  sweep(flight, call.nowMillis)
  if (flight.done.has(token)) return true
  if (flight.leader?.token !== token) return false
  const outcome: Finished = { payload, finishedAt: call.nowMillis }
  const what = isLong(payload) ? "stored" : "outcome"
  flight.leader = undefined
  flight.done.set(token, call.notAfter)
  if (keepMillis > 0) flight.kept = { outcome, until: call.nowMillis + Math.ceil(keepMillis) }
  for (const [follower, { inbox }] of flight.followers) {
    flight.served.set(follower, { outcome, until: call.nowMillis + Math.ceil(retentionMillis) })
    call.messages.push({ what, inbox, token: follower, outcome })
  }
  flight.followers.clear()
  return true
}

export const leave = (flight: Flight, call: Call, token: string): void => {
  sweep(flight, call.nowMillis)
  if (flight.served.has(token) || flight.done.has(token)) return
  flight.followers.delete(token)
  flight.buried.set(token, call.notAfter)
  if (flight.leader?.token !== token) return
  flight.leader = undefined
  for (const [follower, { inbox }] of flight.followers) {
    call.messages.push({ what: "moved", inbox, token: follower, outcome: undefined })
  }
}

export const fetch = (flight: Flight, token: string): Outcome | { readonly _tag: "Gone" } => {
  const served = flight.served.get(token)
  return served ? outcomeOf(served.outcome) : { _tag: "Gone" }
}
