/** The scripts that end flights with an outcome. */
import * as Schema from "effect/Schema"
import { flightPrelude } from "./flightLua.js"
import type { Part } from "./flightPart.js"
import { isWhole, keysOf, readFirst, timeIn } from "./flightPart.js"
import { script, Whole } from "./script.js"

/** Each of its reads is also the look at a key's type that must come before the first write (R8). */
const step = `
local MAX_AT_ONCE = 1000
local function finish(index, token, notAfter, retention, keep, payload)
  local at = (index - 1) * 4
  local state, followers, marks, outcomes = KEYS[at + 1], KEYS[at + 2], KEYS[at + 3], KEYS[at + 4]
  local meta = call("HMGET", state, "#leader", token)
  local all, oldest = call("ZRANGE", followers, 0, -1, "WITHSCORES"), call("ZRANGE", marks, 0, 0, "WITHSCORES")[2]
  local stored = call("HLEN", outcomes)
  local kind, joinedUntil = string.match(meta[2] or "", "^(%a) (%d+) ")
  -- R33: a copy finds the mark of the first, and says the same.
  if kind == "d" then return true end
  if kind ~= "l" or meta[1] ~= token then return false end

  -- A delete first: what follows is then let through by a full Redis (R8).
  call("HDEL", state, "#leader", "#ends", "#ttl")
  local living = {}
  for i = 1, #all, 2 do
    if tonumber(all[i + 1]) > now then living[#living + 1] = all[i] end
  end
  if #living * 2 < #all or oldest and tonumber(oldest) <= now then sweep(open(index)) end

  local served, till = #living > 0, math.max(tonumber(joinedUntil), notAfter, now + keep)
  if served then till = math.max(till, now + retention) end
  local entries, ends = { token, "d " .. joinedUntil .. " " .. text(now) }, { text(till), token }
  if keep > 0 then entries[3], entries[4] = "#kept", token end
  if served or keep > 0 then stored = call("HSET", outcomes, token, payload) end
  local outcome, sent = text(now) .. " " .. token, #payload <= MAX_SENT and not string.find(payload, "\\n", 1, true)
  -- So many at once as Lua has room for.
  for from = 1, #living, MAX_AT_ONCE do
    local to = math.min(#living, from + MAX_AT_ONCE - 1)
    for i, entry in ipairs(call("HMGET", state, unpack(living, from, to))) do
      local follower, copiesUntil, inbox = living[from + i - 1], string.match(entry or "", "^%a (%d+) (.*)$")
      if inbox then
        entries[#entries + 1], entries[#entries + 2] = follower, "o " .. copiesUntil .. " " .. outcome
        ends[#ends + 1], ends[#ends + 2] = text(now + retention), follower
        if sent then send(inbox, follower, payload) else tell(inbox, "stored", follower, '"' .. text(now) .. '"') end
      end
    end
    call("ZREM", followers, unpack(living, from, to))
    if to < #living then
      call("HSET", state, unpack(entries))
      call("ZADD", marks, unpack(ends))
      entries, ends = {}, {}
    end
  end
  if #entries > 0 then
    call("HSET", state, unpack(entries))
    call("ZADD", marks, unpack(ends))
  end
  -- R21
  if oldest then till = math.max(till, tonumber(call("ZRANGE", marks, -1, -1, "WITHSCORES")[2])) end
  call("PEXPIREAT", state, text(till))
  call("PEXPIREAT", marks, text(till))
  if stored > 0 then call("PEXPIREAT", outcomes, text(till)) end
  return true
end
`

/**
 * Ends the flight: the token leads no more, those who follow may read the payload for a while and are told. A copy finds
 * the mark of the first and answers the same (R33).
 *
 * @internal
 */
export const finish = readFirst(
  script({
    name: "finish",
    prelude: flightPrelude,
    keys: (input: FinishInput) => keysOf(input),
    args: (input) => [input.token, input.notAfter, input.retentionMillis, input.keepMillis, input.payload],
    reply: Schema.Tuple(Whole, Schema.Literal("accepted", "superseded")),
    lua: `${step}
local accepted = finish(1, ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5])
publish()
return { text(now), accepted and "accepted" or "superseded" }`
  }),
  ([time, what]) => {
    const now = timeIn(time)
    return now > 0 && (what === "accepted" || what === "superseded") ? [now, what] as const : undefined
  }
)

/** @internal */
export interface FinishInput extends Part {
  /** Until when a copy of this command may arrive, by the server's clock. */
  readonly notAfter: number
  readonly retentionMillis: number
  readonly keepMillis: number
  readonly payload: string
}

/**
 * \`finish\` for several flights: 1 is accepted, 0 superseded. One that fails is answered with why, and fails alone (R8).
 *
 * @internal
 */
export const finishFlights = readFirst(
  script({
    name: "finish",
    prelude: flightPrelude,
    keys: ({ items }: FinishesInput) => items.flatMap(keysOf),
    args: ({ items, notAfter }) => [
      notAfter,
      ...items.flatMap((item) => [item.token, item.retentionMillis, item.keepMillis, item.payload])
    ],
    reply: Schema.Tuple(
      Whole,
      Schema.Array(Schema.Union(Whole, Schema.Tuple(Schema.Literal("failed"), Schema.String)))
    ),
    lua: `${step}
local notAfter, replies = tonumber(ARGV[1]), {}
for index = 1, #KEYS / 4 do
  local at = index * 4 - 2
  local result = attempt(finish, index, ARGV[at], notAfter, tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), ARGV[at + 3])
  replies[index] = type(result) == "table" and result or result and 1 or 0
end
publish()
return { text(now), replies }`
  }),
  ([time, replies]) => {
    const now = timeIn(time)
    return now > 0 && Array.isArray(replies) && replies.every(isWhole) ? [now, replies] as const : undefined
  }
)

/** @internal */
export interface FinishesInput extends Pick<FinishInput, "notAfter"> {
  readonly items: ReadonlyArray<Omit<FinishInput, "notAfter">>
}
