/** Scripts sent by hand: known to the server from the start, so that each call is one EVALSHA. */
import type { Redis } from "ioredis"

export interface Script {
  (keys: ReadonlyArray<string>, ...args: ReadonlyArray<string | number>): Promise<unknown>
}

export const load = async (client: Redis, lua: string): Promise<Script> => {
  const sha = String(await client.script("LOAD", lua))
  return (keys, ...args) => client.evalsha(sha, keys.length, ...keys, ...args)
}

export const compareAndDelete = `
if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end
return 0`

export const setAll = `
for _, key in ipairs(KEYS) do if redis.call("EXISTS", key) == 1 then return 0 end end
for _, key in ipairs(KEYS) do redis.call("SET", key, ARGV[1], "NX", "PX", ARGV[2]) end
return #KEYS`

export const compareAndDeleteAll = `
local deleted = 0
for _, key in ipairs(KEYS) do
  if redis.call("GET", key) == ARGV[1] then deleted = deleted + redis.call("DEL", key) end
end
return deleted`

/** Renews those that are still held by that token. */
export const renewAll = `
local renewed = 0
for _, key in ipairs(KEYS) do
  if redis.call("GET", key) == ARGV[1] then renewed = renewed + redis.call("PEXPIRE", key, ARGV[2]) end
end
return renewed`

/** A place in a queue, or one of the permits at once. Knows nothing of crashes. */
export const enter = `
if tonumber(redis.call("GET", KEYS[1]) or 0) < tonumber(ARGV[1]) then redis.call("INCR", KEYS[1]) return 1 end
redis.call("RPUSH", KEYS[2], ARGV[2], ARGV[3])
return 0`

/** Hands the permit to the first of the queue, by a message to its process. */
export const leave = `
local next = redis.call("LPOP", KEYS[2], 2)
if next then return redis.call("PUBLISH", next[1], next[2]) end
return redis.call("DECR", KEYS[1])`

/** 1 for who leads. The others are told where they said. */
export const join = `
if redis.call("SET", KEYS[1], 1, "NX", "PX", 10000) then return 1 end
redis.call("SADD", KEYS[2], ARGV[1])
return 0`

export const finish = `
for _, channel in ipairs(redis.call("SMEMBERS", KEYS[2])) do redis.call("PUBLISH", channel, ARGV[1]) end
return redis.call("DEL", KEYS[1], KEYS[2])`
