/** The scripts that join flights: the only ones that can create anything. */
import * as Schema from "effect/Schema"
import { flightPrelude } from "./flightLua.js"
import type { Part } from "./flightPart.js"
import { Gone, isWhole, keysOf, readFirst, timeIn } from "./flightPart.js"
import { script, Whole } from "./script.js"

/**
 * The two usual cases with the fewest calls, exactly as `join` would answer them; nil for all others. That nothing else is
 * there yet, or that the state fits, is read before the first write (R8).
 */
const quick = `
local function quick(at, token, ttl, notAfter, inbox, gaveUp, keep)
  if gaveUp ~= "" then return nil end
  local state, followers = KEYS[at + 1], KEYS[at + 2]
  local meta = call("HMGET", state, "#leader", "#ends", "#ttl", token, "#kept")
  if meta[4] or keep > 0 and meta[5] then return nil end
  if not meta[1] then
    if call("EXISTS", state, followers, KEYS[at + 3], KEYS[at + 4]) > 0 then return nil end
    local ends = now + ttl
    call("HSET", state, "#leader", token, "#ends", text(ends), "#ttl", text(ttl), token, "l " .. text(notAfter) .. " ")
    call("PEXPIREAT", state, text(ends + ttl))
    return { "leads", ttl, 0 }
  end
  local ends, till = tonumber(meta[2] or "0"), tonumber(meta[2] or "0") + tonumber(meta[3] or "0")
  if ends <= now or now + ttl > till then return nil end
  call("ZADD", followers, text(now + ttl), token)
  call("HSET", state, token, "f " .. text(notAfter) .. " " .. inbox)
  -- R21: the state lasts that long already.
  call("PEXPIREAT", followers, text(math.max(till, tonumber(call("ZRANGE", followers, -1, -1, "WITHSCORES")[2]))))
  return { "follows", ttl, ends - now }
end
`

const thorough = `
local function join(index, token, ttl, notAfter, inbox, gaveUp, keep)
  local flight = open(index)
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
  return reply
end
`

const Late = Schema.Literal("late")

/**
 * Leads when nobody does, follows otherwise. A token that is known already gets the answer of a renewal, so a copy of
 * the command changes nothing. A copy that comes after \`notAfter\` is refused (R3).
 *
 * @internal
 */
export const join = readFirst(
  script({
    name: "join",
    keys: (input: JoinInput) => keysOf(input),
    args: (input) => [input.token, input.ttlMillis, input.notAfter, input.inbox, input.gaveUp, input.keepMillis],
    reply: Schema.Union(
      Schema.Tuple(Whole, Schema.Literal("leads", "follows"), Whole, Whole),
      Schema.Tuple(Whole, Schema.Literal("outcome"), Whole, Schema.String),
      Schema.Tuple(Whole, Schema.Literal("kept"), Schema.String),
      Schema.Tuple(Whole, Gone),
      Schema.Tuple(Whole, Late)
    ),
    shortcut: `${quick}
local token, ttl, notAfter, inbox = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local gaveUp, keep = ARGV[5], tonumber(ARGV[6])
if now > notAfter then return { text(now), "late" } end
local reply = quick(0, token, ttl, notAfter, inbox, gaveUp, keep)
if reply then return { text(now), unpack(reply) } end`,
    prelude: flightPrelude,
    lua: `${thorough}
return { text(now), unpack(join(1, token, ttl, notAfter, inbox, gaveUp, keep)) }`
  }),
  ([time, what, remaining, other]) => {
    const now = timeIn(time)
    return now > 0 && (what === "leads" || what === "follows") && isWhole(remaining) && isWhole(other)
      ? [now, what, remaining, other] as const
      : undefined
  }
)

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
 * \`join\` for several flights. In the replies, which are many, 1 stands for leads and 2 for follows. One that fails is
 * answered \`failed\` and why, and fails alone (R8).
 *
 * @internal
 */
export const joinFlights = readFirst(
  script({
    name: "join",
    keys: ({ items }: JoinsInput) => items.flatMap(keysOf),
    args: ({ inbox, items, notAfter }) => [
      notAfter,
      inbox,
      ...items.flatMap((item) => [item.token, item.ttlMillis, item.gaveUp, item.keepMillis])
    ],
    reply: Schema.Tuple(
      Whole,
      Schema.Array(Schema.Union(
        Schema.Tuple(Whole, Whole, Whole),
        Schema.Tuple(Schema.Literal("outcome"), Whole, Schema.String),
        Schema.Tuple(Schema.Literal("kept"), Schema.String),
        Schema.Tuple(Gone),
        Schema.Tuple(Late),
        Schema.Tuple(Schema.Literal("failed"), Schema.String)
      ))
    ),
    shortcut: `${quick}
local notAfter, inbox, replies, rest = tonumber(ARGV[1]), ARGV[2], {}, {}
local function brief(reply)
  if reply[1] == "leads" then reply[1] = 1 elseif reply[1] == "follows" then reply[1] = 2 end
  return reply
end
local function argsOf(index)
  local at = index * 4 - 1
  return ARGV[at], tonumber(ARGV[at + 1]), notAfter, inbox, ARGV[at + 2], tonumber(ARGV[at + 3])
end
for index = 1, #KEYS / 4 do
  if now > notAfter then
    replies[index] = { "late" }
  else
    local ok, reply = pcall(quick, index * 4 - 4, argsOf(index))
    if ok and reply then replies[index] = brief(reply) else rest[#rest + 1] = index end
  end
end
if #rest == 0 then return { text(now), replies } end`,
    prelude: flightPrelude,
    lua: `${thorough}
for _, index in ipairs(rest) do replies[index] = brief(attempt(join, index, argsOf(index))) end
return { text(now), replies }`
  }),
  ([time, replies]) => {
    const now = timeIn(time)
    return now > 0 && Array.isArray(replies) && replies.every(isPart) ? [now, replies] as const : undefined
  }
)

const isPart = (reply: unknown): reply is readonly [number, number, number] =>
  Array.isArray(reply) && reply.length === 3 && reply.every(isWhole)

/** @internal */
export interface JoinsInput extends Pick<JoinInput, "inbox" | "notAfter"> {
  readonly items: ReadonlyArray<Omit<JoinInput, "inbox" | "notAfter">>
}
