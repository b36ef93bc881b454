/** What Redis refuses, in whole or in part, and what is left behind when it does (R8). */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { Redis } from "ioredis"
import { randomUUID } from "node:crypto"
import { inject } from "vitest"
import type { BackendError } from "../../src/DlockError.js"
import * as Scripts from "../../src/internal/redis/scripts.js"
import type { RedisServerOptions } from "../support/redisServer.js"
import { redisWith } from "../support/redisServer.js"
import { allKeys } from "../support/redisSpy.js"
import { connectRedis, keysOf, send } from "./backends.js"
import { almost, Client, gone, granted, held, long, target, waiting } from "./world.js"

/** The error is Redis's own refusal, in its own words. All but a foreign key passes by itself. */
const isRefusal = (error: BackendError | undefined, words: RegExp, outcome: BackendError["outcome"] = "NotApplied") => {
  assert.strictEqual(error?._tag, "BackendError")
  const reason = words.test("WRONGTYPE") ? "Refused" : "RefusedForNow"
  assert.deepInclude({ reason: error?.reason, outcome: error?.outcome }, { reason, outcome })
  assert.match(error?.message ?? "", words)
}

const connect = (url: string, key: string = randomUUID()) =>
  Effect.map(connectRedis(url), (process) => Object.assign(new Client(process, key), { redis: process.client }))

/** Of a single item it does not matter whether the item fails or the call. */
const leaveError = (a: Client, token: string): Effect.Effect<BackendError | undefined> =>
  a.store.leave([{ target: target(a.key), token }]).pipe(
    Effect.map(({ answer: [answer] }) => answer?._tag === "Failed" ? answer.error : undefined),
    Effect.catch(Effect.succeed)
  )

const keyNames = ["fence", "state", "held", "queue", "alive"] as const

/** What somebody else keeps under a key of ours, of another type. */
const foreign = {
  fence: (client: Redis, key: string) => client.rpush(key, "foreign"),
  state: (client: Redis, key: string) => client.set(key, "foreign"),
  held: (client: Redis, key: string) => client.set(key, "foreign"),
  queue: (client: Redis, key: string) => client.hset(key, "foreign", "1"),
  alive: (client: Redis, key: string) => client.sadd(key, "foreign")
}

const put = (client: Redis, key: string, name: keyof typeof foreign) =>
  Effect.promise<unknown>(() => foreign[name](client, keysOf(target(key))[keyNames.indexOf(name)]!))

/** What is under a key. The fields of a hash are sorted: Redis moves them about while it resizes one that nobody changes. */
const contentOf = async (client: Redis, name: string): Promise<unknown> =>
  await client.type(name) === "hash"
    ? Object.entries(await client.hgetall(name)).sort()
    : client.dumpBuffer(name)

const dumpOf = (client: Redis, key: string) =>
  Effect.promise(() => Promise.all(keysOf(target(key)).map((name) => contentOf(client, name))))

describe("a foreign value under a key of the lock", () => {
  const url = inject("redisUrl")

  for (const name of keyNames) {
    it.live(`is left as it is: every verb fails with Redis's words and writes nothing (${name})`, () =>
      Effect.gen(function*() {
        const a = yield* connect(url)
        yield* put(a.redis, a.key, name)
        const before = yield* dumpOf(a.redis, a.key)
        assert.strictEqual(before.filter((value) => value !== null).length, 1)
        isRefusal(yield* Effect.flip(a.once("A")), /WRONGTYPE/)
        isRefusal(yield* Effect.flip(a.lock("A")), /WRONGTYPE/)
        isRefusal(yield* Effect.flip(a.revoke(Number.MAX_SAFE_INTEGER)), /WRONGTYPE/)
        isRefusal(yield* Effect.flip(a.inspect()), /WRONGTYPE/)
        const renewed = yield* a.refresh("A")
        isRefusal(renewed._tag === "Failed" ? renewed.error : undefined, /WRONGTYPE/)
        isRefusal(yield* leaveError(a, "A"), /WRONGTYPE/)
        assert.deepStrictEqual(yield* dumpOf(a.redis, a.key), before)
      }))

    it.live(`spoils an acquire of several locks as a whole (${name})`, () =>
      Effect.gen(function*() {
        const a = yield* connect(url)
        const keys = ["1", "2", "3"].map((i) => `${a.key}-${i}`)
        yield* put(a.redis, keys[1]!, name)
        const claims = keys.map((key) => ({ ...target(key), permits: 1, limit: 1 }))
        isRefusal(yield* Effect.flip(a.store.acquire({ ...a.request("A", false), claims })), /WRONGTYPE/)
        for (const free of [keys[0]!, keys[2]!]) {
          assert.deepStrictEqual(yield* dumpOf(a.redis, free), Array(5).fill(null))
        }
      }))

    it.live(`spoils one item of a batch only (${name})`, () =>
      Effect.gen(function*() {
        const a = yield* connect(url)
        const keys = ["1", "2", "3"].map((i) => `${a.key}-${i}`)
        for (const key of keys) yield* a.once("A", { key, ttl: 30_000 })
        for (const key of keys) yield* a.lock("B", { key })
        yield* Effect.promise(() => a.redis.del(keysOf(target(keys[1]!))[keyNames.indexOf(name)]!))
        yield* put(a.redis, keys[1]!, name)
        const before = yield* dumpOf(a.redis, keys[1]!)
        const items = keys.map((key) => ({ target: target(key), token: "A", ttlMillis: long, livenessMillis: long }))

        const { answer } = yield* a.store.refresh({ items, subscribed: true })
        assert.deepStrictEqual(answer.map(({ _tag }) => _tag), ["Held", "Failed", "Held"])
        almost(held(answer[2]!).remainingMillis, long)
        const failed = answer[1]!
        isRefusal(failed._tag === "Failed" ? failed.error : undefined, /WRONGTYPE/)

        const left = yield* a.store.leave(items)
        assert.deepStrictEqual(left.answer.map(({ _tag }) => _tag), ["Left", "Failed", "Left"])
        const refused = left.answer[1]!
        isRefusal(refused._tag === "Failed" ? refused.error : undefined, /WRONGTYPE/)
        for (const key of [keys[0]!, keys[2]!]) held(yield* a.refresh("B", { key }))
        assert.deepStrictEqual(yield* dumpOf(a.redis, keys[1]!), before)
      }))
  }

  it.live("is left as it is also when it is a string that is no number under the key of the fence", () =>
    Effect.gen(function*() {
      const a = yield* connect(url)
      const [fence] = keysOf(target(a.key))
      yield* Effect.promise(() => a.redis.set(fence, "foreign"))
      isRefusal(yield* Effect.flip(a.once("A")), /WRONGTYPE/)
      assert.strictEqual(yield* Effect.promise(() => a.redis.get(fence)), "foreign")
      assert.strictEqual(yield* Effect.promise(() => a.redis.exists(...keysOf(target(a.key)))), 1)
    }))
})

/** Everything in the database, but what changes by itself. */
const everything = (client: Redis, url: string) =>
  Effect.promise(async () => {
    const keys = await allKeys(url)
    return Promise.all(keys.map(async (key) => [key, await contentOf(client, key)]))
  })

const ownServer = (options?: RedisServerOptions) =>
  Effect.gen(function*() {
    const { url } = yield* redisWith(options)
    const a = yield* connect(url, "key")
    const b = yield* connect(url, "key")
    const admin = (command: string) => Effect.promise(() => a.redis.call(...command.split(" ") as [string]))
    return { url, a, b, admin, everything: everything(a.redis, url) }
  })

describe("a Redis that is full", () => {
  const fill = { args: ["--maxmemory-policy", "noeviction"] }

  it.live("refuses an acquire, which leaves nothing", () =>
    Effect.gen(function*() {
      const { a, admin, b, everything } = yield* ownServer(fill)
      yield* a.once("A")
      const before = yield* everything
      yield* admin("CONFIG SET maxmemory 1")
      isRefusal(yield* Effect.flip(b.once("B", { key: "free" })), /OOM/)
      isRefusal(yield* Effect.flip(b.lock("B")), /OOM/)
      const claims = ["free 1", "free 2"].map((key) => ({ ...target(key), permits: 1, limit: 1 }))
      isRefusal(yield* Effect.flip(b.store.acquire({ ...b.request("B", false), claims })), /OOM/)
      assert.deepStrictEqual(yield* everything, before)
      yield* admin("CONFIG SET maxmemory 0")
      granted(yield* b.once("B", { key: "free" }))
    }))

  it.live("still renews, keeps waiters alive, releases, grants to waiters and tells them", () =>
    Effect.gen(function*() {
      const { a, admin, b, url } = yield* ownServer(fill)
      const c = yield* connect(url, "key")
      yield* a.once("A", { ttl: 30_000 })
      yield* b.lock("B", { liveness: 30_000 })
      yield* c.lock("C", { subscribed: false })
      yield* admin("CONFIG SET maxmemory 1")
      almost(held(yield* a.refresh("A", { ttl: 50_000 })).remainingMillis, 50_000)
      almost(waiting(yield* b.refresh("B", { liveness: 50_000 })).remainingMillis, 50_000)
      waiting(yield* c.refresh("C", { subscribed: true }))
      yield* a.leave("A")
      const { fence } = held(yield* b.refresh("B"))
      assert.deepStrictEqual(yield* b.events, [{ _tag: "Granted", token: "B", fence }])
      assert.strictEqual(yield* a.revoke(fence), 1)
      const next = held(yield* c.refresh("C")).fence
      assert.deepStrictEqual(yield* c.events, [{ _tag: "Granted", token: "C", fence: next }])
      yield* c.leave("C")
      assert.deepInclude(yield* a.inspect(), { used: 0, waiting: 0 })
    }))

  it.live("still grants to several what one releases, and passes over who cannot be reached", () =>
    Effect.gen(function*() {
      const { a, admin, b, url } = yield* ownServer(fill)
      const c = yield* connect(url, "key")
      yield* a.once("A", { limit: 2, permits: 2 })
      for (const token of ["C", "C2"]) yield* c.lock(token, { limit: 2 })
      for (const token of ["B", "B2"]) yield* b.lock(token, { limit: 2 })
      yield* c.process.deafen
      yield* admin("CONFIG SET maxmemory 1")
      yield* a.leave("A")
      const told = (yield* b.events).map((event) => "token" in event && event.token)
      assert.deepStrictEqual(told, ["B", "B2"])
      for (const token of ["B", "B2"]) held(yield* b.refresh(token))
      assert.deepInclude(yield* a.inspect(), { used: 2 })
    }))

  it.live("still buries an acquire that may be under way", () =>
    Effect.gen(function*() {
      const { a, admin } = yield* ownServer(fill)
      yield* admin("CONFIG SET maxmemory 1")
      const items = [{ lock: 0, token: "A", time: Date.now() + 30_000 }]
      const left = yield* Effect.promise(() => send(a.redis, Scripts.leave, { locks: [keysOf(target("key"))], items }))
      assert.deepStrictEqual(left[2], ["unknown"])
      yield* admin("CONFIG SET maxmemory 0")
      gone(yield* a.once("A"))
    }))
})

describe("a Redis that takes no writes", () => {
  const ways = [
    ["READONLY", "REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"],
    ["NOREPLICAS", "CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0"]
  ] as const

  for (const [words, begin, end] of ways) {
    it.live(`refuses with ${words}, and nothing is changed`, () =>
      Effect.gen(function*() {
        const { a, admin, b, everything } = yield* ownServer()
        const refusal = new RegExp(words)
        const fence = granted(yield* a.once("A"))
        yield* b.lock("B")
        const before = yield* everything
        yield* admin(begin)
        isRefusal(yield* Effect.flip(b.once("B2", { key: "free" })), refusal)
        isRefusal(yield* Effect.flip(b.lock("B2")), refusal)
        isRefusal(yield* Effect.flip(b.revoke(fence)), refusal)
        for (const token of ["A", "B"]) {
          const answer = yield* a.refresh(token)
          isRefusal(answer._tag === "Failed" ? answer.error : undefined, refusal)
        }
        isRefusal(yield* leaveError(a, "A"), refusal)
        assert.deepInclude(yield* b.inspect(), { used: 1, waiting: 1 })
        assert.deepStrictEqual(yield* everything, before)
        assert.deepStrictEqual(yield* b.events, [])
        yield* admin(end)
        assert.strictEqual(held(yield* a.refresh("A")).fence, fence)
        yield* a.leave("A")
        held(yield* b.refresh("B"))
      }))
  }
})
