/** What walks of scripts that stop half-way share: a server on which any call of a script is refused, and any key evicted. */
import { assert } from "@effect/vitest"
import * as Result from "effect/Result"
import * as FastCheck from "fast-check"
import type { Redis } from "ioredis"
import type { Script } from "../../src/internal/redis/script.js"
import type { Names } from "./onKeys.js"
import { onKeys } from "./onKeys.js"

/** The call of that number is refused, as by an ACL; those by `pcall` are told so. */
const refusing = (lua: string, at: number, names: Names): string =>
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
const look = `
local all = {}
for i, key in ipairs(KEYS) do
  local kind = redis.call("TYPE", key).ok
  local read = { string = { "GET" }, hash = { "HGETALL" }, zset = { "ZRANGE", 0, -1, "WITHSCORES" } }
  local what = read[kind] and redis.call(read[kind][1], key, unpack(read[kind], 2)) or {}
  all[i] = { what, redis.call("PEXPIRETIME", key) }
end
return all`

export const token = FastCheck.nat(7)
export const millis = FastCheck.constantFrom(50, 1_000, 30_000)
/** 0: nothing is refused. */
export const refusedAt = (max: number) =>
  FastCheck.oneof(
    { weight: 2, arbitrary: FastCheck.constant(0) },
    { weight: 1, arbitrary: FastCheck.integer({ min: 1, max }) }
  )
export const verb = <Verb extends string>(name: Verb) => FastCheck.constant(name)

/** A key: what is in it, and when it expires; -1 for never. */
export type Look = readonly [what: string | ReadonlyArray<string>, expiresAt: number]

export const expiryOf = ([, expiresAt]: Look): number => expiresAt < 0 ? Infinity : expiresAt

/** Of a hash, or a sorted set. */
export const pairs = ([what]: Look): Map<string, string> => {
  const all = new Map<string, string>()
  if (Array.isArray(what)) { for (let i = 0; i < what.length; i += 2) all.set(what[i], what[i + 1]) }
  return all
}

export class Stage {
  /** So far ahead that Redis expires nothing by itself: the walk does, by its own clock. */
  now = Date.now() + 3_600_000
  refusals = 0

  constructor(readonly client: Redis, readonly names: Names, readonly keys: ReadonlyArray<string>) {}

  /** Told by a message, whatever the script replied. */
  onTold(_message: string): void {}

  /** The reply, or undefined for an error. */
  async run<In, Reply>(script: Script<In, Reply>, input: In, refusedAt: number): Promise<Reply | undefined> {
    const { clock, log } = this.names
    const keys = script.keys(input)
    const replies = (await this.client.multi()
      .del(log, clock)
      .rpush(clock, Math.floor(this.now / 1000), (this.now % 1000) * 1000)
      .eval(refusing(script.lua, refusedAt, this.names), keys.length, ...keys, ...script.args(input))
      .lrange(log, 0, -1)
      .exec())!
    const [error, raw] = replies[2]!
    // SAFETY: LRANGE gives a list.
    for (const [i, text] of (replies[3]![1] as Array<string>).entries()) if (i % 2 === 1) this.onTold(text)
    if (error === null) return Result.getOrThrow(script.decode(raw))
    assert.match(error.message, /NOPERM refused by the test/, script.name)
    this.refusals++
    return undefined
  }

  async see(): Promise<ReadonlyArray<Look>> {
    // SAFETY: it is what `look` returns.
    return await this.client.eval(look, this.keys.length, ...this.keys) as ReadonlyArray<Look>
  }

  async elapse(millis: number): Promise<void> {
    this.now += millis
    for (const [i, [, expiresAt]] of (await this.see()).entries()) {
      if (expiresAt >= 0 && expiresAt <= this.now) await this.client.del(this.keys[i]!)
    }
  }
}
