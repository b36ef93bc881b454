/**
 * The scripts for flights. Each is safe to run twice with the same arguments, and each answers with the server's time
 * first, in milliseconds. Those that each flight needs are in flightJoin.ts and flightFinish.ts.
 */
import * as Schema from "effect/Schema"
import { flightPrelude as prelude } from "./flightLua.js"
import type { Part } from "./flightPart.js"
import { Gone, keysOf } from "./flightPart.js"
import { script, Whole } from "./script.js"

export type { FinishInput } from "./flightFinish.js"
export { finish } from "./flightFinish.js"
export type { JoinInput } from "./flightJoin.js"
export { join } from "./flightJoin.js"
export type { FlightKeys } from "./flightPart.js"

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
    Schema.Tuple([
      Whole,
      Schema.Array(Schema.Union([
        Schema.Tuple([Schema.Literals(["leads", "follows"]), Whole, Whole]),
        Schema.Tuple([Schema.Literal("outcome"), Whole, Schema.String]),
        Schema.Tuple([Schema.Literal("stored"), Whole]),
        Schema.Tuple([Gone()]),
        Schema.Tuple([Schema.Literal("failed"), Schema.String])
      ]))
    ]),
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
  reply: () => Schema.Tuple([Whole]),
  lua: `
local token = ARGV[1]
local flight = { state = KEYS[1], followers = KEYS[2] }
if call("HGET", flight.state, "#leader") == token then
  call("HDEL", flight.state, "#leader", "#ends", "#ttl", token)
  -- The dead as well: without their place in the set nothing would find their entries.
  local followers = call("ZRANGE", flight.followers, 0, -1, "WITHSCORES")
  for at = 1, #followers, 2 do
    local one = tonumber(followers[at + 1]) > now and read(flight, followers[at])
    if one then tell(one.rest, "refused", followers[at]) end
    call("HDEL", flight.state, followers[at])
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
  reply: () => Schema.Tuple([Whole]),
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
    Schema.Union([
      Schema.Tuple([Whole, Schema.Literal("outcome"), Whole, Schema.String]),
      Schema.Tuple([Whole, Gone()])
    ]),
  lua: `
local flight = open(1)
local entry = read(flight, ARGV[1])
local reply = entry and entry.kind == "o" and answer(flight, ARGV[1], true) or { "gone" }
table.insert(reply, 1, text(now))
return reply`
})
