/**
 * The scripts in a world that a test sets: the clock, who can be reached and what is told are Redis keys of the test's, and
 * all expiries are absolute. So a script may run at any time, and what it says and leaves behind can be compared.
 */

/** The keys: a list of seconds and microseconds; a set of inboxes; a list of inbox, message, inbox, message and so on. */
export interface Names {
  readonly clock: string
  readonly ears: string
  readonly log: string
}

export const onKeys = (lua: string, { clock, ears, log }: Names): string =>
  lua.replaceAll("\"PX\", ttl + DAY", "\"PXAT\", text(now + ttl + DAY)")
    .replaceAll(/"PX", text\((\S*till) - now \+ DAY\)/g, "\"PXAT\", text($1 + DAY)")
    .replaceAll("call(\"TIME\")", `call("LRANGE", "${clock}", 0, 1)`)
    .replaceAll("redis.pcall(\"PUBSUB\", \"NUMSUB\", inbox)", `{ inbox, call("SISMEMBER", "${ears}", inbox) }`)
    .replaceAll("redis.pcall(\"PUBLISH\", inbox,", `call("RPUSH", "${log}", inbox,`)

/** The call of that number is refused, as by an ACL; those by `pcall` are told so. */
export const refusing = (lua: string, at: number, names: Names): string =>
  `local real, calls = redis, 0
local function isRefused()
  calls = calls + 1
  return calls == ${at}
end
local redis = {
  call = function(...)
    if isRefused() then error({ err = "NOPERM refused by the test" }) end
    return real.call(...)
  end,
  pcall = function(...)
    if isRefused() then return { err = "NOPERM refused by the test" } end
    return real.pcall(...)
  end
}
${onKeys(lua, names)}`

/** What each key has, and when it expires. */
export const look = `
local all = {}
for i, key in ipairs(KEYS) do
  local kind = redis.call("TYPE", key).ok
  local read = { string = { "GET" }, hash = { "HGETALL" }, zset = { "ZRANGE", 0, -1, "WITHSCORES" } }
  local what = read[kind] and redis.call(read[kind][1], key, unpack(read[kind], 2)) or {}
  all[i] = { what, redis.call("PEXPIRETIME", key) }
end
return all`
