/**
 * The Lua that the scripts share. This is where the rules of docs/protocol.md that need atomicity are upheld.
 *
 * A lock is five Redis keys in one slot. They are passed in this order, and none is built here:
 *
 * - fence: string. The last fencing token; outlives the lease by a day, so that tokens grow for ever.
 * - state: hash. An entry for each token; and #used, #limit, #until (no deadline in it is later), #next (queue number).
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
 *
 * A script may stop at any call (a right that was taken away), and Redis may evict any key. So the order of writes counts:
 * no score lies beyond `#until`, and `#until` not beyond the expiry of any key, at any moment (R44). And `#used` goes with
 * the entry that it counts, and comes back when all is written: where it is missing, permits are counted anew, and a
 * holder without an entry counts for all there are (R46).
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

-- What this library has written and can count on from, or nil.
local function number(digits)
  local found = string.match(digits, "^%d+$") and tonumber(digits)
  return found and found < 9007199254740991 and found or nil
end

-- What a process is told, as redis/wire.ts reads it.
local function event(what, token, digits) return '["' .. what .. '","' .. token .. '","' .. digits .. '"]' end
local function message(events) return '{"v":1,"events":[' .. events .. "]}" end

local function keysOf(index)
  local at = (index - 1) * 5
  return { fence = KEYS[at + 1], state = KEYS[at + 2], held = KEYS[at + 3], queue = KEYS[at + 4], alive = KEYS[at + 5] }
end

-- Grows over all holders, and over a loss of all data: a counter alone would start again at 1.
local function nextFence(last) return math.max(last + 1, nowMicros) end

-- R44: first the expiries, then #until. What they bear is written by the caller, afterwards.
local function raise(lock, till, isAlone)
  local digits = text(till)
  local isThere = call("PEXPIREAT", lock.state, digits) == 1
  call("PEXPIREAT", lock.held, digits)
  if not isAlone then
    call("PEXPIREAT", lock.queue, digits)
    call("PEXPIREAT", lock.alive, digits)
  end
  -- The fence outlives what was evicted: where no deadline is left, it keeps its own.
  if till > now then call("PEXPIREAT", lock.fence, text(till + DAY)) end
  call("HSET", lock.state, "#until", digits)
  if not isThere then call("PEXPIREAT", lock.state, digits) end
end

-- A waiter's deadline with an eighth to spare, or each of many would raise what it needs a little.
local function spare(deadline) return deadline + math.floor((deadline - now) / 8) end
`

/** Reading and writing of one lock. What a script has read is kept, and most of what it changes is written in the end. */
export const access = `
local function open(index, ...)
  local lock = keysOf(index)
  lock.entries, lock.changed, lock.ends, lock.steps, lock.dirty, lock.unsettled = {}, {}, {}, 0, false, false
  -- R8: each key is read by its type before the first write, so that a foreign key fails the whole step untouched.
  local meta = call("HMGET", lock.state, "#used", "#limit", "#until", "#next", ...)
  lock.last = number(call("GET", lock.fence) or "0")
  if not lock.last then
    error(string.format("WRONGTYPE the key of the fencing token holds something else, or the largest number: %s", lock.fence), 0)
  end
  local first = call("ZRANGE", lock.held, 0, 0, "WITHSCORES")
  lock.first, lock.firstEnds = first[1], tonumber(first[2])
  lock.head = call("ZRANGE", lock.queue, 0, 0)[1]
  -- Nobody in \`alive\` dies before that.
  lock.dies = tonumber(call("ZRANGE", lock.alive, 0, 0, "WITHSCORES")[2])
  -- R46: nil for what is not known.
  lock.limit, lock.used = tonumber(meta[2]), tonumber(meta[1])
  if not lock.first then lock.used = 0 end
  lock.till, lock.next = tonumber(meta[3] or "0"), tonumber(meta[4] or "0")
  -- Without #until, or where it is behind: what was evicted, or written by an earlier version.
  lock.isBare = not meta[3]
  if (lock.firstEnds or 0) > lock.till or (lock.dies or 0) > lock.till then
    local held, alive = call("ZRANGE", lock.held, -1, -1, "WITHSCORES"), call("ZRANGE", lock.alive, -1, -1, "WITHSCORES")
    lock.till = math.max(tonumber(held[2] or "0"), tonumber(alive[2] or "0"))
    lock.isBare = true
  end
  lock.usedRead, lock.limitRead, lock.lastRead, lock.nextRead = meta[1], meta[2], lock.last, lock.next
  for i, token in ipairs({ ... }) do lock.entries[token] = meta[4 + i] end
  return lock
end

-- Sees to it that the lock may have that deadline in it (R44).
local function reach(lock, deadline, till)
  if deadline <= lock.till and not lock.isBare then return end
  lock.till, lock.isBare = math.max(till or deadline, lock.till), false
  raise(lock, lock.till)
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
    if lock.ends[token] > lock.till then reach(lock, lock.ends[token]) end
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

-- Permits in use. More than there are, while a holder without an entry is among them (R46).
local function usedOf(lock)
  if lock.used then return lock.used end
  local used = 0
  for _, token in ipairs(call("ZRANGE", lock.held, 0, -1)) do
    local entry = read(lock, token)
    if not entry then
      used = math.huge
      break
    elseif entry.kind == "h" then
      used = used + entry.permits
    else
      -- A grant that was never finished, and that nobody was told of.
      call("ZREM", lock.held, token)
      lock.stale = true
    end
  end
  lock.used, lock.dirty = used, true
  return used
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
  lock.dirty, lock.entries[token], lock.changed[token] = true, false, nil
  if entry and entry.kind == "h" then
    -- R46: until it is written anew, in the end.
    call("HDEL", lock.state, token, "#used")
    lock.usedRead = nil
    local was = call("ZREM", lock.held, token)
    if was == 0 then lock.used = nil elseif lock.used then lock.used = math.max(0, lock.used - entry.permits) end
    lock.stale = lock.stale or lock.first == token
    -- Every holder has a permit at least.
    if lock.used == 0 then lock.first, lock.stale = nil, false end
    return
  end
  call("HDEL", lock.state, token)
  dequeue(lock, token)
  call("ZREM", lock.alive, token)
  -- A grant that was never finished, or a holder whose entry was evicted: neither is in #used, if that is known at all.
  if call("ZREM", lock.held, token) == 1 then
    lock.stale = true
    if lock.used == math.huge then lock.used = nil end
  end
end

-- For whom \`usedOf\` has found room.
local function hold(lock, token, entry, deadline)
  reach(lock, deadline)
  if entry.kind == "w" then
    dequeue(lock, token)
    call("ZREM", lock.alive, token)
  end
  lock.last = nextFence(lock.last)
  entry.kind, entry.number = "h", lock.last
  call("ZADD", lock.held, deadline, token)
  if lock.stale or not lock.first then call("PEXPIREAT", lock.held, text(lock.till)) end
  write(lock, token, entry)
  lock.used = lock.used + entry.permits
  lock.ends[token] = deadline
  if not lock.stale and not lock.first then lock.first, lock.firstEnds = token, deadline else lock.stale = true end
end

-- Lets a waiter in, or a tombstone.
local function admit(lock, token, entry, deadline)
  reach(lock, deadline, entry.kind == "w" and spare(deadline))
  local till = text(lock.till)
  if entry.kind == "w" then
    call("ZADD", lock.queue, entry.number, token)
    call("PEXPIREAT", lock.queue, till)
  end
  call("ZADD", lock.alive, deadline, token)
  call("PEXPIREAT", lock.alive, till)
  write(lock, token, entry)
  lock.ends[token] = deadline
  lock.moved = true
end

-- R9: every script that touches a queue ends with this. R21: no key stays for long after the latest deadline in any.
local function close(lock)
  if lock.last ~= lock.lastRead then
    call("SET", lock.fence, text(lock.last), "PX", text(lock.till - now + DAY))
  end
  if not lock.dirty then return end
  if lock.used == 0 and call("EXISTS", lock.held, lock.queue, lock.alive) == 0 then
    call("DEL", lock.state)
    return
  end
  local fields = {}
  local function set(field, value)
    fields[#fields + 1] = field
    fields[#fields + 1] = value
  end
  for token, entry in pairs(lock.changed) do
    local number = text(entry.number)
    set(token, pack(entry.kind, entry.permits, entry.limit, number, entry.subscribed, entry.inbox, entry.metadata))
  end
  -- R46: only what is known.
  if lock.used and lock.used < math.huge and tostring(lock.used) ~= lock.usedRead then set("#used", lock.used) end
  if lock.limit and tostring(lock.limit) ~= lock.limitRead then set("#limit", lock.limit) end
  if lock.next ~= lock.nextRead then set("#next", lock.next) end
  if #fields == 0 then return end
  if lock.isBare then reach(lock, lock.till) end
  call("HSET", lock.state, unpack(fields))
  -- It may have none: whoever made the key may have been stopped before.
  call("PEXPIREAT", lock.state, text(lock.till))
end
`
