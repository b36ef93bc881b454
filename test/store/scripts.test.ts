import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { randomUUID } from "node:crypto"
import { inject, vi } from "vitest"
import * as Acquire from "../../src/internal/redis/acquire.js"
import * as Operations from "../../src/internal/redis/operations.js"
import * as Scripts from "../../src/internal/redis/scripts.js"
import * as RedisStore from "../../src/internal/redis/store.js"
import { redis as ownServer } from "../support/redisServer.js"
import { watchCommands } from "../support/redisSpy.js"
import type { RedisOptions } from "./backends.js"
import { connectRedis, keysOf, loadScripts, openClient } from "./backends.js"
import { Client, granted, held, long, refused, target, together, waiting } from "./world.js"

const url = inject("redisUrl")

const connect = (options?: RedisOptions, key: string = randomUUID()) =>
  Effect.map(
    connectRedis(url, options),
    (process) => Object.assign(new Client(process, key), { redis: process.client })
  )

const numbers = (count: number): Array<number> => Array.from({ length: count }, (_, i) => i)

/** The fence as the server keeps it. */
const fenceText = (client: Effect.Success<ReturnType<typeof connect>>) =>
  Effect.promise(() => client.redis.get(keysOf(target(client.key))[0]))

const isGrowing = (fences: ReadonlyArray<number>): void =>
  fences.forEach((fence, i) => assert.isAbove(fence, fences[i - 1] ?? 0))

describe("the scripts", () => {
  it.live("work after SCRIPT FLUSH", () =>
    Effect.gen(function*() {
      const { url } = yield* ownServer
      const process = yield* connectRedis(url)
      const a = new Client(process, randomUUID())
      const afterFlush = <A, E>(call: Effect.Effect<A, E>) =>
        Effect.andThen(Effect.promise(() => process.client.script("FLUSH")), call)
      const fence = granted(yield* afterFlush(a.once("A")))
      held(yield* afterFlush(a.refresh("A")))
      assert.strictEqual((yield* afterFlush(a.inspect())).lastFence, fence)
      assert.strictEqual(yield* afterFlush(a.revoke(fence)), 1)
      yield* afterFlush(a.leave("A"))
      granted(yield* afterFlush(a.lock("A2")))
      const { issued } = yield* Effect.promise(() => watchCommands(url, a.refresh("A2")))
      assert.deepStrictEqual(issued, { evalsha: 1, eval: 1 })
      assert.deepStrictEqual((yield* Effect.promise(() => watchCommands(url, a.refresh("A2")))).issued, { evalsha: 1 })
    }))

  it.live("5,000 fences out of the queue grow, and answer, message and key agree to the digit", () =>
    Effect.gen(function*() {
      const a = yield* connect()
      yield* loadScripts(a.redis)
      const fences: Array<number> = []
      for (let first = 0; first < 5000; first += 500) {
        if (first === 0) yield* a.once("0")
        const rounds = numbers(500).map((i) => i + first)
        const answers: ReadonlyArray<any> = yield* together(rounds.flatMap((i) => [
          a.lock(`${i + 1}`),
          a.leave(`${i}`),
          a.refresh(`${i + 1}`),
          fenceText(a)
        ]))
        rounds.forEach((_, i) => {
          const { fence } = held(answers[4 * i + 2])
          assert.strictEqual(answers[4 * i + 3], String(fence))
          fences.push(fence)
        })
      }
      isGrowing(fences)
      assert.deepStrictEqual(
        yield* a.events,
        fences.map((fence, i) => ({ _tag: "Granted", token: `${i + 1}`, fence }))
      )
    }))

  it.live("5,000 fences of a free lock grow, and answer and key agree to the digit", () =>
    Effect.gen(function*() {
      const a = yield* connect()
      yield* loadScripts(a.redis)
      const fences: Array<number> = []
      for (let round = 0; round < 10; round++) {
        const answers: ReadonlyArray<any> = yield* together(
          numbers(500).flatMap((i) => [
            a.once(`${round}/${i}`),
            fenceText(a),
            a.leave(`${round}/${i}`)
          ])
        )
        for (let i = 0; i < 500; i++) {
          fences.push(granted(answers[3 * i]))
          assert.strictEqual(answers[3 * i + 1], String(fences.at(-1)))
        }
      }
      isGrowing(fences)
    }))

  it.live("fences go on from the last one when that is ahead of the server's clock", () =>
    Effect.gen(function*() {
      const a = yield* connect()
      const fence = granted(yield* a.once("A"))
      yield* a.leave("A")
      // As it is after the clock stepped back by an hour.
      const ahead = fence + 3_600_000_000
      yield* Effect.promise(() => a.redis.set(keysOf(target(a.key))[0], String(ahead)))
      for (const [i, token] of ["B", "C", "D"].entries()) {
        assert.strictEqual(granted(yield* a.once(token)), ahead + 1 + i)
        yield* a.leave(token)
      }
    }))

  it.live("a server clock that went ahead costs one more round trip, not the lock", () =>
    Effect.gen(function*() {
      const client = yield* openClient(url)
      const pubSub = yield* openClient(url)
      Object.assign(client, { time: () => Promise.resolve(["1000000000", "0"]) })
      const calls = vi.spyOn(client, "evalsha")
      const store = yield* RedisStore.make({
        redis: { client, owned: false },
        pubSub: { client: pubSub, owned: false },
        prefix: "test",
        commandTimeout: Duration.seconds(1),
        inboxId: randomUUID()
      })
      const a = new Client({ store, deafen: Effect.void }, randomUUID())
      granted(yield* a.once("A"))
      assert.strictEqual(calls.mock.calls.length, 2)
      granted(yield* a.once("A"))
      assert.strictEqual(calls.mock.calls.length, 3)
    }))
})

describe("each script", () => {
  it.live("reads the time once, whatever it finds (R23)", () =>
    Effect.gen(function*() {
      const { url } = yield* ownServer
      const process = yield* connectRedis(url)
      yield* loadScripts(process.client)
      const [a, b] = [new Client(process, randomUUID()), new Client(process, randomUUID())]
      const calls = async (command: string) =>
        Number(
          new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(await process.client.info("commandstats"))?.[1] ?? 0
        )
      const before = yield* Effect.promise(() => Promise.all([calls("time"), calls("evalsha")]))
      const two = { limit: 2 }
      // Free, refused, waiting behind permits and behind a lock, known, renewed, lowered, passed on, over, looked at.
      yield* a.once("A", two)
      yield* a.lock("B", { ...two, permits: 2, ttl: 5 })
      yield* a.once("C", two)
      yield* a.lock("D", { ...two, liveness: 5 })
      yield* a.lock("A", two)
      yield* Effect.sleep(10)
      yield* a.lock("E", two)
      for (const token of ["A", "B", "E"]) yield* a.refresh(token)
      yield* a.leave("A", "E")
      yield* b.once("F")
      yield* b.lock("G")
      yield* b.lock("H")
      yield* b.leave("F")
      yield* b.revoke(Number.MAX_SAFE_INTEGER, true)
      yield* b.revoke(Number.MAX_SAFE_INTEGER)
      yield* b.store.lower(target(b.key), "H", 1)
      yield* b.inspect()
      const after = yield* Effect.promise(() => Promise.all([calls("time"), calls("evalsha")]))
      assert.isAtLeast(after[1] - before[1], 18)
      assert.strictEqual(after[0] - before[0], after[1] - before[1])
    }))
})

describe("the prefix", () => {
  for (const prefix of ["", "dlock", "a:b", "{tag}", "100%", "with space", "tab\tand\nnewline", "日本 🎈"]) {
    it.live(`${JSON.stringify(prefix)} makes no difference to metadata and messages`, () =>
      Effect.gen(function*() {
        const a = yield* connect({ prefix })
        const b = yield* connect({ prefix }, a.key)
        yield* a.once("A", { metadata: "host 1" })
        assert.strictEqual(refused(yield* b.once("B"))[0]!.holder?.metadata, "host 1")
        waiting(yield* b.lock("B2"))
        yield* a.leave("A")
        const { fence } = held(yield* b.refresh("B2"))
        assert.deepStrictEqual(yield* b.events, [{ _tag: "Granted", token: "B2", fence }])
      }))
  }

  it.live("separates locks of the same key", () =>
    Effect.gen(function*() {
      const key = randomUUID()
      for (const [i, prefix] of ["", "a", "a:lock", "a%3Alock"].entries()) {
        granted(yield* (yield* connect({ prefix }, `${i === 1 ? "lock:" : ""}${key}`)).once("A"))
      }
    }))
})

/** CRC-16/XMODEM of the hash tag, as in the cluster specification of Redis. */
const slotOf = (key: string): number => {
  const open = key.indexOf("{")
  const close = key.indexOf("}", open + 1)
  let crc = 0
  for (const byte of Buffer.from(open >= 0 && close > open + 1 ? key.slice(open + 1, close) : key)) {
    crc ^= byte << 8
    for (let bit = 0; bit < 8; bit++) crc = (crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1) & 0xffff
  }
  return crc % 16384
}

describe("the keys of a script", () => {
  it("slots are computed as Redis does", () => {
    assert.strictEqual(slotOf("123456789"), 0x31c3)
    assert.strictEqual(slotOf("a{123456789}b{c}"), 0x31c3)
    assert.strictEqual(slotOf("foo{}{bar}"), slotOf("foo{}{bar}x{}".slice(0, -3)))
  })

  it.live("are the five of the lock, in one slot, whatever its key is", () =>
    Effect.gen(function*() {
      const nasty = [
        "a",
        "{",
        "}",
        "{}",
        "}{",
        "{}{a}",
        "{a}b",
        "a}b{c",
        "a{b{c}",
        "{{a}}",
        "=a",
        "=a{b}",
        "a:b:fence",
        "%7B"
      ]
      for (const prefix of ["test", "", "{p}", "a{b}c", "{}"]) {
        const a = yield* connect({ prefix })
        const calls = vi.spyOn(a.redis, "evalsha")
        for (const key of [...nasty, "\n", "\0", "🎈", " ", "x".repeat(1024)]) {
          const token = randomUUID()
          yield* a.once(token, { key })
          const [, count, ...rest] = calls.mock.calls.at(-1)! as unknown as [string, number, ...Array<string>]
          const keys = rest.slice(0, count)
          assert.deepStrictEqual(keys, [...keysOf(target(key), prefix)])
          assert.strictEqual(new Set(keys.map(slotOf)).size, 1, JSON.stringify({ prefix, key, keys }))
          yield* a.store.leave([{ target: target(key), token }])
        }
      }
    }))

  it.live("a hash tag of the user's own decides the slot", () =>
    Effect.gen(function*() {
      const a = yield* connect()
      const calls = vi.spyOn(a.redis, "evalsha")
      for (const key of ["{user}:1", "order:{user}", "{user}{x}", "}{user}"]) {
        yield* a.once(randomUUID(), { key: `${key}${randomUUID()}` })
        assert.strictEqual(slotOf(String(calls.mock.calls.at(-1)![2])), slotOf("user"))
      }
    }))

  const all = { ...Acquire, ...Scripts, ...Operations } as Record<string, unknown>
  const luaOf = Object.entries(all).flatMap(([name, script]) =>
    typeof script === "object" && script !== null && "lua" in script ? [[name, String(script.lua)] as const] : []
  )

  it("are never built in Lua", () => {
    assert.sameMembers(luaOf.map(([name]) => name), ["acquire", "refresh", "leave", "lower", "revoke", "inspect"])
    for (const [name, lua] of luaOf) {
      const code = lua.replace(/--.*$/gm, "")
      assert.notMatch(code.replace(/#KEYS|KEYS\[(at \+ )?[1-5]\]/g, "lock.key"), /KEYS/, name)
      assert.notMatch(code, /(lock\.(fence|state|held|queue|alive)|KEYS\[[^\]]*\])\s*\.\.|\.\.\s*(lock\.|KEYS)/, name)
      for (const [, command = "", key = ""] of code.matchAll(/call\("([A-Z]+)"(?:, ([^,)]+))?/g)) {
        if (["TIME", "PUBSUB", "PUBLISH"].includes(command)) continue
        assert.match(key, /^(lock\.(fence|state|held|queue|alive)|KEYS\[[1-5]\])$/, `${name}: ${command}`)
      }
    }
  })

  it.live("are the only ones that a script touches", () =>
    Effect.gen(function*() {
      const { url } = yield* ownServer
      const a = new Client(yield* connectRedis(url), "a")
      const b = new Client(yield* connectRedis(url), "a")
      const claims = ["a", "b"].map((key) => ({ ...target(key), permits: 1, limit: 2 }))
      const { inScripts, seen } = yield* Effect.promise(() =>
        watchCommands(
          url,
          Effect.gen(function*() {
            yield* a.store.acquire({ ...a.request("A", false), claims })
            yield* b.lock("B", { limit: 2, permits: 2 })
            yield* b.lock("B2", { limit: 1 })
            yield* a.store.refresh({
              subscribed: false,
              items: claims.map((target) => ({ target, token: "A", ttlMillis: long, livenessMillis: long }))
            })
            yield* a.inspect()
            yield* a.store.leave(claims.map((target) => ({ target, token: "A" })))
            yield* a.revoke((yield* a.inspect()).lastFence)
          })
        )
      )
      let keys: ReadonlyArray<string> = []
      for (const { args, command, source } of seen) {
        if (command.startsWith("eval")) keys = args.slice(2, 2 + Number(args[1]))
        else if (source === "lua" && !["time", "pubsub", "publish"].includes(command)) assert.include(keys, args[0])
      }
      for (const command of ["hset", "zadd", "set", "publish", "pexpireat"]) assert.property(inScripts, command)
    }))
})
