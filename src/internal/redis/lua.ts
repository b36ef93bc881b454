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

local function pack(kind, permits, limit, digits, subscribed, inbox, metadata)
  return kind .. " " .. permits .. " " .. limit .. " " .. digits .. " " .. subscribed .. " " .. inbox .. " " .. metadata
end

-- What this library has written, or nil.
local function number(digits) return string.match(digits, "^%d+$") and tonumber(digits) end

-- What a process is told, as redis/wire.ts reads it.
local function event(what, token, digits) return '["' .. what .. '","' .. token .. '","' .. digits .. '"]' end
local function message(events) return '{"v":1,"events":[' .. events .. "]}" end

local function keysOf(index)
  local at = (index - 1) * 5
  return { fence = KEYS[at + 1], state = KEYS[at + 2], held = KEYS[at + 3], queue = KEYS[at + 4], alive = KEYS[at + 5] }
end

-- Grows over all holders, and over a loss of all data: a counter alone would start again at 1.
local function nextFence(last) return math.max(last + 1, nowMicros) end
`

/** Reading and writing of one lock. What a script has read is kept, and most of what it changes is written in the end. */
export const access = `
local function open(index, ...)
  local lock = keysOf(index)
  lock.entries, lock.changed, lock.ends, lock.steps, lock.dirty, lock.unsettled = {}, {}, {}, 0, false, false
  -- R8: each key is read by its type before the first write, so that a foreign key fails the whole step untouched.
  local meta = call("HMGET", lock.state, "#used", "#limit", "#until", "#next", ...)
  lock.last = number(call("GET", lock.fence) or "0")
  if not lock.last then error("WRONGTYPE the key of the fencing token holds something else", 0) end
  local first = call("ZRANGE", lock.held, 0, 0, "WITHSCORES")
  lock.first, lock.firstEnds = first[1], tonumber(first[2])
  lock.head = call("ZRANGE", lock.queue, 0, 0)[1]
  -- Nobody in \`alive\` dies before that.
  lock.dies = tonumber(call("ZRANGE", lock.alive, 0, 0, "WITHSCORES")[2])
  lock.limit = tonumber(meta[2] or "1")
  -- Where Redis has evicted one key and not the other, what is held counts for all there is (acquire.ts).
  lock.used = lock.first and tonumber(meta[1] or lock.limit) or 0
  lock.till = tonumber(meta[3] or "0")
  if not meta[3] and (lock.first or lock.dies) then
    local held, alive = call("ZRANGE", lock.held, -1, -1, "WITHSCORES"), call("ZRANGE", lock.alive, -1, -1, "WITHSCORES")
    lock.till = math.max(tonumber(held[2] or "0"), tonumber(alive[2] or "0"))
  end
  lock.next = tonumber(meta[4] or "0")
  lock.heldRead, lock.headRead, lock.usedRead, lock.limitRead = lock.first, lock.head, meta[1], meta[2]
  lock.lastRead, lock.tillRead, lock.nextRead = lock.last, tonumber(meta[3] or "0"), lock.next
  for i, token in ipairs({ ... }) do lock.entries[token] = meta[4 + i] end
  return lock
end

local function read(lock, token)
  local entry = lock.entries[token]
  if type(entry) == "table" then return entry end
  if entry == nil then entry = call("HGET", lock.state, token) end
  if entry then
    local kind, permits, limit, number, subscribed, inbox, metadata =
      string.match(entry, "^(%a) (%d+) (%d+) (%d+) (%d) (%S+) (.*)$")
    entry = kind and {
      kind = kind, permits = tonumber(permits), limit = tonumber(limit), number = tonumber(number),
      subscribed = subscribed, inbox = inbox, metadata = metadata
    }
  end
  lock.entries[token] = entry or false
  return entry or nil
end

-- When it ends, or counts as dead.
local function endOf(lock, token, entry)
  if not lock.ends[token] then
    local ends
    if entry.kind == "h" then ends = call("ZSCORE", lock.held, token) else ends = call("ZSCORE", lock.alive, token) end
    lock.ends[token] = tonumber(ends or "0")
  end
  return lock.ends[token]
end

local function write(lock, token, entry)
  lock.dirty, lock.entries[token], lock.changed[token] = true, entry, entry
end

-- The first of the present leases to end, and when; nil when there is none.
local function firstHeld(lock)
  if lock.stale then
    local first = call("ZRANGE", lock.held, 0, 0, "WITHSCORES")
    lock.first, lock.firstEnds, lock.stale = first[1], tonumber(first[2]), false
  end
  return lock.first, lock.firstEnds
end

local function headOf(lock)
  if lock.moved then lock.head, lock.moved = call("ZRANGE", lock.queue, 0, 0)[1], false end
  return lock.head
end

local function dequeue(lock, token)
  lock.moved = lock.moved or lock.head == token
  return call("ZREM", lock.queue, token)
end

-- R8: the delete comes first: a full Redis refuses a script whose first write is not one.
local function forget(lock, token, entry)
  call("HDEL", lock.state, token)
  lock.dirty, lock.entries[token], lock.changed[token] = true, false, nil
  if not entry or entry.kind == "h" then
    local was = call("ZREM", lock.held, token)
    if entry then lock.used = math.max(0, lock.used - was * entry.permits) end
    lock.stale = lock.stale or lock.first == token
    -- Every holder has a permit at least.
    if entry and lock.used == 0 then lock.first, lock.stale = nil, false end
  end
  if not entry or entry.kind ~= "h" then
    dequeue(lock, token)
    call("ZREM", lock.alive, token)
  end
end

local function hold(lock, token, entry, deadline)
  if entry.kind == "w" then
    dequeue(lock, token)
    call("ZREM", lock.alive, token)
  end
  lock.last = nextFence(lock.last)
  entry.kind, entry.number = "h", lock.last
  call("ZADD", lock.held, deadline, token)
  write(lock, token, entry)
  lock.used = lock.used + entry.permits
  lock.till = math.max(lock.till, deadline)
  lock.ends[token] = deadline
  lock.heldMade = lock.heldMade or lock.stale or not lock.first
  if not lock.stale and not lock.first then lock.first, lock.firstEnds = token, deadline else lock.stale = true end
end

-- Lets a waiter in, or a tombstone.
local function admit(lock, token, entry, deadline)
  if entry.kind == "w" then call("ZADD", lock.queue, entry.number, token) end
  call("ZADD", lock.alive, deadline, token)
  write(lock, token, entry)
  lock.till = math.max(lock.till, deadline)
  lock.ends[token] = deadline
  lock.moved, lock.admitted = true, true
end

-- R9: every script that touches a queue ends with this. R21: every key expires with the latest deadline in it. They all
-- expire together, or a set that vanishes would leave its entries behind.
local function close(lock)
  if not lock.dirty then return end
  if lock.used == 0 and call("EXISTS", lock.held, lock.queue, lock.alive) == 0 then
    call("DEL", lock.state)
  else
    local fields = {}
    local function set(field, value)
      fields[#fields + 1] = field
      fields[#fields + 1] = value
    end
    for token, entry in pairs(lock.changed) do
      local number = text(entry.number)
      set(token, pack(entry.kind, entry.permits, entry.limit, number, entry.subscribed, entry.inbox, entry.metadata))
    end
    if tostring(lock.used) ~= lock.usedRead then set("#used", lock.used) end
    if tostring(lock.limit) ~= lock.limitRead then set("#limit", lock.limit) end
    if lock.next ~= lock.nextRead then set("#next", lock.next) end
    local later = lock.till ~= lock.tillRead
    if later then set("#until", text(lock.till)) end
    if #fields > 0 then call("HSET", lock.state, unpack(fields)) end
    local till = text(lock.till)
    if later then call("PEXPIREAT", lock.state, till) end
    if lock.heldMade or later and lock.heldRead then call("PEXPIREAT", lock.held, till) end
    if lock.admitted or later and lock.headRead then call("PEXPIREAT", lock.queue, till) end
    if lock.admitted or later and lock.dies then call("PEXPIREAT", lock.alive, till) end
  end
  if lock.last ~= lock.lastRead then
    call("SET", lock.fence, text(lock.last), "PX", text(lock.till - now + DAY))
  elseif lock.till ~= lock.tillRead then
    call("PEXPIREAT", lock.fence, text(lock.till + DAY))
  end
end
`
