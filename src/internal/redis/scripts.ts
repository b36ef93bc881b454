/**
 * The scripts for what holds or waits already. Each is safe to run twice with the same arguments, and each answers with
 * the server's time first, in milliseconds. `LockKeys` are the five keys that lua.ts describes.
 */
import * as Schema from "effect/Schema"
import { flag, flatKeys, ItemAnswer, script, Unsettled, Whole } from "./script.js"
import type { LockKeys } from "./script.js"

/**
 * Renewal, heartbeat and poke: renews what its items hold, keeps alive what waits, settles each lock once. Never
 * creates anything (R2). An item of a lock that fails is answered \`failed\` and why.
 *
 * @internal
 */
export const refresh = script({
  name: "refresh",
  keys: (input: RefreshInput) => flatKeys(input.locks),
  args: (input) => [
    flag(input.subscribed),
    ...input.items.flatMap((item) => [item.lock + 1, item.token, item.ttlMillis, item.livenessMillis])
  ],
  reply: () => Schema.Tuple(Whole, Unsettled(), Schema.Array(ItemAnswer())),
  lua: `
local subscribed = ARGV[1]
local items, answered = {}, {}
for at = 2, #ARGV, 4 do
  local index = tonumber(ARGV[at])
  items[index] = items[index] or {}
  table.insert(items[index], { token = ARGV[at + 1], ttl = tonumber(ARGV[at + 2]), liveness = tonumber(ARGV[at + 3]), at = (at + 2) / 4 })
  answered[ARGV[at + 1]] = true
end

local replies, unsettled = {}, {}
for index = 1, #KEYS / 5 do
  local mine = items[index] or {}
  local _, failure = attempt(function()
    local lock = open(index)
    -- A delete that deletes nothing: what follows is then let through by a full Redis (R8).
    call("HDEL", lock.state, "#")
    expire(lock)
    for _, item in ipairs(mine) do renew(lock, item.token, item.ttl, item.liveness, subscribed) end
    grant(lock, answered)
    for _, item in ipairs(mine) do replies[item.at] = answer(lock, item.token) end
    close(lock)
    if lock.unsettled then unsettled[#unsettled + 1] = index end
  end)
  if failure then
    for _, item in ipairs(mine) do replies[item.at] = { "failed", failure } end
  end
end
publish()
return { text(now), unsettled, replies }`
})

/** @internal */
export interface RefreshInput {
  readonly locks: ReadonlyArray<LockKeys>
  readonly subscribed: boolean
  readonly items: ReadonlyArray<{
    /** Index in `locks`, from 0. */
    readonly lock: number
    readonly token: string
    readonly ttlMillis: number
    readonly livenessMillis: number
  }>
}

/**
 * Release and cancel alike: forgets each token, then grants what that freed. Answers \`""\` for each item, or why it
 * failed. An item with \`buriedUntil\` leaves a tombstone: a copy of its acquire that arrives before then does
 * nothing (R15).
 *
 * @internal
 */
export const leave = script({
  name: "leave",
  keys: (input: LeaveInput) => flatKeys(input.locks),
  args: (input) => input.items.flatMap((item) => [item.lock + 1, item.token, item.buriedUntil]),
  reply: () => Schema.Tuple(Whole, Unsettled(), Schema.Array(Schema.String)),
  shortcut: `
-- One lock whose only holder leaves, while nobody waits and there is no tombstone.
if #ARGV == 3 and ARGV[3] == "0" and call("ZCARD", KEYS[5]) == 0 then
  local holders = call("ZRANGE", KEYS[3], 0, 1)
  if #holders == 1 and holders[1] == ARGV[2] and call("HGET", KEYS[2], ARGV[2]) then
    call("DEL", KEYS[2], KEYS[3])
    return { text(now), {}, { "" } }
  end
end`,
  lua: `
local items = {}
for at = 1, #ARGV, 3 do
  local index = tonumber(ARGV[at])
  items[index] = items[index] or {}
  table.insert(items[index], { token = ARGV[at + 1], buried = tonumber(ARGV[at + 2]), at = (at + 2) / 3 })
end

local replies, unsettled = {}, {}
for index = 1, #KEYS / 5 do
  local _, failure = attempt(function()
    local lock = open(index)
    call("HDEL", lock.state, "#")
    for _, item in ipairs(items[index]) do
      local entry = read(lock, item.token)
      if not entry or entry.kind ~= "x" then forget(lock, item.token, entry) end
      if item.buried > now and not (entry and entry.kind == "x") then
        call("ZADD", lock.alive, item.buried, item.token)
        write(lock, item.token, { kind = "x", permits = 0, limit = 0, number = 0, subscribed = "0", inbox = "-", metadata = "" })
        lock.living = lock.living + 1
        lock.till = math.max(lock.till, item.buried)
      end
      replies[item.at] = ""
    end
    expire(lock)
    grant(lock, {})
    close(lock)
    if lock.unsettled then unsettled[#unsettled + 1] = index end
  end)
  if failure then
    for _, item in ipairs(items[index]) do replies[item.at] = failure end
  end
end
publish()
return { text(now), unsettled, replies }`
})

/** @internal */
export interface LeaveInput {
  readonly locks: ReadonlyArray<LockKeys>
  readonly items: ReadonlyArray<{
    /** Index in `locks`, from 0. */
    readonly lock: number
    readonly token: string
    /** By the server's clock; 0 for no tombstone. */
    readonly buriedUntil: number
  }>
}
