/**
 * The Lua that the scripts share. This is where the rules of docs/protocol.md that need atomicity are upheld.
 *
 * A lock is five Redis keys in one slot. They are passed in this order, and none is built here:
 *
 * - fence: string. The last fencing token; outlives the lease by a day, so that tokens grow for ever.
 * - state: hash. An entry for each token; and #used, #limit, #until (the latest deadline in it), #next (queue number).
 * - held:  sorted set. Token by the end of its lease.
 * - queue: sorted set. Token by its queue number.
 * - alive: sorted set. Token of a waiter (or of a tombstone) by the time until which it counts.
 *
 * An entry is `kind permits limit number subscribed inbox metadata`: kind h (holder, number = fence), w (waiter, number =
 * its place in the queue) or x (tombstone); limit is the one that its process asked for. Times are milliseconds of this
 * server, read once (R23).
 *
 * Invariants: `used` is the sum of permits of all h entries and at most the limit, unless the limit was lowered (R12). A
 * token is in `held` if its entry is h; in `alive` if w or x. A w entry outside `queue` was passed over (R7).
 */
export const header = `
local call = redis.call
local stamp = call("TIME")
local nowMicros = stamp[1] * 1000000 + stamp[2]
local now = math.floor(nowMicros / 1000)
local DAY = 86400000

-- R1: digits of a fence must survive the way into a string.
local function text(number) return string.format("%.0f", number) end

local function pack(kind, permits, limit, number, subscribed, inbox, metadata)
  return table.concat({ kind, permits, limit, text(number), subscribed, inbox, metadata }, " ")
end

-- What this library has written, or nil.
local function number(digits) return string.match(digits, "^%d+$") and tonumber(digits) end

-- Grows over all holders, and over a loss of all data: a counter alone would start again at 1.
local function nextFence(last) return math.max(last + 1, nowMicros) end
`

/** What a script needs beyond its shortcut, if it has one. */
export const prelude = `
local MAX_STEPS = 64
local inboxes, outbox, reached = {}, {}, {}

local function open(index)
  local at = (index - 1) * 5
  local lock = {
    fence = KEYS[at + 1], state = KEYS[at + 2], held = KEYS[at + 3], queue = KEYS[at + 4], alive = KEYS[at + 5],
    steps = 0, dirty = false, unsettled = false, blocked = false
  }
  -- R8: each key is read by its type before the first write, so that a foreign key fails the whole step untouched.
  local meta = call("HMGET", lock.state, "#used", "#limit", "#until", "#next")
  lock.last = number(call("GET", lock.fence) or "0")
  if not lock.last then error("WRONGTYPE the key of the fencing token holds something else", 0) end
  lock.holders = call("ZCARD", lock.held)
  lock.queued = call("ZCARD", lock.queue)
  lock.living = call("ZCARD", lock.alive)
  lock.limit = tonumber(meta[2] or "1")
  -- Where Redis has evicted one key and not the other, what is held counts for all there is.
  lock.used = lock.holders > 0 and tonumber(meta[1] or lock.limit) or 0
  lock.till = tonumber(meta[3] or "0")
  lock.next = tonumber(meta[4] or "0")
  lock.lastRead, lock.tillRead = lock.last, lock.till
  return lock
end

local function read(lock, token)
  local value = call("HGET", lock.state, token)
  if not value then return nil end
  local kind, permits, limit, number, subscribed, inbox, metadata =
    string.match(value, "^(%a) (%d+) (%d+) (%d+) (%d) (%S+) (.*)$")
  if not kind then return nil end
  return {
    kind = kind, permits = tonumber(permits), limit = tonumber(limit), number = tonumber(number),
    subscribed = subscribed, inbox = inbox, metadata = metadata
  }
end

local function write(lock, token, entry)
  lock.dirty = true
  local packed = pack(entry.kind, entry.permits, entry.limit, entry.number, entry.subscribed, entry.inbox, entry.metadata)
  call("HSET", lock.state, token, packed)
end

-- R8: the delete comes first: a full Redis refuses a script whose first write is not one.
local function forget(lock, token, entry)
  lock.dirty = true
  call("HDEL", lock.state, token)
  if not entry or entry.kind == "h" then
    local was = call("ZREM", lock.held, token)
    lock.holders = lock.holders - was
    if entry then lock.used = math.max(0, lock.used - was * entry.permits) end
  end
  if not entry or entry.kind ~= "h" then
    lock.queued = lock.queued - call("ZREM", lock.queue, token)
    lock.living = lock.living - call("ZREM", lock.alive, token)
  end
end

local function hold(lock, token, entry, deadline)
  if entry.kind == "w" then
    lock.queued = lock.queued - call("ZREM", lock.queue, token)
    lock.living = lock.living - call("ZREM", lock.alive, token)
  end
  lock.last = nextFence(lock.last)
  entry.kind, entry.number = "h", lock.last
  call("ZADD", lock.held, deadline, token)
  write(lock, token, entry)
  lock.holders = lock.holders + 1
  lock.used = lock.used + entry.permits
  lock.till = math.max(lock.till, deadline)
end

local function tell(inbox, what, token, number)
  if not outbox[inbox] then
    outbox[inbox] = {}
    inboxes[#inboxes + 1] = inbox
  end
  local box = outbox[inbox]
  box[#box + 1] = '["' .. what .. '","' .. token .. '","' .. text(number) .. '"]'
end

-- Asked once an inbox and run (R22). Where the question is refused the answer is yes: heartbeats carry the grant.
local function reachable(inbox)
  if reached[inbox] == nil then
    local reply = redis.pcall("PUBSUB", "NUMSUB", inbox)
    reached[inbox] = type(reply) ~= "table" or reply.err ~= nil or reply[2] > 0
  end
  return reached[inbox]
end

local function expire(lock)
  if lock.holders == 0 then return end
  local expired = call("ZRANGEBYSCORE", lock.held, "-inf", now, "LIMIT", 0, MAX_STEPS)
  for _, token in ipairs(expired) do
    forget(lock, token, read(lock, token))
  end
  lock.steps = lock.steps + #expired
  if lock.holders == 0 then lock.used = 0 end
  if #expired == MAX_STEPS then lock.unsettled = true end
end

-- Dead waiters and tombstones whose time is over. A dead one is not granted anyway: this is for ranks and memory.
local function sweep(lock)
  local room = MAX_STEPS - lock.steps
  if lock.living == 0 or room <= 0 then return end
  for _, token in ipairs(call("ZRANGEBYSCORE", lock.alive, "-inf", now, "LIMIT", 0, room)) do
    forget(lock, token, read(lock, token))
  end
end

-- Grants while the head of the queue fits. \`answered\` has the tokens that learn of it by the reply of this script.
local function grant(lock, answered)
  while lock.queued > 0 and lock.used < lock.limit do
    if lock.steps >= MAX_STEPS then
      lock.unsettled, lock.blocked = true, true
      return
    end
    lock.steps = lock.steps + 1
    local token = call("ZRANGE", lock.queue, 0, 0)[1]
    local entry = read(lock, token)
    local deadline = tonumber(call("ZSCORE", lock.alive, token) or "0")
    if not entry or entry.kind ~= "w" or deadline <= now then
      forget(lock, token, entry)
    elseif entry.permits > lock.limit then
      -- R12: another process has lowered the limit below what this one asks for: it would block the queue for ever.
      forget(lock, token, entry)
      tell(entry.inbox, "overlimit", token, lock.limit)
    elseif lock.used + entry.permits > lock.limit then
      break
    elseif entry.subscribed == "1" and not answered[token] and not reachable(entry.inbox) then
      -- R7: passed over, not removed. It keeps its number; its own heartbeat puts it back in its place.
      lock.queued = lock.queued - call("ZREM", lock.queue, token)
      lock.dirty = true
    else
      -- R14: until the waiter's liveness ends, not a whole ttl: it may have died just now.
      hold(lock, token, entry, deadline)
      if entry.subscribed == "1" and not answered[token] then tell(entry.inbox, "granted", token, entry.number) end
    end
  end
  sweep(lock)
  lock.blocked = lock.queued > 0
end

-- R9: every script that touches a queue ends with this. R21: every key expires with the latest deadline in it.
local function close(lock)
  if not lock.dirty then return end
  if lock.holders + lock.queued + lock.living == 0 then
    call("DEL", lock.state, lock.queue)
  else
    call("HSET", lock.state, "#used", lock.used, "#limit", lock.limit, "#until", text(lock.till), "#next", lock.next)
    call("PEXPIREAT", lock.state, text(lock.till))
    if lock.holders > 0 then call("PEXPIREAT", lock.held, text(lock.till)) end
    if lock.queued > 0 then call("PEXPIREAT", lock.queue, text(lock.till)) end
    if lock.living > 0 then call("PEXPIREAT", lock.alive, text(lock.till)) end
  end
  if lock.last ~= lock.lastRead then
    call("SET", lock.fence, text(lock.last), "PX", text(lock.till - now + DAY))
  elseif lock.till ~= lock.tillRead then
    call("PEXPIREAT", lock.fence, text(lock.till + DAY))
  end
end

-- R8: last, and by pcall: whatever it says, the grants stand. Receivers drop what is too long to be honest.
local function publish()
  for _, inbox in ipairs(inboxes) do
    local box = outbox[inbox]
    for from = 1, #box, MAX_STEPS do
      local events = table.concat(box, ",", from, math.min(from + MAX_STEPS - 1, #box))
      redis.pcall("PUBLISH", inbox, '{"v":1,"events":[' .. events .. "]}")
    end
  end
end

-- When the first of the present leases ends, its fence and metadata: -1, 0 and "" when there is none. Asked after the
-- last change of holders, so once is enough.
local function firstEnd(lock)
  if not lock.first then
    local first = lock.holders > 0 and call("ZRANGE", lock.held, 0, 0, "WITHSCORES") or {}
    local entry = first[1] and read(lock, first[1])
    lock.first = {
      first[1] and math.max(0, tonumber(first[2]) - now) or -1,
      text(entry and entry.number or 0),
      entry and entry.metadata or ""
    }
  end
  return unpack(lock.first)
end

-- R6: never to an earlier end. R2: never what is not there, or no longer in force.
local function renew(lock, token, ttl, liveness, subscribed)
  local entry = read(lock, token)
  if not entry then return end
  if entry.kind == "h" then
    local ends = tonumber(call("ZSCORE", lock.held, token) or "0")
    if ends > now and now + ttl > ends then
      call("ZADD", lock.held, now + ttl, token)
      lock.dirty = true
      lock.till = math.max(lock.till, now + ttl)
    end
  elseif entry.kind == "w" then
    local ends = tonumber(call("ZSCORE", lock.alive, token) or "0")
    if ends <= now then return end
    if now + liveness > ends then
      call("ZADD", lock.alive, now + liveness, token)
      lock.dirty = true
      lock.till = math.max(lock.till, now + liveness)
    end
    local back = call("ZADD", lock.queue, "NX", text(entry.number), token)
    lock.queued, lock.dirty = lock.queued + back, lock.dirty or back == 1
    if entry.subscribed ~= subscribed then
      entry.subscribed = subscribed
      write(lock, token, entry)
    end
  end
end

-- held, remaining, fence; or waiting, remaining, last fence, rank, and what firstEnd says; or gone.
local function answer(lock, token)
  local entry = read(lock, token)
  if entry and entry.kind == "h" then
    local remaining = tonumber(call("ZSCORE", lock.held, token) or "0") - now
    if remaining > 0 then return { "held", remaining, text(entry.number) } end
  elseif entry and entry.kind == "w" then
    local remaining = tonumber(call("ZSCORE", lock.alive, token) or "0") - now
    if remaining > 0 then
      return { "waiting", remaining, text(lock.last), call("ZRANK", lock.queue, token) or 0, firstEnd(lock) }
    end
  end
  return { "gone" }
end

-- Runs a step on one lock of a batch. An error spoils that lock only (R8).
local function attempt(step, ...)
  local ok, result = pcall(step, ...)
  if ok then return result, nil end
  return nil, type(result) == "table" and result.err or tostring(result)
end
`
