/** The script that acquires: the only one that can create anything. `LockKeys` are the five keys that lua.ts describes. */
import * as Edition from "#edition"
import * as Schema from "effect/Schema"
import type { LockKeys } from "./script.js"
import { flag, flatKeys, isEmpty, script, toWhole, Unsettled, Whole } from "./script.js"

/** Indices, from 1, of the locks that others use with another limit, and that limit (R12). Only when there are any. */
const FormerLimits = () => Edition.optionalElement(Schema.Array(Schema.Tuple([Whole, Whole])))

const AcquireReply = () =>
  Schema.Union([
    Schema.Tuple([Whole, Schema.Literal("granted"), Unsettled(), Whole, Schema.Array(Whole), FormerLimits()]),
    Schema.Tuple([
      Whole,
      Schema.Literal("waiting"),
      Unsettled(),
      Whole,
      Whole,
      Whole,
      Whole,
      Whole,
      Schema.String,
      FormerLimits()
    ]),
    Schema.Tuple([
      Whole,
      Schema.Literal("refused"),
      Unsettled(),
      Schema.NonEmptyArray(Schema.Tuple([Whole, Whole, Whole, Schema.String])),
      FormerLimits()
    ]),
    Schema.Tuple([Whole, Schema.Literal("gone"), Unsettled()]),
    Schema.Tuple([Whole, Schema.Literal("late"), Unsettled()])
  ])

type Reply = ReturnType<typeof AcquireReply>["Type"]

/** A grant, and a place in the queue. */
const usual = (reply: ReadonlyArray<unknown>): Reply | undefined => {
  const [now, remaining] = [toWhole(reply[0]), toWhole(reply[3])]
  if (now === undefined || remaining === undefined || !isEmpty(reply[2])) return undefined
  if (reply[1] === "granted" && reply.length === 5 && Array.isArray(reply[4])) {
    const fences = reply[4].flatMap((fence) => toWhole(fence) ?? [])
    return fences.length === reply[4].length ? [now, "granted", [], remaining, fences] : undefined
  }
  if (reply[1] !== "waiting" || reply.length !== 9) return undefined
  const [last, rank, ends, fence] = [toWhole(reply[4]), toWhole(reply[5]), toWhole(reply[6]), toWhole(reply[7])]
  const metadata = reply[8]
  return last === undefined || rank === undefined || ends === undefined || fence === undefined ||
      typeof metadata !== "string"
    ? undefined
    : [now, "waiting", [], remaining, last, rank, ends, fence, metadata]
}

/**
 * Grants all locks or none; with \`wait\` (one lock only) queues. A token that is known already gets the answer of a
 * renewal, so a copy of the command changes nothing (4.2). A copy that comes from \`notAfter\` on is refused (R3).
 *
 * @internal
 */
export const acquire = script({
  name: "acquire",
  keys: (input: AcquireInput) => flatKeys(input.locks),
  args: (input) => {
    const args = [
      input.token,
      input.ttlMillis,
      input.livenessMillis,
      input.notAfter,
      flag(input.wait),
      flag(input.subscribed),
      input.inbox,
      input.metadata
    ]
    for (const { limit, permits } of input.claims) args.push(permits, limit)
    return args
  },
  reply: AcquireReply,
  usual,
  shortcut: `
local token, ttl, liveness, notAfter = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local wait, subscribed, inbox, metadata = ARGV[5] == "1", ARGV[6], ARGV[7], ARGV[8]
if now >= notAfter then return { text(now), "late", {} } end

-- Locks that nobody holds, waits for or has left a tombstone in.
local all, isFree = {}, true
for index = 1, #KEYS / 5 do
  local lock = keysOf(index)
  lock.permits, lock.limit = ARGV[7 + index * 2], ARGV[8 + index * 2]
  lock.last = call("EXISTS", lock.state, lock.held, lock.queue, lock.alive) == 0 and number(call("GET", lock.fence) or "0")
  isFree = lock.last and tonumber(lock.permits) <= tonumber(lock.limit)
  if not isFree then break end
  all[index] = lock
end
if isFree then
  local fences, ends = {}, text(now + ttl)
  for index, lock in ipairs(all) do
    local fence = text(nextFence(lock.last))
    local entry = pack("h", lock.permits, lock.limit, fence, subscribed, inbox, metadata)
    fences[index] = fence
    call("SET", lock.fence, fence, "PX", ttl + DAY)
    call("ZADD", lock.held, ends, token)
    call("PEXPIREAT", lock.held, ends)
    call("HSET", lock.state, token, entry, "#used", lock.permits, "#limit", lock.limit, "#until", ends)
    call("PEXPIREAT", lock.state, ends)
  end
  return { text(now), "granted", {}, ttl, fences }
end

-- R8: a full Redis refuses this script at its first write that may need memory, and lets it through after one that does
-- not. So it begins with one that does, and that changes nothing.
local function knock(lock) call("ZADD", lock.held, "XX", 0, "") end

-- One lock that others hold, where nobody is over and nobody wants another limit. Who fits is let in when nobody waits;
-- who finds no permit free joins the queue.
local function enter(lock, permits, wanted)
  local meta = call("HMGET", lock.state, token, "#used", "#limit", "#until", "#next")
  local first, last = call("ZRANGE", lock.held, 0, 0, "WITHSCORES"), number(call("GET", lock.fence) or "0")
  local dead, rank = call("ZCOUNT", lock.alive, "-inf", now), call("ZCARD", lock.queue)
  local ends, used, limit = tonumber(first[2]), tonumber(meta[2]), tonumber(meta[3])
  if meta[1] or not last or not ends or ends <= now or dead > 0 then return nil end
  if not used or not limit or meta[3] ~= wanted then return nil end
  local till = tonumber(meta[4] or "0")
  if ends > till then return nil end
  local function reach(deadline, further)
    if deadline <= till then return end
    knock(lock)
    till = further
    raise(lock, till)
  end
  if used + permits <= limit and rank == 0 and call("EXISTS", lock.alive) == 0 then
    local fence = text(nextFence(last))
    reach(now + ttl, now + ttl)
    call("SET", lock.fence, fence, "PX", text(till - now + DAY))
    call("ZADD", lock.held, text(now + ttl), token)
    local entry = pack("h", permits, wanted, fence, subscribed, inbox, metadata)
    call("HSET", lock.state, token, entry, "#used", used + permits)
    return { text(now), "granted", {}, ttl, { fence } }
  elseif wait and used >= limit then
    local place = tonumber(meta[5] or "0") + 1
    local fence, about = string.match(call("HGET", lock.state, first[1]) or "", "^%a %d+ %d+ (%d+) %d %S+ (.*)$")
    reach(now + liveness, spare(now + liveness))
    call("ZADD", lock.queue, place, token)
    call("ZADD", lock.alive, now + liveness, token)
    -- Both may have been made just now.
    call("PEXPIREAT", lock.queue, text(till))
    call("PEXPIREAT", lock.alive, text(till))
    local entry = pack("w", permits, wanted, text(place), subscribed, inbox, metadata)
    call("HSET", lock.state, token, entry, "#next", place)
    return { text(now), "waiting", {}, liveness, text(last), rank, ends - now, fence or "0", about or "" }
  end
  return nil
end
local entered = #KEYS == 5 and enter(keysOf(1), tonumber(ARGV[9]), ARGV[10])
if entered then return entered end`,
  lua: `
local locks, known = {}, false
for index = 1, #KEYS / 5 do
  local lock = open(index, token)
  lock.permits, lock.wanted = tonumber(ARGV[7 + index * 2]), tonumber(ARGV[8 + index * 2])
  known = known or read(lock, token) ~= nil
  locks[index] = lock
end

local fits, formers = true, {}
for index, lock in ipairs(locks) do
  expire(lock)
  if known then
    renew(lock, token, ttl, liveness, subscribed)
  elseif lock.limit ~= lock.wanted then
    -- R12: the latest acquire sets the limit.
    if firstHeld(lock) and lock.limitRead then formers[#formers + 1] = { index, lock.limit } end
    lock.limit, lock.dirty = lock.wanted, lock.dirty or firstHeld(lock) ~= nil or lock.dies ~= nil
  end
  grant(lock, { [token] = true })
  fits = fits and not known and usedOf(lock) + lock.permits <= lock.limit and not headOf(lock)
end

local reply
if known then
  local fences, remaining = {}, nil
  for index, lock in ipairs(locks) do
    local now_is = answer(lock, token)
    if now_is[1] == "held" then
      fences[index] = now_is[3]
      remaining = math.min(remaining or now_is[2], now_is[2])
    elseif now_is[1] == "waiting" then
      reply = { "waiting", {}, unpack(now_is, 2) }
    else
      reply = { "gone", {} }
      break
    end
  end
  reply = reply or { "granted", {}, remaining, fences }
elseif fits then
  local fences = {}
  for index, lock in ipairs(locks) do
    knock(lock)
    local entry = { kind = "h", permits = lock.permits, limit = lock.limit, subscribed = subscribed, inbox = inbox, metadata = metadata }
    hold(lock, token, entry, now + ttl)
    fences[index] = text(lock.last)
  end
  reply = { "granted", {}, ttl, fences }
elseif wait then
  local lock = locks[1]
  lock.next = lock.next + 1
  local entry = {
    kind = "w", permits = lock.permits, limit = lock.limit, number = lock.next,
    subscribed = subscribed, inbox = inbox, metadata = metadata
  }
  knock(lock)
  admit(lock, token, entry, now + liveness)
  reply = { "waiting", {}, liveness, text(lock.last), call("ZCARD", lock.queue) - 1, firstEnd(lock) }
else
  local blockers = {}
  for index, lock in ipairs(locks) do
    if usedOf(lock) + lock.permits > lock.limit or headOf(lock) then
      blockers[#blockers + 1] = { index, firstEnd(lock) }
    end
  end
  reply = { "refused", {}, blockers }
end

for index, lock in ipairs(locks) do
  if lock.unsettled then reply[2][#reply[2] + 1] = index end
  close(lock)
end
publish()
if #formers > 0 then reply[#reply + 1] = formers end
table.insert(reply, 1, text(now))
return reply`
})

/** @internal */
export interface AcquireInput {
  readonly locks: ReadonlyArray<LockKeys>
  /** One for each lock. */
  readonly claims: ReadonlyArray<{ readonly permits: number; readonly limit: number }>
  readonly token: string
  readonly ttlMillis: number
  readonly livenessMillis: number
  /** By the server's clock. */
  readonly notAfter: number
  readonly wait: boolean
  readonly subscribed: boolean
  readonly inbox: string
  readonly metadata: string
}
