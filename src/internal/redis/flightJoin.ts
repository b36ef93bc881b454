/** The scripts that join flights: the only ones that can create anything. */
import * as Schema from "effect/Schema"
import { flightPrelude as prelude } from "./flightLua.js"
import type { Part } from "./flightPart.js"
import { Gone, keysOf } from "./flightPart.js"
import { script, toWhole, Whole } from "./script.js"

const Reply = () =>
  Schema.Union([
    Schema.Tuple([Whole, Schema.Literals(["leads", "follows"]), Whole, Whole]),
    Schema.Tuple([Whole, Schema.Literal("outcome"), Whole, Schema.String]),
    Schema.Tuple([Whole, Schema.Literal("kept"), Schema.String]),
    Schema.Tuple([Whole, Gone()]),
    Schema.Tuple([Whole, Schema.Literal("late")])
  ])
type Reply = ReturnType<typeof Reply>["Type"]

/** A part in the flight. */
const usual = (reply: ReadonlyArray<unknown>): Reply | undefined => {
  const [now, what, remaining, other] = [toWhole(reply[0]), reply[1], toWhole(reply[2]), toWhole(reply[3])]
  if (now === undefined || remaining === undefined || other === undefined || reply.length !== 4) return undefined
  return what === "leads" || what === "follows" ? [now, what, remaining, other] : undefined
}

/**
 * Leads when nobody does, follows otherwise. A token that is known already gets the answer of a renewal, so a copy of
 * the command changes nothing. A copy that comes from \`notAfter\` on is refused (R3).
 *
 * @internal
 */
export const join = script({
  name: "join",
  keys: (input: JoinInput) => keysOf(input),
  args: (input) => [input.token, input.ttlMillis, input.notAfter, input.inbox, input.gaveUp, input.keepMillis],
  reply: Reply,
  usual,
  shortcut: `
local token, ttl, notAfter, inbox = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local gaveUp, keep = ARGV[5], tonumber(ARGV[6])
if now >= notAfter then return { text(now), "late" } end

-- The two usual cases: there is nothing yet, or somebody leads for long enough.
local function join()
  local state, followers = KEYS[1], KEYS[2]
  local meta = call("HMGET", state, "#leader", "#ends", "#ttl", token, "#kept")
  if gaveUp ~= "" or meta[4] or keep > 0 and meta[5] then return nil end
  if not meta[1] then
    -- R8: that nothing else is there, or that the state fits, is read before the first write.
    if call("EXISTS", KEYS[1], KEYS[2], KEYS[3], KEYS[4]) > 0 then return nil end
    local ends = now + ttl
    call("HSET", state, "#leader", token, "#ends", text(ends), "#ttl", text(ttl), token, "l " .. text(notAfter) .. " ")
    call("PEXPIREAT", state, text(ends + ttl))
    return { text(now), "leads", ttl, 0 }
  end
  local ends, till = tonumber(meta[2] or "0"), tonumber(meta[2] or "0") + tonumber(meta[3] or "0")
  if ends <= now or now + ttl > till then return nil end
  -- R44: the state lasts that long already.
  local last = math.max(till, tonumber(call("ZRANGE", followers, -1, -1, "WITHSCORES")[2] or "0"))
  local isThere = call("PEXPIREAT", followers, text(last)) == 1
  call("ZADD", followers, text(now + ttl), token)
  if not isThere then call("PEXPIREAT", followers, text(last)) end
  call("HSET", state, token, "f " .. text(notAfter) .. " " .. inbox)
  return { text(now), "follows", ttl, ends - now }
end
local joined = join()
if joined then return joined end`,
  prelude,
  lua: `
local flight = open(1)
sweep(flight)

-- R37: nobody is to follow a part that its own process has given up.
local given = gaveUp ~= "" and read(flight, gaveUp)
if given and (given.kind == "l" or given.kind == "f") then
  if flight.leader == gaveUp then unlead(flight) end
  call("ZREM", flight.followers, gaveUp)
  bury(flight, gaveUp, given.notAfter)
end

local entry = read(flight, token)
local kept = not entry and keep > 0 and flight.kept and read(flight, flight.kept)
-- One that lies in the future is of no age: this server's clock went back.
local finishedAt = kept and kept.kind == "d" and tonumber(kept.rest)
local age = finishedAt and now - finishedAt
local payload = age and age >= 0 and age <= keep and age < flight.keep and call("HGET", flight.outcomes, flight.kept)
local reply
if payload then
  reply = { "kept", payload }
else
  if entry then
    renew(flight, token, entry, ttl)
  elseif isLed(flight) then
    score(flight, flight.followers, now + ttl, token)
    write(flight, token, "f", notAfter, inbox)
  else
    lead(flight, token, notAfter, ttl)
  end
  reply = answer(flight, token, true)
end
close(flight)
table.insert(reply, 1, text(now))
return reply`
})

/** @internal */
export interface JoinInput extends Part {
  readonly ttlMillis: number
  /** By the server's clock. */
  readonly notAfter: number
  readonly inbox: string
  /** Empty for none. */
  readonly gaveUp: string
  readonly keepMillis: number
}
