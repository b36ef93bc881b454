/**
 * The scripts for flights. Each is safe to run twice with the same arguments, and each answers with the server's time
 * first, in milliseconds. `FlightKeys` are the four keys that flightLua.ts describes.
 */
import * as Schema from "effect/Schema"
import { flightPrelude as prelude } from "./flightLua.js"
import { script, Whole } from "./script.js"

/** @internal */
export type FlightKeys = readonly [state: string, followers: string, marks: string, outcomes: string]

interface Part {
  readonly flight: FlightKeys
  readonly token: string
}

const keysOf = ({ flight }: Pick<Part, "flight">): Array<string> => [...flight]

const Gone = () => Schema.Literal("gone")

/**
 * Leads when nobody does, follows otherwise. A token that is known already gets the answer of a renewal, so a copy of
 * the command changes nothing. A copy that comes after \`notAfter\` is refused (R3).
 *
 * @internal
 */
export const join = script({
  name: "join",
  prelude,
  keys: (input: JoinInput) => keysOf(input),
  args: (input) => [input.token, input.ttlMillis, input.notAfter, input.inbox, input.gaveUp, input.keepMillis],
  reply: () =>
    Schema.Union(
      Schema.Tuple(Whole, Schema.Literal("leads", "follows"), Whole, Whole),
      Schema.Tuple(Whole, Schema.Literal("outcome"), Whole, Schema.String),
      Schema.Tuple(Whole, Schema.Literal("kept"), Schema.String),
      Schema.Tuple(Whole, Gone()),
      Schema.Tuple(Whole, Schema.Literal("late"))
    ),
  lua: `
local token, ttl, notAfter, inbox = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local gaveUp, keep = ARGV[5], tonumber(ARGV[6])
if now > notAfter then return { text(now), "late" } end

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
local payload = kept and now - tonumber(kept.rest) <= keep and call("HGET", flight.outcomes, flight.kept)
local reply
if payload then
  reply = { "kept", payload }
else
  if entry then
    renew(flight, token, entry, ttl)
  elseif isLed(flight) then
    call("ZADD", flight.followers, text(now + ttl), token)
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

/**
 * Renews leaders, keeps followers alive, and lets one of them lead where nobody does. An item of a flight that fails is
 * answered \`failed\` and why.
 *
 * @internal
 */
export const refreshFlights = script({
  name: "refreshFlights",
  prelude,
  keys: (items: ReadonlyArray<Part & { readonly ttlMillis: number }>) => items.flatMap(keysOf),
  args: (items) => items.flatMap((item) => [item.token, item.ttlMillis]),
  reply: () =>
    Schema.Tuple(
      Whole,
      Schema.Array(Schema.Union(
        Schema.Tuple(Schema.Literal("leads", "follows"), Whole, Whole),
        Schema.Tuple(Schema.Literal("outcome"), Whole, Schema.String),
        Schema.Tuple(Schema.Literal("stored"), Whole),
        Schema.Tuple(Gone()),
        Schema.Tuple(Schema.Literal("failed"), Schema.String)
      ))
    ),
  lua: `
local replies = {}
for index = 1, #KEYS / 4 do
  local token, ttl = ARGV[index * 2 - 1], tonumber(ARGV[index * 2])
  replies[index] = attempt(function()
    local flight = open(index)
    -- A delete that deletes nothing: what follows is then let through by a full Redis (R8).
    call("HDEL", flight.state, "#")
    sweep(flight)
    local entry = read(flight, token)
    if entry then renew(flight, token, entry, ttl) end
    local reply = answer(flight, token, false)
    close(flight)
    return reply
  end)
end
return { text(now), replies }`
})

/**
 * Ends the flight: the token leads no more, those who follow may read the payload for a while and are told. A copy finds
 * the mark of the first and answers the same (R33).
 *
 * @internal
 */
export const finish = script({
  name: "finish",
  prelude,
  keys: (input: FinishInput) => keysOf(input),
  args: (input) => [input.token, input.notAfter, input.retentionMillis, input.keepMillis, input.payload],
  reply: () => Schema.Tuple(Whole, Schema.Literal("accepted", "superseded")),
  lua: `
local token, notAfter, retention, keep, payload = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local flight = open(1)
call("HDEL", flight.state, "#")
sweep(flight)
local entry = read(flight, token)
if entry and entry.kind == "d" then return { text(now), "accepted" } end
if not entry or flight.leader ~= token then return { text(now), "superseded" } end

unlead(flight)
local followers = alive(flight)
local till = math.max(entry.notAfter, notAfter, now + keep)
if #followers > 0 then till = math.max(till, now + retention) end
if #followers > 0 or keep > 0 then call("HSET", flight.outcomes, token, payload) end
if keep > 0 then call("HSET", flight.state, "#kept", token) end
mark(flight, token, "d", entry.notAfter, text(now), till)

local quoted = #followers > 0 and #payload <= MAX_SENT and cjson.encode(payload) or nil
if quoted and #quoted > MAX_QUOTED then quoted = nil end
for _, follower in ipairs(followers) do
  local one = read(flight, follower)
  call("ZREM", flight.followers, follower)
  if one then
    mark(flight, follower, "o", one.notAfter, text(now) .. " " .. token, now + retention)
    tell(one.rest, quoted and "outcome" or "stored", follower, '"' .. text(now) .. '"', quoted)
  end
end
close(flight)
publish()
return { text(now), "accepted" }`
})

/** @internal */
export interface FinishInput extends Part {
  /** Until when a copy of this command may arrive, by the server's clock. */
  readonly notAfter: number
  readonly retentionMillis: number
  readonly keepMillis: number
  readonly payload: string
}

/**
 * Ends the flight without an outcome, and deletes all that it was: what a Redis that refused the outcome may still let
 * through. So it looks at no key that it does not delete from (R38).
 *
 * @internal
 */
export const refuse = script({
  name: "refuse",
  prelude,
  keys: (input: Part) => keysOf(input).slice(0, 2),
  args: ({ token }) => [token],
  reply: () => Schema.Tuple(Whole),
  lua: `
local token = ARGV[1]
local flight = { state = KEYS[1], followers = KEYS[2] }
if call("HGET", flight.state, "#leader") == token then
  call("HDEL", flight.state, "#leader", "#ends", "#ttl", token)
  for _, follower in ipairs(alive(flight)) do
    local one = read(flight, follower)
    if one then tell(one.rest, "refused", follower) end
    call("HDEL", flight.state, follower)
  end
  call("DEL", flight.followers)
  publish()
end
return { text(now) }`
})

/**
 * Takes a token out, whatever it is, and keeps a late copy of its join from bringing it back until \`buriedUntil\`. When
 * it led, those who follow are told, and the first of them to ask leads (R34).
 *
 * @internal
 */
export const leaveFlight = script({
  name: "leaveFlight",
  prelude,
  keys: (input: Part & { readonly buriedUntil: number }) => keysOf(input),
  args: (input) => [input.token, input.buriedUntil],
  reply: () => Schema.Tuple(Whole),
  lua: `
local token, buriedUntil = ARGV[1], tonumber(ARGV[2])
local flight = open(1)
call("HDEL", flight.state, "#")
sweep(flight)
local entry = read(flight, token)
if not entry or entry.kind == "l" or entry.kind == "f" then
  call("ZREM", flight.followers, token)
  if flight.leader == token then
    unlead(flight)
    for _, follower in ipairs(alive(flight)) do
      local one = read(flight, follower)
      if one then tell(one.rest, "moved", follower) end
    end
  end
  bury(flight, token, entry and entry.notAfter or buriedUntil)
  close(flight)
end
publish()
return { text(now) }`
})

/**
 * Reads the outcome that a token may read, of any size. Changes nothing.
 *
 * @internal
 */
export const fetch = script({
  name: "fetch",
  prelude,
  keys: (input: Part) => keysOf(input),
  args: ({ token }) => [token],
  reply: () =>
    Schema.Union(
      Schema.Tuple(Whole, Schema.Literal("outcome"), Whole, Schema.String),
      Schema.Tuple(Whole, Gone())
    ),
  lua: `
local flight = open(1)
local entry = read(flight, ARGV[1])
local reply = entry and entry.kind == "o" and answer(flight, ARGV[1], true) or { "gone" }
table.insert(reply, 1, text(now))
return reply`
})
