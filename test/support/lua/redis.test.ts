/** The Redis in memory answers, and leaves behind, what a real one does: commands, and the scripts as they are shipped. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FastCheck from "fast-check"
import { redisWith } from "../redisServer.js"
import { commands } from "./commands.js"
import { openClient, own, roughly, same, shown, toText } from "./real.js"
import { Redis, toBytes } from "./redis.js"

describe("the Redis in memory", () => {
  const keys = ["a", "b", "c"]
  const anyKey = FastCheck.constantFrom(...keys)
  const word = FastCheck.constantFrom("x", "y", "é", "", "10", "9007199254740993", "with \"quotes\"\n")
  const score = FastCheck.constantFrom("1", "2", "-3", "1795478291154", "1795478291154823", "inf", "nonsense", "1e3")
  const bound = FastCheck.oneof(score, FastCheck.constantFrom("-inf", "+inf", "(1", "(2", "(-inf"))
  const index = FastCheck.constantFrom("0", "1", "-1", "-2", "5", "x")
  const future = FastCheck.constantFrom("-5", "0", "600000", "x")
  const shapes: ReadonlyArray<readonly [name: string, ...args: ReadonlyArray<FastCheck.Arbitrary<string>>]> = [
    ["GET", anyKey],
    ["SET", anyKey, word],
    ["SET", anyKey, word, FastCheck.constantFrom("PX", "px", "NOPE"), future],
    ["SET", anyKey, word, FastCheck.constant("PXAT"), FastCheck.constantFrom("4102444800000", "x")],
    ["DEL", anyKey, anyKey],
    ["EXISTS", anyKey, anyKey],
    ["TYPE", anyKey],
    ["PEXPIRE", anyKey, future],
    ["PEXPIREAT", anyKey, FastCheck.constantFrom("1", "4102444800000", "x")],
    ["HGET", anyKey, word],
    ["HMGET", anyKey, word, word],
    ["HSET", anyKey, word, word],
    ["HSET", anyKey, word, word, word, word],
    ["HSET", anyKey, word, word, word],
    ["HDEL", anyKey, word, word],
    ["HLEN", anyKey],
    ["ZADD", anyKey, score, word],
    ["ZADD", anyKey, score, word, score, word],
    ["ZADD", anyKey, FastCheck.constantFrom("NX", "nx", "XX", "xx"), score, word],
    ["ZREM", anyKey, word, word],
    ["ZSCORE", anyKey, word],
    ["ZRANK", anyKey, word],
    ["ZCARD", anyKey],
    ["ZCOUNT", anyKey, bound, bound],
    ["ZRANGE", anyKey, index, index],
    ["ZRANGE", anyKey, index, index, FastCheck.constantFrom("WITHSCORES", "withscores", "NOPE")],
    ["ZRANGEBYSCORE", anyKey, bound, bound],
    ["ZRANGEBYSCORE", anyKey, bound, bound, FastCheck.constantFrom("LIMIT", "limit"), index, index],
    ["PUBSUB", FastCheck.constant("NUMSUB"), word],
    ["PUBLISH", anyKey, word],
    ["GET"],
    ["HSET", anyKey, word]
  ]
  const command = FastCheck.oneof(
    ...shapes.map(([name, ...args]) => FastCheck.tuple(FastCheck.constant(name), ...args))
  )

  it("is tested with every command that it knows", () => {
    const tried = new Set(shapes.map(([name]) => name))
    const others = ["TIME", "PTTL", "HGETALL"]
    assert.sameMembers([...tried, ...others], Object.keys(commands))
  })

  it.live(
    "answers random commands of a script as a real one, and has the same data in the end",
    () =>
      Effect.gen(function*() {
        const client = yield* openClient((yield* redisWith()).url)
        const walk = FastCheck.asyncProperty(
          FastCheck.array(FastCheck.tuple(command, FastCheck.constantFrom("call", "pcall")), {
            maxLength: 60,
            size: "max"
          }),
          async (steps) => {
            await client.flushall()
            const fake = new Redis({ micros: () => Date.now() * 1_000 })
            for (const [[name, ...args], by] of steps) {
              const sent = ["EVAL", `return redis.${by}(unpack(ARGV))`, "0", name, ...args]
              const real = shown(await client.callBuffer(...sent as [string]).then(toText, (error) => error))
              const answer = own(fake.call(...sent.map(toBytes)))
              assert.deepStrictEqual(roughly(answer), roughly(real), sent.join(" "))
            }
            await same(keys, client, fake)
          }
        )
        yield* Effect.promise(() => FastCheck.assert(walk, { numRuns: 150, interruptAfterTimeLimit: 10_000 }))
      }),
    30_000
  )

  it("forgets a key when its clock says so, and not before", () => {
    let millis = 1_000
    const redis = new Redis({ micros: () => millis * 1_000 })
    redis.call("SET", "a", "x", "PX", "100")
    redis.call("HSET", "b", "f", "v")
    redis.call("PEXPIREAT", "b", "1200")
    millis = 1_099
    assert.deepStrictEqual(redis.call("PTTL", "a"), 1)
    assert.deepStrictEqual(redis.call("EXISTS", "a", "b"), 2)
    millis = 1_100
    assert.deepStrictEqual(redis.call("GET", "a"), null)
    assert.deepStrictEqual(redis.call("HGET", "b", "f"), "v")
    millis = 1_200
    assert.deepStrictEqual(redis.call("EXISTS", "a", "b"), 0)
  })

  it("has what it had when its snapshot is put back", () => {
    const redis = new Redis({ micros: () => 0 })
    redis.call("ZADD", "a", "1", "x", "2", "y")
    const restore = redis.database.snapshot()
    redis.call("ZADD", "a", "3", "x")
    redis.call("SET", "b", "1")
    restore()
    assert.deepStrictEqual(redis.call("ZRANGE", "a", "0", "-1", "WITHSCORES"), ["x", "1", "y", "2"])
    assert.deepStrictEqual(redis.call("EXISTS", "b"), 0)
  })

  it.live("lets Lua see what a real one does: numbers, nil, errors, and what there is", () =>
    Effect.gen(function*() {
      const client = yield* openClient((yield* redisWith()).url)
      const programs = [
        "return { 1795478291154823, 3.99, -3.99, true, false, 'x', nil, 'y' }",
        "return tostring(1795478291154823) .. ' ' .. 1e15 .. ' ' .. string.format('%.0f', 1795478291154823)",
        "return redis.call('SET', 'k', 1795478291154823) and redis.call('GET', 'k')",
        "redis.call('SET', 'k', 1e17) return redis.call('GET', 'k')",
        "redis.call('SET', 'k', 0.1) return redis.call('GET', 'k')",
        "return { redis.call('GET', 'none') == false, type(redis.call('SET', 'k', '1')), redis.call('SET', 'k', '1').ok }",
        "local ok, e = pcall(redis.call, 'LPUSHX') return { tostring(ok), type(e) }",
        "return redis.pcall('NOPE').err ~= nil and 'yes'",
        "return { err = 'OWN words' }",
        "return { ok = 'FINE' }",
        "error('boo', 0)",
        "redis.call('SET', 'h', '1') return redis.call('HGET', 'h', 'x')",
        "redis.call('SET', 'h', '1') return { pcall(redis.call, 'HGET', 'h', 'x') }",
        "return redis.call('SET', 'k', {})",
        "return { unpack({ 1, 2, 3 }, 2), #'é', table.concat({ 1, 'b' }, ',') }",
        "return string.match('h 1 2 33 1 in meta data', '^(%a) (%d+) (%d+) (%d+) (%d) (%S+) (.*)$')",
        "undefined_name = 1",
        "return undefined_name",
        "return os.time()",
        "return { type(math.floor), type(string.gsub), type(table.insert), type(next), type(select), type(tonumber) }"
      ]
      const fake = new Redis({ micros: () => Date.now() * 1_000 })
      for (const lua of programs) {
        const real = shown(yield* Effect.promise(() => client.eval(lua, 0).catch((error) => error)))
        assert.deepStrictEqual(roughly(own(fake.call("EVAL", toBytes(lua), "0"))), roughly(real), lua)
      }
    }))
})
