/** A real server beside the one in memory: what each answers and keeps, in a form that can be compared. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Redis as Client } from "ioredis"
import type { Reply } from "./interpreter.js"
import { toArgument } from "./interpreter.js"
import type { Redis } from "./redis.js"

export const openClient = (url: string, options = {}) =>
  Effect.acquireRelease(
    Effect.sync(() => new Client(url, { ...options, lazyConnect: false })),
    (client) => Effect.sync(() => client.disconnect())
  )

/** As the driver gives it: an error by its words, a status as a string. */
export const shown = (reply: unknown): unknown => reply instanceof Error ? { err: reply.message } : reply

export const own = (reply: Reply): unknown =>
  Array.isArray(reply)
    ? reply.map(own)
    : typeof reply === "object" && reply !== null && "ok" in reply
    ? reply.ok
    : reply

/** What the words of an error begin with: the rest differs between versions. */
export const roughly = (reply: unknown): unknown =>
  typeof reply === "object" && reply !== null && "err" in reply ? String(reply.err).split(" ")[0] : reply

/** A key: its type, what is in it, and when it expires by the server's clock. */
type Look = readonly [kind: string, content: unknown, expiresAt: number]

const look = `
local all, stamp = {}, redis.call("TIME")
for i, key in ipairs(KEYS) do
  local kind = redis.call("TYPE", key).ok
  local read = { string = { "GET" }, hash = { "HGETALL" }, zset = { "ZRANGE", 0, -1, "WITHSCORES" } }
  local what = read[kind] and redis.call(read[kind][1], key, unpack(read[kind], 2)) or ""
  local millis = redis.call("PTTL", key)
  all[i] = { kind, what, millis < 0 and millis or math.floor(stamp[1] * 1000 + stamp[2] / 1000) + millis }
end
return all`

/** Fields in order, as a hash has none. */
const inOrder = (kind: string, content: unknown): unknown =>
  kind === "hash" && Array.isArray(content)
    ? content.flatMap((name, i) => i % 2 === 0 ? [`${name} ${content[i + 1]}`] : []).sort()
    : content

const lookReal = async (client: Client, keys: ReadonlyArray<string>): Promise<ReadonlyArray<Look>> =>
  toText(await client.callBuffer("EVAL", look, String(keys.length), ...keys)) as ReadonlyArray<Look>

const lookFake = ({ database }: Redis, key: string): Look => {
  const entry = database.get(key)
  if (entry === undefined) return ["none", "", -2]
  const { expiresAt, value } = entry
  const at = expiresAt === Infinity ? -1 : expiresAt
  if (typeof value === "string") return ["string", value, at]
  return value instanceof Map
    ? ["hash", [...value].flat(), at]
    : ["zset", value.members.flatMap((member) => [member, toArgument(value.scores.get(member)!)]), at]
}

/** Both have the same under all the keys. The real one reads its clock twice. */
export const same = async (keys: ReadonlyArray<string>, client: Client, fake: Redis): Promise<void> => {
  const real = await lookReal(client, keys)
  keys.forEach((key, i) => {
    const [kind, content, expiresAt] = real[i]!
    const own = lookFake(fake, key)
    assert.deepStrictEqual([own[0], inOrder(own[0], own[1])], [kind, inOrder(kind, content)], key)
    assert.approximately(own[2], expiresAt, 40, key)
  })
}

/** The replies of a client that gives bytes, with a character for each. */
export const toText = (reply: unknown): unknown =>
  Buffer.isBuffer(reply) ? reply.toString("latin1") : Array.isArray(reply) ? reply.map(toText) : reply
