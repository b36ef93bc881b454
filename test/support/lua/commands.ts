/** The commands that the scripts use, and those that a test needs to look at what they leave. As Redis has them. */
import type { Database } from "./database.js"
import { Refusal, SortedSet } from "./database.js"
import type { Reply } from "./interpreter.js"
import { toArgument } from "./interpreter.js"

/** What a command works on. */
export interface Context {
  readonly database: Database
  /** The server's clock, in microseconds. */
  readonly micros: number
  readonly receivers: (channel: string) => number
  readonly publish: (channel: string, message: string) => number
}

export interface Command {
  /** How many arguments, the name among them: exactly so many, or at least as many when negative. */
  readonly arity: number
  readonly writes: boolean
  /** Refused when the memory is full. */
  readonly grows: boolean
  readonly run: (context: Context, args: ReadonlyArray<string>) => Reply
}

const syntax = () => new Refusal("ERR syntax error")

const toInteger = (text: string): number => {
  const number = Number(text)
  if (!/^-?\d+$/.test(text) || !Number.isSafeInteger(number)) {
    throw new Refusal("ERR value is not an integer or out of range")
  }
  return number
}

const toScore = (text: string, words = "ERR value is not a valid float"): number => {
  const infinity = /^([+-]?)inf(inity)?$/i.exec(text)
  const number = infinity ? infinity[1] === "-" ? -Infinity : Infinity : Number(text)
  if (text.trim() !== text || text === "" || Number.isNaN(number)) throw new Refusal(words)
  return number
}

/** Whether a score is past the lower end, or short of the upper one. `(` leaves the end itself out. */
const toBound = (text: string): { readonly score: number; readonly isOpen: boolean } => {
  const isOpen = text.startsWith("(")
  return { isOpen, score: toScore(isOpen ? text.slice(1) : text, "ERR min or max is not a float") }
}

const between = (min: string, max: string): (score: number) => boolean => {
  const [low, high] = [toBound(min), toBound(max)]
  return (score) =>
    (low.isOpen ? score > low.score : score >= low.score) && (high.isOpen ? score < high.score : score <= high.score)
}

const withScores = (set: SortedSet, members: ReadonlyArray<string>, isAsked: boolean): ReadonlyArray<string> =>
  isAsked ? members.flatMap((member) => [member, toArgument(set.scores.get(member)!)]) : members

const hset: Command["run"] = ({ database }, [, key = "", ...pairs]) => {
  if (pairs.length % 2 !== 0) throw new Refusal("ERR wrong number of arguments for 'hset' command")
  const found = database.hash(key)
  const hash = found ?? new Map<string, string>()
  const before = hash.size
  for (let at = 0; at < pairs.length; at += 2) hash.set(pairs[at]!, pairs[at + 1]!)
  if (found) database.changed(key, hash)
  else database.set(key, hash, Infinity)
  return hash.size - before
}

const hdel: Command["run"] = ({ database }, [, key = "", ...fields]) => {
  const hash = database.hash(key)
  const count = fields.filter((field) => hash?.delete(field)).length
  if (hash && count > 0) database.changed(key, hash)
  return count
}

const zadd: Command["run"] = ({ database }, [, key = "", ...rest]) => {
  const option = rest[0]?.toUpperCase()
  const [isNew, isOld] = [option === "NX", option === "XX"]
  const pairs = isNew || isOld ? rest.slice(1) : rest
  if (pairs.length === 0 || pairs.length % 2 !== 0) throw syntax()
  const scores = pairs.filter((_, i) => i % 2 === 0).map((text) => toScore(text))
  const found = database.sortedSet(key)
  const set = found ?? new SortedSet()
  const before = set.size
  scores.forEach((score, i) => {
    const member = pairs[2 * i + 1]!
    if (set.scores.has(member) ? !isNew : !isOld) set.set(member, score)
  })
  if (found) database.changed(key, set)
  else if (set.size > 0) database.set(key, set, Infinity)
  return set.size - before
}

const zrem: Command["run"] = ({ database }, [, key = "", ...members]) => {
  const set = database.sortedSet(key)
  const count = members.filter((member) => set?.delete(member)).length
  if (set && count > 0) database.changed(key, set)
  return count
}

const zrange: Command["run"] = ({ database }, [, key = "", start = "", stop = "", ...options]) => {
  const [from, to] = [toInteger(start), toInteger(stop)]
  if (options.length > 1 || options.some((option) => option.toUpperCase() !== "WITHSCORES")) throw syntax()
  const set = database.sortedSet(key)
  if (set === undefined) return []
  const at = (index: number) => index < 0 ? index + set.size : index
  return withScores(set, set.members.slice(Math.max(0, at(from)), Math.max(0, at(to) + 1)), options.length > 0)
}

const zrangebyscore: Command["run"] = ({ database }, [, key = "", min = "", max = "", ...options]) => {
  const fits = between(min, max)
  const isLimited = options[0]?.toUpperCase() === "LIMIT"
  if (options.length !== (isLimited ? 3 : 0)) throw syntax()
  const [offset, count] = isLimited ? [toInteger(options[1]!), toInteger(options[2]!)] : [0, -1]
  const set = database.sortedSet(key)
  const found = set?.members.filter((member) => fits(set.scores.get(member)!)) ?? []
  if (offset < 0) return []
  return count < 0 ? found.slice(offset) : found.slice(offset, offset + count)
}

const set: Command["run"] = ({ database }, [, key = "", value = "", ...options]) => {
  const option = options[0]?.toUpperCase()
  if (options.length === 0) {
    database.set(key, value, Infinity)
  } else {
    if (options.length !== 2 || (option !== "PX" && option !== "PXAT")) throw syntax()
    const millis = toInteger(options[1]!)
    if (millis <= 0) throw new Refusal("ERR invalid expire time in 'set' command")
    database.set(key, value, option === "PX" ? database.millis() + millis : millis)
  }
  return { ok: "OK" }
}

const expireAt = (database: Database, key: string, millis: number): Reply => {
  const entry = database.get(key)
  if (entry === undefined) return 0
  if (database.isPast(millis)) {
    database.delete(key)
  } else {
    entry.expiresAt = millis
    database.onChange(key)
  }
  return 1
}

const pttl: Command["run"] = ({ database }, [, key = ""]) => {
  const entry = database.get(key)
  return entry === undefined ? -2 : entry.expiresAt === Infinity ? -1 : entry.expiresAt - database.millis()
}

const typeOf: Command["run"] = ({ database }, [, key = ""]) => {
  const value = database.get(key)?.value
  const name = typeof value === "string" ? "string" : value instanceof Map ? "hash" : "zset"
  return { ok: value === undefined ? "none" : name }
}

const pubsub: Command["run"] = ({ receivers }, [, what = "", ...channels]) => {
  if (what.toUpperCase() !== "NUMSUB") throw new Refusal(`ERR unknown subcommand '${what}'. Try PUBSUB HELP.`)
  return channels.flatMap((channel) => [channel, receivers(channel)])
}

const looks = (arity: number, run: Command["run"]): Command => ({ arity, writes: false, grows: false, run })
const grows = (arity: number, run: Command["run"]): Command => ({ arity, writes: true, grows: true, run })
const shrinks = (arity: number, run: Command["run"]): Command => ({ arity, writes: true, grows: false, run })

/** By upper case name. */
export const commands: Readonly<Record<string, Command>> = {
  TIME: looks(1, ({ micros }) => [String(Math.floor(micros / 1_000_000)), String(micros % 1_000_000)]),
  PUBSUB: looks(-2, pubsub),
  PUBLISH: looks(3, ({ publish }, [, channel = "", message = ""]) => publish(channel, message)),
  TYPE: looks(2, typeOf),
  EXISTS: looks(-2, ({ database }, [, ...keys]) => keys.filter((key) => database.get(key)).length),
  PTTL: looks(2, pttl),
  DEL: shrinks(
    -2,
    ({ database }, [, ...keys]) => keys.filter((key) => database.get(key) !== undefined && database.delete(key)).length
  ),
  PEXPIREAT: shrinks(3, ({ database }, [, key = "", millis = ""]) => expireAt(database, key, toInteger(millis))),
  PEXPIRE: shrinks(
    3,
    ({ database }, [, key = "", millis = ""]) => expireAt(database, key, database.millis() + toInteger(millis))
  ),

  GET: looks(2, ({ database }, [, key = ""]) => database.string(key) ?? null),
  SET: grows(-3, set),

  HGET: looks(3, ({ database }, [, key = "", field = ""]) => database.hash(key)?.get(field) ?? null),
  HMGET: looks(-3, ({ database }, [, key = "", ...fields]) => {
    const hash = database.hash(key)
    return fields.map((field) => hash?.get(field) ?? null)
  }),
  HGETALL: looks(2, ({ database }, [, key = ""]) => [...database.hash(key) ?? []].flat()),
  HLEN: looks(2, ({ database }, [, key = ""]) => database.hash(key)?.size ?? 0),
  HSET: grows(-4, hset),
  HDEL: shrinks(-3, hdel),

  ZCARD: looks(2, ({ database }, [, key = ""]) => database.sortedSet(key)?.size ?? 0),
  ZSCORE: looks(3, ({ database }, [, key = "", member = ""]) => {
    const score = database.sortedSet(key)?.scores.get(member)
    return score === undefined ? null : toArgument(score)
  }),
  ZRANK: looks(3, ({ database }, [, key = "", member = ""]) => database.sortedSet(key)?.rank(member) ?? null),
  ZCOUNT: looks(4, ({ database }, [, key = "", min = "", max = ""]) => {
    const fits = between(min, max)
    return [...database.sortedSet(key)?.scores.values() ?? []].filter(fits).length
  }),
  ZRANGE: looks(-4, zrange),
  ZRANGEBYSCORE: looks(-4, zrangebyscore),
  ZADD: grows(-4, zadd),
  ZREM: shrinks(-3, zrem)
}
