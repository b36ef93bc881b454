/** The script that ends a flight with an outcome. */
import * as Schema from "effect/Schema"
import { flightAccess, flightMessages } from "./flightLua.js"
import type { Part } from "./flightPart.js"
import { keysOf } from "./flightPart.js"
import { script, toWhole, Whole } from "./script.js"

const Reply = () => Schema.Tuple([Whole, Schema.Literals(["accepted", "superseded"])])
type Reply = ReturnType<typeof Reply>["Type"]

const usual = (reply: ReadonlyArray<unknown>): Reply | undefined => {
  const [now, what] = [toWhole(reply[0]), reply[1]]
  if (now === undefined || reply.length !== 2) return undefined
  return what === "accepted" || what === "superseded" ? [now, what] : undefined
}

/**
 * Ends the flight: the token leads no more, those who follow may read the payload for a while and are told. A copy finds
 * the mark of the first and answers the same (R33).
 *
 * @internal
 */
export const finish = script({
  name: "finish",
  keys: (input: FinishInput) => keysOf(input),
  args: (input) => [input.token, input.notAfter, input.retentionMillis, input.keepMillis, input.payload],
  reply: Reply,
  usual,
  prelude: flightMessages,
  lua: `
local MAX_AT_ONCE = 1000
local token, notAfter, retention, keep, payload = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local state, followers, marks, outcomes = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
-- Each of these reads is also the look at a key's type that must come before the first write (R8).
local meta = call("HMGET", state, "#leader", token, "#ends", "#ttl")
local living, known = call("ZRANGEBYSCORE", followers, "(" .. nowDigits, "+inf"), call("ZCARD", followers)
local oldest, stored = call("ZRANGE", marks, 0, 0, "WITHSCORES")[2], call("HLEN", outcomes)
local lasts = tonumber(meta[3] or "0") + tonumber(meta[4] or "0")
local kind, joinedUntil = string.match(meta[2] or "", "^(%a) (%d+) ")
-- R33: a copy finds the mark of the first, and says the same.
if kind == "d" then return { nowDigits, "accepted" } end
if kind ~= "l" or meta[1] ~= token then return { nowDigits, "superseded" } end

-- A delete first: what follows is then let through by a full Redis (R8).
call("HDEL", state, "#leader", "#ends", "#ttl")
if #living < known or oldest and tonumber(oldest) <= now then
  -- Seldom, so its functions are made only now: that takes as long as some calls.
  ${flightAccess}
  sweep(open(1))
  oldest = true
end

local served, till = #living > 0, math.max(tonumber(joinedUntil), notAfter, now + keep)
if served then till = math.max(till, now + retention) end
-- R21
if oldest then till = math.max(till, tonumber(call("ZRANGE", marks, -1, -1, "WITHSCORES")[2] or "0")) end
local tillDigits, readable = text(till), text(now + retention)
-- R44: what is made gets its expiry at once, what is there before something is written that needs it.
local function put(key, command, ...)
  local isThere = call("PEXPIREAT", key, tillDigits) == 1
  call(command, key, ...)
  if not isThere then call("PEXPIREAT", key, tillDigits) end
end
if #living > 0 then lasts = math.max(lasts, tonumber(call("ZRANGE", followers, -1, -1, "WITHSCORES")[2])) end
if till > lasts then call("PEXPIREAT", state, tillDigits) end
local entries, ends = { token, "d " .. joinedUntil .. " " .. nowDigits }, { tillDigits, token }
if keep > 0 then entries[3], entries[4], entries[5], entries[6] = "#kept", token, "#keep", text(keep) end
if served or keep > 0 then put(outcomes, "HSET", token, payload) end
local outcome = " " .. nowDigits .. " " .. token
-- So many at once as Lua has room for.
for from = 1, #living, MAX_AT_ONCE do
  local to = math.min(#living, from + MAX_AT_ONCE - 1)
  for i, entry in ipairs(call("HMGET", state, unpack(living, from, to))) do
    local follower, copiesUntil, inbox = living[from + i - 1], string.match(entry or "", "^%a (%d+) (.*)$")
    if inbox then
      entries[#entries + 1], entries[#entries + 2] = follower, "o " .. copiesUntil .. outcome
      ends[#ends + 1], ends[#ends + 2] = readable, follower
      sendOutcome(inbox, follower, payload)
    end
  end
  call("ZREM", followers, unpack(living, from, to))
  if to < #living then
    put(marks, "ZADD", unpack(ends))
    call("HSET", state, unpack(entries))
    entries, ends = {}, {}
  end
end
if #entries > 0 then
  put(marks, "ZADD", unpack(ends))
  call("HSET", state, unpack(entries))
end
if till < lasts then call("PEXPIREAT", state, tillDigits) end
if stored > 0 and not (served or keep > 0) then call("PEXPIREAT", outcomes, tillDigits) end
publish()
return { nowDigits, "accepted" }`
})

/** @internal */
export interface FinishInput extends Part {
  /** Until when a copy of this command may arrive, by the server's clock. */
  readonly notAfter: number
  readonly retentionMillis: number
  readonly keepMillis: number
  readonly payload: string
}
