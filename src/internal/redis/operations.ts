/** The scripts for single locks: lower what a holder has, take it away, look. */
import * as Schema from "effect/Schema"
import type { LockKeys } from "./script.js"
import { flag, ItemAnswer, script, Unsettled, Whole } from "./script.js"

/**
 * Takes the lock from every holder whose fence is at most the one given, and tells them; or only asks them to let go. A
 * later grant is never touched, so a copy of the command is harmless (R17).
 *
 * @internal
 */
export const revoke = script({
  name: "revoke",
  keys: (input: { readonly lock: LockKeys; readonly fence: number; readonly asks: boolean }) => [...input.lock],
  args: (input) => [input.fence, flag(input.asks)],
  reply: () => Schema.Tuple([Whole, Unsettled(), Whole]),
  lua: `
local lock, asks = open(1), ARGV[2] == "1"
expire(lock)
local revoked = 0
for _, token in ipairs(call("ZRANGE", lock.held, 0, -1)) do
  local entry = read(lock, token)
  if not entry then
    -- Its entry was evicted. Its own process is told by its next renewal.
    if not asks then
      forget(lock, token)
      revoked = revoked + 1
    end
  elseif entry.kind == "h" and entry.number <= tonumber(ARGV[1]) then
    if not asks or isKept(entry) then forget(lock, token, entry) end
    if not isKept(entry) then tell(entry.inbox, asks and "asked" or "revoked", token, entry.number) end
    revoked = revoked + 1
  end
end
grant(lock, {})
close(lock)
publish()
return { text(now), lock.unsettled and { 1 } or {}, revoked }`
})

/**
 * Lowers what a holder has, and grants what that frees. Twice, or of a token that is gone, it changes nothing.
 *
 * @internal
 */
export const lower = script({
  name: "lower",
  keys: (input: { readonly lock: LockKeys; readonly token: string; readonly permits: number }) => [...input.lock],
  args: (input) => [input.token, input.permits],
  reply: () => Schema.Tuple([Whole, Unsettled(), ItemAnswer()]),
  lua: `
local token, permits = ARGV[1], tonumber(ARGV[2])
local lock = open(1, token)
-- A delete that deletes nothing: what follows is then let through by a full Redis (R8).
call("HDEL", lock.state, "#")
expire(lock)
local entry = read(lock, token)
if entry and entry.kind == "h" and entry.permits > permits and endOf(lock, token, entry) > now then
  lock.used = usedOf(lock) - entry.permits + permits
  entry.permits = permits
  write(lock, token, entry)
end
grant(lock, {})
local reply = answer(lock, token)
close(lock)
publish()
return { text(now), lock.unsettled and { 1 } or {}, reply }`
})

/**
 * Looks, and changes nothing. Tokens are secrets and are not told (R19).
 *
 * @internal
 */
export const inspect = script({
  name: "look",
  keys: (input: { readonly lock: LockKeys }) => [...input.lock],
  args: () => [],
  reply: () =>
    Schema.Tuple([
      Whole,
      // limit, used, waiting, last fence
      Schema.Tuple([Whole, Whole, Whole, Whole]),
      // fence, permits, limit, remaining, metadata
      Schema.Array(Schema.Tuple([Whole, Whole, Whole, Whole, Schema.String]))
    ]),
  lua: `
local lock = open(1)
local holders, used, last = {}, 0, lock.last
for _, token in ipairs(call("ZRANGEBYSCORE", lock.held, "(" .. text(now), "+inf")) do
  local entry = read(lock, token)
  if entry then
    local remaining = tonumber(call("ZSCORE", lock.held, token)) - now
    holders[#holders + 1] = { text(entry.number), entry.permits, entry.limit, remaining, entry.metadata }
    used, last = used + entry.permits, math.max(last, entry.number)
  end
end
local waiting = call("ZCARD", lock.queue)
for _, token in ipairs(call("ZRANGEBYSCORE", lock.alive, "-inf", now)) do
  if call("ZSCORE", lock.queue, token) then waiting = waiting - 1 end
end
return { text(now), { lock.limit or 1, used, waiting, text(last) }, holders }`
})
