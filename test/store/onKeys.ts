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
    .replaceAll("redis.pcall(\"PUBLISH\", ", `redis.pcall("RPUSH", "${log}", `)
