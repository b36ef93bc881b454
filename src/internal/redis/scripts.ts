/**
 * The scripts for what holds or waits already. Each is safe to run twice with the same arguments, and each answers with
 * the server's time first, in milliseconds. `LockKeys` are the five keys that lua.ts describes.
 */
import * as Schema from "effect/Schema"
import { flag, flatKeys, isEmpty, ItemAnswer, script, toWhole, Unsettled, Whole } from "./script.js"
import type { LockKeys } from "./script.js"

const RefreshReply = () => Schema.Tuple([Whole, Unsettled(), Schema.Array(ItemAnswer())])
type RefreshReply = ReturnType<typeof RefreshReply>["Type"]

/** Everything is held still. */
const usualRefresh = (reply: ReadonlyArray<unknown>): RefreshReply | undefined => {
  const [now, unsettled, items] = [toWhole(reply[0]), reply[1], reply[2]]
  if (now === undefined || reply.length !== 3 || !isEmpty(unsettled) || !Array.isArray(items)) return undefined
  const answers: Array<readonly ["held", number, number]> = []
  for (const item of items) {
    if (!Array.isArray(item) || item[0] !== "held" || item.length !== 3) return undefined
    const [remaining, fence] = [toWhole(item[1]), toWhole(item[2])]
    if (remaining === undefined || fence === undefined) return undefined
    answers.push(["held", remaining, fence])
  }
  return [now, [], answers]
}

/**
 * Renewal, heartbeat and poke: renews what its items hold, keeps alive what waits, settles each lock once. Never
 * creates anything (R2). An item of a lock that fails is answered \`failed\` and why.
 *
 * @internal
 */
export const refresh = script({
  name: "refresh",
  keys: (input: RefreshInput) => flatKeys(input.locks),
  // One argument an item, as the driver's time goes by their number.
  args: ({ items, subscribed }) => [
    flag(subscribed),
    ...items.map((item) => `${item.lock + 1} ${item.ttlMillis} ${item.livenessMillis} ${item.token}`)
  ],
  reply: RefreshReply,
  usual: usualRefresh,
  lua: `
local subscribed = ARGV[1]
local items = {}
for at = 2, #ARGV do
  local index, ttl, liveness, token = string.match(ARGV[at], "^(%d+) (%d+) (%d+) (.*)$")
  local mine = items[tonumber(index)] or {}
  items[tonumber(index)] = mine
  mine[#mine + 1] = { token = token, ttl = tonumber(ttl), liveness = tonumber(liveness), at = at - 1 }
end

-- The holder that is the first to end, in time, of a lock that nobody waits for: just what the rest would do to it.
local isOpen = false
local function renewAlone(lock, item)
  local meta = redis.pcall("HMGET", lock.state, item.token, "#used", "#limit", "#until")
  local fence, inbox = string.match(meta[1] or "", "^h %d+ %d+ (%d+) %d (%S+) ")
  local till = tonumber(meta[4])
  if not fence or inbox == "-" or not meta[2] or not meta[3] or not till then return nil end
  local first, last = redis.pcall("ZRANGE", lock.held, 0, 0, "WITHSCORES"), redis.pcall("GET", lock.fence)
  local ends = first[1] == item.token and tonumber(first[2]) or 0
  if ends <= now or type(last) ~= "string" or not number(last) then return nil end
  if ends > till or call("EXISTS", lock.queue, lock.alive) > 0 then return nil end
  local later = now + item.ttl
  if later > ends then
    -- R8: once a script. What follows is then let through by a full Redis.
    if not isOpen then call("HDEL", lock.state, "#") end
    isOpen, ends = true, later
    if later > till then raise(lock, later, true) end
    call("ZADD", lock.held, later, item.token)
  end
  return { "held", ends - now, fence }
end

local replies, unsettled = {}, {}
for index = 1, #KEYS / 5 do
  local mine = items[index] or {}
  local renewed = #mine == 1 and attempt(renewAlone, keysOf(index), mine[1])
  if renewed then
    replies[mine[1].at] = renewed
  else
    local _, failure = attempt(function()
      local tokens, answered = {}, {}
      for i, item in ipairs(mine) do tokens[i], answered[item.token] = item.token, true end
      local lock = open(index, unpack(tokens))
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

const LeaveReply = () => Schema.Tuple([Whole, Unsettled(), Schema.Array(Schema.String)])
type LeaveReply = ReturnType<typeof LeaveReply>["Type"]

/** Nothing failed, and all were holders. */
const usualLeave = (reply: ReadonlyArray<unknown>): LeaveReply | undefined => {
  const [now, unsettled, answers] = [toWhole(reply[0]), reply[1], reply[2]]
  if (now === undefined || reply.length !== 3 || !isEmpty(unsettled) || !Array.isArray(answers)) return undefined
  return answers.every((words) => words === "holder") ? [now, [], answers.map(() => "holder")] : undefined
}

/**
 * Release and cancel alike: forgets each token, then grants what that freed. Answers \`holder\`, \`waiter\` or
 * \`unknown\` for each item, which is what it was (R45), or \`failed\` and why. An item with a positive \`time\` leaves a
 * tombstone until then: a copy of its acquire that arrives before does nothing (R15). With a negative one a holder is
 * kept for so many milliseconds, with no inbox: nobody works under it.
 *
 * @internal
 */
export const leave = script({
  name: "leave",
  keys: (input: LeaveInput) => flatKeys(input.locks),
  args: (input) => input.items.flatMap((item) => [item.lock + 1, item.token, item.time]),
  reply: LeaveReply,
  usual: usualLeave,
  shortcut: `
-- Locks whose only holder leaves each, while nobody waits and there is no tombstone. What is not so is left to the rest.
local over, isFree = {}, #ARGV / 3 == #KEYS / 5
for at = 1, isFree and #ARGV or 0, 3 do
  local lock, token = keysOf(tonumber(ARGV[at])), ARGV[at + 1]
  isFree = ARGV[at + 2] == "0" and call("EXISTS", lock.queue, lock.alive) == 0
  if not isFree then break end
  local holders = redis.pcall("ZRANGE", lock.held, 0, 1, "WITHSCORES")
  isFree = #holders == 2 and holders[1] == token and tonumber(holders[2]) > now and type(redis.pcall("HGET", lock.state, token)) == "string"
  if not isFree then break end
  over[#over + 1] = lock
end
if isFree then
  local replies = {}
  for i, lock in ipairs(over) do
    call("DEL", lock.state, lock.held)
    replies[i] = "holder"
  end
  return { text(now), {}, replies }
end

-- One lock where nobody is over: what a holder had goes to the first who waits, when that wants just so much and can be
-- reached; or to nobody, when nobody waits.
local function handOver(lock, token)
  local first, queue = redis.pcall("ZRANGE", lock.held, 0, 1, "WITHSCORES"), redis.pcall("ZRANGE", lock.queue, 0, 0)
  local dead, ends, next = redis.pcall("ZCOUNT", lock.alive, "-inf", now), tonumber(first[2]), queue[1]
  if queue.err or dead ~= 0 or not ends or ends <= now then return false end
  local meta = redis.pcall("HMGET", lock.state, token, "#used", "#limit", "#until", next or "#")
  local had, used, till = tonumber(string.match(meta[1] or "", "^h (%d+) ")), tonumber(meta[2]), tonumber(meta[4])
  if not had or not used or not till or ends > till or first[1] ~= token and not call("ZSCORE", lock.held, token) then return false end
  if not next then
    if used <= had or not first[3] then return false end
    call("HDEL", lock.state, token, "#used")
    call("ZREM", lock.held, token)
    call("HSET", lock.state, "#used", used - had)
    return true
  end
  local permits, limit, subscribed, inbox, metadata = string.match(meta[5] or "", "^w (%d+) (%d+) %d+ (%d) (%S+) (.*)$")
  local last = redis.pcall("GET", lock.fence) or "0"
  local lives = call("ZSCORE", lock.alive, next)
  -- Whoever takes all that is free leaves nothing for others. Where Redis has evicted a key, the rest makes it right.
  if tonumber(permits) ~= had or used ~= tonumber(meta[3]) or not first[3] and used ~= had or not lives or tonumber(lives) > till then
    return false
  end
  if type(last) ~= "string" or not number(last) then return false end
  if subscribed == "1" then
    local heard = redis.pcall("PUBSUB", "NUMSUB", inbox)
    if heard.err or heard[2] == 0 then return false end
  end
  local fence = text(nextFence(number(last)))
  call("HDEL", lock.state, token, "#used")
  -- R14: until its liveness ends, not a whole ttl. The set is never empty, so that it keeps its expiry.
  call("ZADD", lock.held, lives, next)
  call("ZREM", lock.held, token)
  call("ZREM", lock.queue, next)
  call("ZREM", lock.alive, next)
  call("HSET", lock.state, next, pack("h", permits, limit, fence, subscribed, inbox, metadata), "#used", used)
  call("SET", lock.fence, fence, "PX", text(till - now + DAY))
  if subscribed == "1" then
    redis.pcall("PUBLISH", inbox, message(event("granted", next, fence)))
  end
  return true
end
if #KEYS == 5 and #ARGV == 3 and ARGV[3] == "0" and handOver(keysOf(1), ARGV[2]) then
  return { text(now), {}, { "holder" } }
end`,
  lua: `
local items = {}
for at = 1, #ARGV, 3 do
  local index = tonumber(ARGV[at])
  items[index] = items[index] or { tokens = {} }
  table.insert(items[index], { token = ARGV[at + 1], time = tonumber(ARGV[at + 2]), at = (at + 2) / 3 })
  table.insert(items[index].tokens, ARGV[at + 1])
end

local replies, unsettled = {}, {}
for index = 1, #KEYS / 5 do
  local _, failure = attempt(function()
    local lock = open(index, unpack(items[index].tokens))
    for _, item in ipairs(items[index]) do
      local entry = read(lock, item.token)
      local kind = entry and endOf(lock, item.token, entry) > now and entry.kind
      if kind == "h" and item.time < 0 then
        keep(lock, item.token, entry, now - item.time)
      elseif kind ~= "x" then
        forget(lock, item.token, entry)
        if item.time > now then
          local buried = { kind = "x", permits = 0, limit = 0, number = 0, subscribed = "0", inbox = "-", metadata = "" }
          admit(lock, item.token, buried, item.time)
        end
      end
      replies[item.at] = kind == "h" and "holder" or kind == "w" and "waiter" or "unknown"
    end
    expire(lock)
    grant(lock, {})
    close(lock)
    if lock.unsettled then unsettled[#unsettled + 1] = index end
  end)
  if failure then
    for _, item in ipairs(items[index]) do replies[item.at] = "failed " .. failure end
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
    /** Until when its tombstone stands, by the server's clock; or less the milliseconds to keep it; or 0. */
    readonly time: number
  }>
}
