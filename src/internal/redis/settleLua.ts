/**
 * The Lua that decides: who is over, who is next, who is told, and what is answered. Every script that touches a queue
 * opens a lock, settles it by `expire` and `grant`, and closes it (R9). What a lock is stands in lua.ts.
 */
import { access } from "./lua.js"

const settling = `
local MAX_STEPS = 64
local outbox, reached = {}, {}

local function tell(inbox, what, token, number)
  outbox[#outbox + 1] = { inbox, event(what, token, text(number)) }
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
  local first, ends = firstHeld(lock)
  if first and ends <= now then
    local expired = call("ZRANGEBYSCORE", lock.held, "-inf", now, "LIMIT", 0, MAX_STEPS)
    for _, token in ipairs(expired) do
      forget(lock, token, read(lock, token))
    end
    lock.steps = lock.steps + #expired
    if #expired == MAX_STEPS then lock.unsettled = true end
    first = firstHeld(lock)
  end
  if not first then lock.used = 0 end
end

-- Dead waiters and tombstones whose time is over. A dead one is not granted anyway: this is for ranks and memory.
local function sweep(lock)
  local room = MAX_STEPS - lock.steps
  if not lock.dies or lock.dies > now or room <= 0 then return end
  for _, token in ipairs(call("ZRANGEBYSCORE", lock.alive, "-inf", now, "LIMIT", 0, room)) do
    forget(lock, token, read(lock, token))
  end
end

-- Grants while the head of the queue fits. \`answered\` has the tokens that learn of it by the reply of this script.
local function grant(lock, answered)
  while lock.limit and usedOf(lock) < lock.limit and headOf(lock) do
    if lock.steps >= MAX_STEPS then
      lock.unsettled = true
      return
    end
    lock.steps = lock.steps + 1
    local token = headOf(lock)
    local entry = read(lock, token)
    local deadline = entry and entry.kind == "w" and endOf(lock, token, entry) or 0
    if deadline <= now then
      forget(lock, token, entry)
    elseif entry.permits > lock.limit then
      -- R12: another process has lowered the limit below what this one asks for: it would block the queue for ever.
      forget(lock, token, entry)
      tell(entry.inbox, "overlimit", token, lock.limit)
    elseif lock.used + entry.permits > lock.limit then
      break
    elseif entry.subscribed == "1" and not answered[token] and not reachable(entry.inbox) then
      -- R7: passed over, not removed. It keeps its number; its own heartbeat puts it back in its place.
      dequeue(lock, token)
      lock.dirty = true
    else
      -- R14: until the waiter's liveness ends, not a whole ttl: it may have died just now.
      hold(lock, token, entry, deadline)
      if entry.subscribed == "1" and not answered[token] then tell(entry.inbox, "granted", token, entry.number) end
    end
  end
  sweep(lock)
end

-- R8: last, and by pcall: whatever it says, the grants stand. Receivers drop what is too long to be honest.
local function publish()
  local latest, boxes = {}, {}
  for _, told in ipairs(outbox) do
    local inbox, box = told[1], latest[told[1]]
    if not box or #box.events == MAX_STEPS then
      box = { inbox = inbox, events = {} }
      latest[inbox], boxes[#boxes + 1] = box, box
    end
    box.events[#box.events + 1] = told[2]
  end
  for _, box in ipairs(boxes) do
    local inbox = box.inbox
    redis.pcall("PUBLISH", inbox, message(table.concat(box.events, ",")))
  end
end

-- When the first of the present leases ends, its fence and metadata: -1, 0 and "" when there is none.
local function firstEnd(lock)
  local first, ends = firstHeld(lock)
  local entry = first and read(lock, first)
  return first and math.max(0, ends - now) or -1, text(entry and entry.number or 0), entry and entry.metadata or ""
end

-- A holder that nobody works under any more, and that has no inbox.
local function isKept(entry) return entry.inbox == "-" end

-- Shortens a lease that its own process has given up. What came before, and comes late, does not make it longer again.
local function keep(lock, token, entry, ends)
  if ends < endOf(lock, token, entry) then
    call("ZADD", lock.held, ends, token)
    lock.ends[token], lock.stale = ends, true
  end
  entry.subscribed, entry.inbox = "0", "-"
  write(lock, token, entry)
end

-- R6: never to an earlier end. R2: never what is not there, or no longer in force.
local function renew(lock, token, ttl, liveness, subscribed)
  local entry = read(lock, token)
  if not entry then return end
  if entry.kind == "h" then
    if isKept(entry) then return end
    local ends = endOf(lock, token, entry)
    if ends > now and now + ttl > ends then
      reach(lock, now + ttl)
      call("ZADD", lock.held, now + ttl, token)
      lock.ends[token], lock.stale = now + ttl, true
    end
  elseif entry.kind == "w" then
    local ends = endOf(lock, token, entry)
    if ends <= now then return end
    if now + liveness > ends then
      reach(lock, now + liveness, spare(now + liveness))
      call("ZADD", lock.alive, now + liveness, token)
      lock.ends[token] = now + liveness
    end
    if call("ZADD", lock.queue, "NX", text(entry.number), token) == 1 then
      call("PEXPIREAT", lock.queue, text(lock.till))
      lock.moved = true
    end
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
    local remaining = endOf(lock, token, entry) - now
    if remaining > 0 then return { "held", remaining, text(entry.number) } end
  elseif entry and entry.kind == "w" then
    local remaining = endOf(lock, token, entry) - now
    if remaining > 0 then
      return { "waiting", remaining, text(lock.last), call("ZRANK", lock.queue, token) or 0, firstEnd(lock) }
    end
  end
  return { "gone" }
end

-- Runs a step on one lock of a batch. An error spoils that lock only (R8), and what it did not finish is not told.
local function attempt(step, ...)
  local told = #outbox
  local ok, result = pcall(step, ...)
  if ok then return result, nil end
  for i = #outbox, told + 1, -1 do outbox[i] = nil end
  return nil, type(result) == "table" and result.err or tostring(result)
end
`

/** What a script needs beyond its shortcut, if it has one. */
export const prelude = [access, settling].join("\n")
