/** What only a Redis can show: commands that come late or twice, keys, expiry, refusals, a server without the scripts. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { inject } from "vitest"
import * as Scripts from "../../../src/internal/redis/flights.js"
import { redis as ownServer } from "../../support/redisServer.js"
import { watchCommands } from "../../support/redisSpy.js"
import { connectRedis, flightKeysOf, loadScripts, openClient, redis, send } from "../backends.js"
import { pastShort, short } from "../world.js"
import { Client, follows, gone, leads, outcome, world as worldOf } from "./world.js"

const url = inject("redisUrl")

/** A client of the server itself, that sends what any process may have sent before. */
const world = Effect.gen(function*() {
  const client = yield* openClient(url)
  const { a, b, id } = yield* worldOf(redis(url))
  const keys = flightKeysOf(id)
  const now = Effect.promise(() =>
    client.time().then(([s, micros]) => Number(s) * 1000 + Math.floor(Number(micros) / 1000))
  )
  const timedJoin = (token: string, notAfter: number, more: Partial<Scripts.JoinInput> = {}) =>
    Effect.promise(() =>
      send(client, Scripts.join, {
        flight: keys,
        token,
        notAfter,
        ttlMillis: 60_000,
        inbox: "nobody",
        gaveUp: "",
        keepMillis: 0,
        ...more
      })
    )
  const join = (...input: Parameters<typeof timedJoin>) => Effect.map(timedJoin(...input), ([, tag]) => tag)
  const left = Effect.promise(() => client.keys(`${keys[0].slice(0, -"state".length)}*`))
  const ttls = Effect.promise(() => Promise.all(keys.map((key) => client.pttl(key))))
  return { a, b, client, id, keys, now, join, timedJoin, left, ttls }
})

it.live("a leave that is the first that a process asks keeps its mark for commandTimeout, by the server's clock", () =>
  Effect.gen(function*() {
    const { id, ttls } = yield* world
    const { store } = yield* connectRedis(url, { silent: true })
    yield* store.flights.leave({ id, token: "A" })
    for (const millis of yield* ttls) assert.isAtMost(millis, 60_000)
    assert.isAbove(Math.max(...yield* ttls), 0)
  }))

describe("a join of a flight", () => {
  it.live("that arrives in the very millisecond of its notAfter creates nothing: its mark is over then (R3, R36)", () =>
    Effect.gen(function*() {
      const { now, timedJoin } = yield* world
      // Until one does arrive then. A round trip takes a part of a millisecond.
      for (let i = 0;; i++) {
        const notAfter = (yield* now) + 1
        const [at, tag] = yield* timedJoin(`T${i}`, notAfter, { ttlMillis: 1 })
        assert.strictEqual(tag === "late", at >= notAfter)
        if (at === notAfter) return
      }
    }))

  it.live("that arrives after its notAfter creates nothing (R3)", () =>
    Effect.gen(function*() {
      const { join, left, now } = yield* world
      assert.strictEqual(yield* join("A", (yield* now) - 1), "late")
      assert.deepStrictEqual(yield* left, [])
    }))

  it.live("whose late copy comes after its flight was finished, left, or taken over does nothing (R36)", () =>
    Effect.gen(function*() {
      const { b, client, join, keys, left, now } = yield* world
      const notAfter = (yield* now) + 30_000
      // The flight is remembered for a ttl after its lease: time enough to take it over, also on a busy machine.
      assert.strictEqual(yield* join("A", notAfter, { ttlMillis: 500 }), "leads")
      yield* Effect.sleep(550)
      leads(yield* b.join("B"))
      assert.strictEqual(yield* join("A", notAfter), "gone")
      yield* b.finish("B", "x")
      assert.strictEqual(yield* join("A", notAfter), "gone")
      assert.strictEqual(yield* join("F", notAfter, { ttlMillis: short }), "leads")
      yield* Effect.promise(() =>
        send(client, Scripts.leaveFlight, { flight: keys, token: "F", buriedUntil: notAfter })
      )
      assert.strictEqual(yield* join("F", notAfter), "gone")
      assert.isAbove((yield* left).length, 0)
    }))

  it.live("of a follower whose liveness is over does not come back as a ghost", () =>
    Effect.gen(function*() {
      const { a, join, now } = yield* world
      const notAfter = (yield* now) + 30_000
      leads(yield* a.join("A"))
      assert.strictEqual(yield* join("F", notAfter, { ttlMillis: short }), "follows")
      yield* Effect.sleep(pastShort)
      assert.strictEqual(leads(yield* a.refresh("A")).followers, 0)
      assert.strictEqual(yield* join("F", notAfter), "gone")
      assert.strictEqual(leads(yield* a.refresh("A")).followers, 0)
    }))
})

describe("the keys of a flight", () => {
  it.live("are the four of it, in one slot, each with an expiry up to its latest deadline (R21)", () =>
    Effect.gen(function*() {
      const { a, b, keys, left, ttls } = yield* world
      leads(yield* a.join("A", { ttl: 10_000 }))
      follows(yield* b.join("B", { ttl: 60_000 }))
      const slots = new Set(keys.map((key) => /\{(.*?)\}/.exec(key)?.[1]))
      assert.strictEqual(slots.size, 1)
      for (const ttl of (yield* ttls).filter((ttl) => ttl !== -2)) {
        assert.isAbove(ttl, 55_000)
        assert.isAtMost(ttl, 60_000)
      }
      yield* a.finish("A", "x", { retention: 20_000 })
      for (const ttl of (yield* ttls).filter((ttl) => ttl !== -2)) {
        assert.isAbove(ttl, 15_000)
        assert.isAtMost(ttl, 20_000)
      }
      assert.sameMembers(yield* left, keys.filter((key) => !key.endsWith(":followers")))
    }))

  it.live("of a leader stay for a ttl after its lease, and then nothing is left", () =>
    Effect.gen(function*() {
      const { join, left, now, ttls } = yield* world
      assert.strictEqual(yield* join("A", (yield* now) + 90, { ttlMillis: 100 }), "leads")
      assert.isAtMost(Math.max(...yield* ttls), 200)
      yield* Effect.sleep(250)
      assert.deepStrictEqual(yield* left, [])
    }))

  it.live("are gone when the last outcome is", () =>
    Effect.gen(function*() {
      const { a, b, client, left } = yield* world
      yield* loadScripts(client)
      leads(yield* a.join("A"))
      follows(yield* b.join("B"))
      yield* a.finish("A", "x", { retention: short })
      // Marks stand until no copy may come any more.
      yield* Effect.sleep(5_100)
      assert.deepStrictEqual(yield* left, [])
    }))
})

describe("a Redis that refuses", () => {
  it.live("one flight of a batch fails it alone, untouched (R8)", () =>
    Effect.gen(function*() {
      const { a, client, id, keys } = yield* world
      leads(yield* a.join("A"))
      leads(yield* a.join("B", { id: `${id}-2` }))
      yield* Effect.promise(() => client.set(keys[3], "somebody else's"))
      const answers = yield* a.store.refresh([
        { id, token: "A", ttlMillis: 60_000 },
        { id: `${id}-2`, token: "B", ttlMillis: 60_000 }
      ])
      assert.deepStrictEqual(answers.map((answer) => answer._tag), ["Failed", "Leads"])
      assert.strictEqual(yield* Effect.promise(() => client.get(keys[3])), "somebody else's")
    }))

  it.live("an outcome lets the flight be refused: its followers are told, and it is free (R38)", () =>
    Effect.gen(function*() {
      const { a, b, client, keys } = yield* world
      leads(yield* a.join("A"))
      follows(yield* b.join("B"))
      yield* Effect.promise(() => client.set(keys[3], "somebody else's"))
      const error = yield* Effect.flip(a.finish("A", "x"))
      assert.strictEqual(error.reason, "Refused")
      yield* a.refuse("A")
      assert.deepStrictEqual(yield* b.events, [{ _tag: "Refused", token: "B" }])
      yield* a.refuse("A")
      assert.deepStrictEqual(yield* b.events, [])
      yield* Effect.promise(() => client.del(keys[3]))
      gone(yield* b.refresh("B"))
      leads(yield* b.join("B2"))
    }))

  it.live("an outcome forgets dead followers with the rest of the flight", () =>
    Effect.gen(function*() {
      const { a, b, client, keys } = yield* world
      leads(yield* a.join("A"))
      follows(yield* b.join("B", { ttl: short }))
      yield* Effect.sleep(pastShort)
      yield* a.refuse("A")
      assert.strictEqual(yield* Effect.promise(() => client.hlen(keys[0])), 0)
    }))

  it.live("memory refuses a new flight, and lets those under way be renewed, taken over and finished", () =>
    Effect.gen(function*() {
      const { url } = yield* ownServer
      const admin = yield* openClient(url)
      const { a, b } = yield* worldOf(redis(url))
      leads(yield* a.join("A"))
      follows(yield* b.join("B"))
      yield* Effect.promise(() => admin.config("SET", "maxmemory", "1"))
      assert.strictEqual((yield* Effect.flip(a.join("A2", { id: "new" }))).reason, "RefusedForNow")
      leads(yield* a.refresh("A"))
      yield* a.leave("A")
      leads(yield* b.refresh("B"))
      assert.isTrue(yield* b.finish("B", "x"))
    }))
})

describe("a server that does not know the scripts", () => {
  it.live("is told each once (NOSCRIPT)", () =>
    Effect.gen(function*() {
      const { url } = yield* ownServer
      const process = yield* connectRedis(url)
      const a = new Client(process, "id")
      const afterFlush = <A, E>(call: Effect.Effect<A, E>) =>
        Effect.andThen(Effect.promise(() => process.client.script("FLUSH")), call)
      leads(yield* afterFlush(a.join("A")))
      leads(yield* afterFlush(a.refresh("A")))
      follows(yield* a.join("B"))
      assert.isTrue(yield* afterFlush(a.finish("A", "x")))
      assert.strictEqual(outcome(yield* afterFlush(a.fetch("B"))), "x")
      yield* afterFlush(a.leave("B"))
      yield* afterFlush(a.refuse("B"))
      leads(yield* a.join("C"))
      yield* afterFlush(a.leave("C"))
      const { issued } = yield* Effect.promise(() => watchCommands(url, a.join("D")))
      assert.deepStrictEqual(issued, { evalsha: 1, eval: 1 })
    }))
})
