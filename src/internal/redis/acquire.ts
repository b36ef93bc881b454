/** The script that acquires: the only one that can create anything. `LockKeys` are the five keys that lua.ts describes. */
import * as Schema from "effect/Schema"
import type { LockKeys } from "./script.js"
import { flag, flatKeys, script, Unsettled, Whole } from "./script.js"

/** Indices, from 1, of the locks that others use with another limit, and that limit (R12). Only when there are any. */
const FormerLimits = () => Schema.optionalElement(Schema.Array(Schema.Tuple(Whole, Whole)))

const AcquireReply = () =>
  Schema.Union(
    Schema.Tuple(Whole, Schema.Literal("granted"), Unsettled(), Whole, Schema.Array(Whole), FormerLimits()),
    Schema.Tuple(
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
    ),
    Schema.Tuple(
      Whole,
      Schema.Literal("refused"),
      Unsettled(),
      Schema.NonEmptyArray(Schema.Tuple(Whole, Whole, Whole, Schema.String)),
      FormerLimits()
    ),
    Schema.Tuple(Whole, Schema.Literal("gone"), Unsettled()),
    Schema.Tuple(Whole, Schema.Literal("late"), Unsettled())
  )

/**
 * Grants all locks or none; with \`wait\` (one lock only) queues. A token that is known already gets the answer of a
 * renewal, so a copy of the command changes nothing (4.2). A copy that comes after \`notAfter\` is refused (R3).
 *
 * @internal
 */
export const acquire = script({
  name: "acquire",
  keys: (input: AcquireInput) => flatKeys(input.locks),
  args: (input) => [
    input.token,
    input.ttlMillis,
    input.livenessMillis,
    input.notAfter,
    flag(input.wait),
    flag(input.subscribed),
    input.inbox,
    input.metadata,
    ...input.claims.flatMap(({ limit, permits }) => [permits, limit])
  ],
  reply: AcquireReply,
  shortcut: `
local token, ttl, liveness, notAfter = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local wait, subscribed, inbox, metadata = ARGV[5] == "1", ARGV[6], ARGV[7], ARGV[8]
if now > notAfter then return { text(now), "late", {} } end

-- One lock that nobody holds, waits for or has left a tombstone in.
if #KEYS == 5 and call("EXISTS", KEYS[2], KEYS[3], KEYS[4], KEYS[5]) == 0 then
  local last, permits, limit = number(call("GET", KEYS[1]) or "0"), ARGV[9], ARGV[10]
  if last and tonumber(permits) <= tonumber(limit) then
    local fence, ends = nextFence(last), text(now + ttl)
    local entry = pack("h", permits, limit, fence, subscribed, inbox, metadata)
    call("SET", KEYS[1], text(fence), "PX", ttl + DAY)
    call("ZADD", KEYS[3], ends, token)
    call("HSET", KEYS[2], token, entry, "#used", permits, "#limit", limit, "#until", ends)
    call("PEXPIREAT", KEYS[2], ends)
    call("PEXPIREAT", KEYS[3], ends)
    return { text(now), "granted", {}, ttl, { text(fence) } }
  end
end`,
  lua: `
local locks, known = {}, false
for index = 1, #KEYS / 5 do
  local lock = open(index)
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
    if lock.holders > 0 then formers[#formers + 1] = { index, lock.limit } end
    lock.limit, lock.dirty = lock.wanted, lock.dirty or lock.holders + lock.living > 0
  end
  grant(lock, { [token] = true })
  fits = fits and not lock.blocked and lock.used + lock.permits <= lock.limit
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
    local entry = { kind = "h", permits = lock.permits, limit = lock.limit, subscribed = subscribed, inbox = inbox, metadata = metadata }
    hold(lock, token, entry, now + ttl)
    fences[index] = text(lock.last)
  end
  reply = { "granted", {}, ttl, fences }
elseif wait then
  local lock = locks[1]
  lock.next = lock.next + 1
  call("ZADD", lock.queue, lock.next, token)
  call("ZADD", lock.alive, now + liveness, token)
  write(lock, token, {
    kind = "w", permits = lock.permits, limit = lock.limit, number = lock.next,
    subscribed = subscribed, inbox = inbox, metadata = metadata
  })
  lock.queued, lock.living = lock.queued + 1, lock.living + 1
  lock.till = math.max(lock.till, now + liveness)
  reply = { "waiting", {}, liveness, text(lock.last), lock.queued - 1, firstEnd(lock) }
else
  local blockers = {}
  for index, lock in ipairs(locks) do
    if lock.blocked or lock.used + lock.permits > lock.limit then
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
