/**
 * The scripts: all that is ever asked of Redis for leases. Each is safe to run twice with the same arguments, and each
 * answers with the server's time first, in milliseconds. `LockKeys` are the five keys that lua.ts describes.
 */
import * as Schema from "effect/Schema"
import { flag, flatKeys, script, Unsettled, Whole } from "./script.js"
import type { LockKeys } from "./script.js"

const AcquireReply = Schema.Union(
  Schema.Tuple(Whole, Schema.Literal("granted"), Unsettled, Whole, Schema.Array(Whole)),
  Schema.Tuple(Whole, Schema.Literal("waiting"), Unsettled, Whole, Whole, Whole, Whole),
  Schema.Tuple(
    Whole,
    Schema.Literal("refused"),
    Unsettled,
    Schema.Array(Schema.Tuple(Whole, Whole, Schema.String))
  ),
  Schema.Tuple(Whole, Schema.Literal("gone"), Unsettled),
  Schema.Tuple(Whole, Schema.Literal("late"), Unsettled)
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
    local entry = pack("h", permits, fence, subscribed, inbox, metadata)
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

local fits = true
for _, lock in ipairs(locks) do
  expire(lock)
  if known then
    renew(lock, token, ttl, liveness, subscribed)
  elseif lock.limit ~= lock.wanted then
    -- R12: the latest acquire sets the limit.
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
      reply = { "waiting", {}, now_is[2], now_is[3], now_is[4], now_is[5] }
    else
      reply = { "gone", {} }
      break
    end
  end
  reply = reply or { "granted", {}, remaining, fences }
elseif fits then
  local fences = {}
  for index, lock in ipairs(locks) do
    local entry = { kind = "h", permits = lock.permits, subscribed = subscribed, inbox = inbox, metadata = metadata }
    hold(lock, token, entry, now + ttl)
    fences[index] = text(lock.last)
  end
  reply = { "granted", {}, ttl, fences }
elseif wait then
  local lock = locks[1]
  lock.next = lock.next + 1
  call("ZADD", lock.queue, lock.next, token)
  call("ZADD", lock.alive, now + liveness, token)
  write(lock, token, { kind = "w", permits = lock.permits, number = lock.next, subscribed = subscribed, inbox = inbox, metadata = metadata })
  lock.queued, lock.living = lock.queued + 1, lock.living + 1
  lock.till = math.max(lock.till, now + liveness)
  reply = { "waiting", {}, liveness, text(lock.last), lock.queued - 1, (firstEnd(lock)) }
else
  local blockers = {}
  for index, lock in ipairs(locks) do
    if lock.blocked or lock.used + lock.permits > lock.limit then
      local ends, holder = firstEnd(lock)
      local entry = holder and read(lock, holder)
      blockers[#blockers + 1] = { index, ends, entry and entry.metadata or "" }
    end
  end
  reply = { "refused", {}, blockers }
end

for index, lock in ipairs(locks) do
  if lock.unsettled then reply[2][#reply[2] + 1] = index end
  close(lock)
end
publish()
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

const ItemAnswer = Schema.Union(
  Schema.Tuple(Schema.Literal("gone")),
  Schema.Tuple(Schema.Literal("held"), Whole, Whole),
  Schema.Tuple(Schema.Literal("waiting"), Whole, Whole, Whole, Whole),
  Schema.Tuple(Schema.Literal("failed"), Schema.String)
)

/**
 * Renewal, heartbeat and poke: renews what its items hold, keeps alive what waits, settles each lock once. Never
 * creates anything (R2). An item of a lock that fails is answered \`failed\` and why.
 *
 * @internal
 */
export const refresh = script({
  name: "refresh",
  keys: (input: RefreshInput) => flatKeys(input.locks),
  args: (input) => [
    flag(input.subscribed),
    ...input.items.flatMap((item) => [item.lock + 1, item.token, item.ttlMillis, item.livenessMillis])
  ],
  reply: Schema.Tuple(Whole, Unsettled, Schema.Array(ItemAnswer)),
  lua: `
local subscribed = ARGV[1]
local items, answered = {}, {}
for at = 2, #ARGV, 4 do
  local index = tonumber(ARGV[at])
  items[index] = items[index] or {}
  table.insert(items[index], { token = ARGV[at + 1], ttl = tonumber(ARGV[at + 2]), liveness = tonumber(ARGV[at + 3]), at = (at + 2) / 4 })
  answered[ARGV[at + 1]] = true
end

local replies, unsettled = {}, {}
for index = 1, #KEYS / 5 do
  local mine = items[index] or {}
  local _, failure = attempt(function()
    local lock = open(index)
    -- A delete that deletes nothing: what follows is then let through by a full Redis (R8).
    call("HDEL", lock.state, "#")
    expire(lock)
    for _, item in ipairs(mine) do renew(lock, item.token, item.ttl, item.liveness, subscribed) end
    grant(lock, answered)
    for _, item in ipairs(mine) do replies[item.at] = answer(lock, item.token) end
    close(lock)
    if lock.unsettled then unsettled[#unsettled + 1] = index end
  end)
  if failure then
    for _, item in ipairs(mine) do replies[item.at] = { "failed", failure } end
  end
end
publish()
return { text(now), unsettled, replies }`
})

/** @internal */
export interface RefreshInput {
  readonly locks: ReadonlyArray<LockKeys>
  readonly subscribed: boolean
  readonly items: ReadonlyArray<{
    /** Index in `locks`, from 0. */
    readonly lock: number
    readonly token: string
    readonly ttlMillis: number
    readonly livenessMillis: number
  }>
}

/**
 * Release and cancel alike: forgets each token, then grants what that freed. Answers \`""\` for each item, or why it
 * failed. An item with \`buriedUntil\` leaves a tombstone: a copy of its acquire that arrives before then does
 * nothing (R15).
 *
 * @internal
 */
export const leave = script({
  name: "leave",
  keys: (input: LeaveInput) => flatKeys(input.locks),
  args: (input) => input.items.flatMap((item) => [item.lock + 1, item.token, item.buriedUntil]),
  reply: Schema.Tuple(Whole, Unsettled, Schema.Array(Schema.String)),
  shortcut: `
-- One lock whose only holder leaves, while nobody waits and there is no tombstone.
if #ARGV == 3 and ARGV[3] == "0" and call("ZCARD", KEYS[5]) == 0 then
  local holders = call("ZRANGE", KEYS[3], 0, 1)
  if #holders == 1 and holders[1] == ARGV[2] and call("HGET", KEYS[2], ARGV[2]) then
    call("DEL", KEYS[2], KEYS[3])
    return { text(now), {}, { "" } }
  end
end`,
  lua: `
local items = {}
for at = 1, #ARGV, 3 do
  local index = tonumber(ARGV[at])
  items[index] = items[index] or {}
  table.insert(items[index], { token = ARGV[at + 1], buried = tonumber(ARGV[at + 2]), at = (at + 2) / 3 })
end

local replies, unsettled = {}, {}
for index = 1, #KEYS / 5 do
  local _, failure = attempt(function()
    local lock = open(index)
    call("HDEL", lock.state, "#")
    for _, item in ipairs(items[index]) do
      local entry = read(lock, item.token)
      if not entry or entry.kind ~= "x" then forget(lock, item.token, entry) end
      if item.buried > now and not (entry and entry.kind == "x") then
        call("ZADD", lock.alive, item.buried, item.token)
        write(lock, item.token, { kind = "x", permits = 0, number = 0, subscribed = "0", inbox = "-", metadata = "" })
        lock.living = lock.living + 1
        lock.till = math.max(lock.till, item.buried)
      end
      replies[item.at] = ""
    end
    expire(lock)
    grant(lock, {})
    close(lock)
    if lock.unsettled then unsettled[#unsettled + 1] = index end
  end)
  if failure then
    for _, item in ipairs(items[index]) do replies[item.at] = failure end
  end
end
publish()
return { text(now), unsettled, replies }`
})

/** @internal */
export interface LeaveInput {
  readonly locks: ReadonlyArray<LockKeys>
  readonly items: ReadonlyArray<{
    /** Index in `locks`, from 0. */
    readonly lock: number
    readonly token: string
    /** By the server's clock; 0 for no tombstone. */
    readonly buriedUntil: number
  }>
}
