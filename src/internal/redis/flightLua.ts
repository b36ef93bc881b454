/**
 * The Lua that the scripts for flights share. A flight is four Redis keys in one slot. They are passed in this order, and
 * none is built here:
 *
 * - state:     hash. An entry for each token; and #leader, #ends (of its lease), #ttl, #kept (a finished run) and
 *   #keep (for so long).
 * - followers: sorted set. Token by the time until which it is alive.
 * - marks:     sorted set. Token of an entry d, o or x by the time until which that counts.
 * - outcomes:  hash. Payload by the token of the leader whose run it came from.
 *
 * An entry is `kind notAfter rest`, where a copy of the token's own join is refused after notAfter (R3):
 *
 * - l: leads.  f: follows; rest is its inbox.
 * - d: has led, and its run has finished; rest is when.
 * - o: has followed, and may read an outcome; rest is when that run finished, and the token that led it.
 * - x: has no part in anything any more (R36).
 *
 * Times are milliseconds of this server, read once (R23). Tokens are random, so none begins with #. No deadline lies beyond
 * the expiry of its key, at whichever call a script may stop (R44).
 */
export const flightAccess = `
local MAX_STEPS = 64

local function lastOf(key) return tonumber(call("ZRANGE", key, -1, -1, "WITHSCORES")[2] or "0") end

local function open(index)
  local at = (index - 1) * 4
  local flight = { state = KEYS[at + 1], followers = KEYS[at + 2], marks = KEYS[at + 3], outcomes = KEYS[at + 4] }
  -- R8: each key is read by its type before the first write, so that a foreign key fails the whole step untouched.
  local meta = call("HMGET", flight.state, "#leader", "#ends", "#ttl", "#kept", "#keep")
  call("HLEN", flight.outcomes)
  flight.leader, flight.ends, flight.ttl = meta[1], tonumber(meta[2] or "0"), tonumber(meta[3] or "0")
  flight.kept, flight.keep = meta[4], tonumber(meta[5]) or math.huge
  -- R21: every key expires with the latest deadline in any. For a leader that is a ttl after its lease: until somebody
  -- else leads, a finish that comes late is still accepted (R33).
  flight.till = math.max(flight.ends + flight.ttl, lastOf(flight.followers), lastOf(flight.marks))
  return flight
end

-- R44: before a deadline is written, what bears it.
local function reach(flight, deadline)
  if deadline <= flight.till then return end
  flight.till = deadline
  for _, key in ipairs({ flight.state, flight.followers, flight.marks, flight.outcomes }) do
    call("PEXPIREAT", key, text(deadline))
  end
end

-- A deadline of a token, in a key that may have been made for less, or is made now.
local function score(flight, key, deadline, token)
  reach(flight, deadline)
  local till = text(flight.till)
  local isThere = call("PEXPIREAT", key, till) == 1
  call("ZADD", key, text(deadline), token)
  if not isThere then call("PEXPIREAT", key, till) end
end

local function read(flight, token)
  local value = call("HGET", flight.state, token)
  if not value then return nil end
  local kind, notAfter, rest = string.match(value, "^(%a) (%d+) (.*)$")
  if not kind then return nil end
  return { kind = kind, notAfter = tonumber(notAfter), rest = rest }
end

local function write(flight, token, kind, notAfter, rest)
  call("HSET", flight.state, token, kind .. " " .. text(notAfter) .. " " .. rest)
end

local function mark(flight, token, kind, notAfter, rest, till)
  score(flight, flight.marks, till, token)
  write(flight, token, kind, notAfter, rest)
end

-- R36: a copy of its join must not bring it back.
local function bury(flight, token, notAfter)
  if notAfter > now then
    mark(flight, token, "x", notAfter, "", notAfter)
  else
    call("HDEL", flight.state, token)
  end
end

-- Drops what has had its time, so many at once that the rest is never long.
local function sweep(flight)
  for _, token in ipairs(call("ZRANGEBYSCORE", flight.marks, "-inf", now, "LIMIT", 0, MAX_STEPS)) do
    call("ZREM", flight.marks, token)
    call("HDEL", flight.outcomes, token)
    call("HDEL", flight.state, token)
    if flight.kept == token then
      call("HDEL", flight.state, "#kept")
      flight.kept = false
    end
  end
  for _, token in ipairs(call("ZRANGEBYSCORE", flight.followers, "-inf", now, "LIMIT", 0, MAX_STEPS)) do
    local entry = read(flight, token)
    call("ZREM", flight.followers, token)
    bury(flight, token, entry and entry.notAfter or 0)
  end
end

local function isLed(flight) return flight.leader and flight.ends > now end

local function alive(flight)
  return call("ZRANGEBYSCORE", flight.followers, "(" .. text(now), "+inf")
end

local function unlead(flight)
  call("HDEL", flight.state, "#leader", "#ends", "#ttl")
  flight.leader, flight.ends, flight.ttl = false, 0, 0
end

local function leadUntil(flight, ends, ttl)
  reach(flight, ends + ttl)
  flight.ends, flight.ttl = ends, ttl
  call("HSET", flight.state, "#ends", text(ends), "#ttl", text(ttl))
end

-- R34: those who follow belong to the id, not to a run. Whoever leads next has them all.
local function lead(flight, token, notAfter, ttl)
  if flight.leader then
    local before = read(flight, flight.leader)
    bury(flight, flight.leader, before and before.notAfter or 0)
  end
  call("HSET", flight.state, "#leader", token)
  write(flight, token, "l", notAfter, "")
  flight.leader = token
  leadUntil(flight, now + ttl, ttl)
end

-- R6: never to an earlier end. What is over stays over, but for a flight that nobody leads: that a live follower leads.
local function renew(flight, token, entry, ttl)
  if entry.kind == "l" then
    if flight.ends > now then leadUntil(flight, math.max(flight.ends, now + ttl), ttl) end
  elseif entry.kind == "f" then
    local ends = tonumber(call("ZSCORE", flight.followers, token) or "0")
    if ends <= now then return end
    if isLed(flight) then
      score(flight, flight.followers, math.max(ends, now + ttl), token)
    else
      call("ZREM", flight.followers, token)
      lead(flight, token, entry.notAfter, ttl)
    end
  end
end

-- leads, remaining, followers; or follows, remaining, end of the leader's lease; or an outcome; or gone.
local function answer(flight, token, whole)
  local entry = read(flight, token)
  if not entry then return { "gone" } end
  if entry.kind == "l" and flight.ends > now then
    return { "leads", flight.ends - now, call("ZCOUNT", flight.followers, "(" .. text(now), "+inf") }
  elseif entry.kind == "f" then
    local remaining = tonumber(call("ZSCORE", flight.followers, token) or "0") - now
    if remaining > 0 then return { "follows", remaining, math.max(0, flight.ends - now) } end
  elseif entry.kind == "o" then
    local finishedAt, run = string.match(entry.rest, "^(%d+) (.*)$")
    local payload = call("HGET", flight.outcomes, run)
    if payload and not whole and #payload > MAX_SENT then return { "stored", finishedAt } end
    if payload then return { "outcome", finishedAt, payload } end
  end
  return { "gone" }
end

-- R21: no key stays for longer than something in it counts, and what was made gets its expiry.
local function close(flight)
  local till = math.max(flight.leader and flight.ends + flight.ttl or 0, lastOf(flight.followers), lastOf(flight.marks))
  for _, key in ipairs({ flight.state, flight.followers, flight.marks, flight.outcomes }) do
    if till > now then call("PEXPIREAT", key, text(till)) else call("DEL", key) end
  end
end

-- Runs a step on one flight of a batch. An error spoils that one only (R8).
local function attempt(step, ...)
  local ok, result = pcall(step, ...)
  if ok then return result end
  return { "failed", type(result) == "table" and result.err or tostring(result) }
end
`

/** What processes are told. */
export const flightMessages = `
-- What is longer is not sent unasked.
local MAX_SENT = 65536
local outbox, nowDigits = {}, text(now)

-- R19: it names the receiver's own secret.
local function tell(inbox, what, token, ...)
  local parts = { '"' .. what .. '"', '"' .. token .. '"', ... }
  outbox[#outbox + 1] = { inbox, message("[" .. table.concat(parts, ",") .. "]") }
end

-- A payload is not made a string in a string: it is all that follows the first line, and JSON has no line breaks.
local function sendOutcome(inbox, token, payload)
  if #payload > MAX_SENT then return tell(inbox, "stored", token, '"' .. nowDigits .. '"') end
  outbox[#outbox + 1] = { inbox, '{"v":1,"ended":["' .. token .. '","' .. nowDigits .. '"]}\\n' .. payload }
end

-- R8: last, and by pcall: whatever it says, what was written stands.
local function publish()
  for _, message in ipairs(outbox) do redis.pcall("PUBLISH", message[1], message[2]) end
end
`

export const flightPrelude = [flightMessages, flightAccess].join("\n")
