/** Commands that arrive late or once more, from a driver that repeats them or a network that held them back (R3, R15). */
import * as TestEdition from "#test-edition"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { Redis } from "ioredis"
import { randomUUID } from "node:crypto"
import { inject, vi } from "vitest"
import type { AcquireInput } from "../../src/internal/redis/acquire.js"
import * as Acquire from "../../src/internal/redis/acquire.js"
import * as Flights from "../../src/internal/redis/flights.js"
import * as Scripts from "../../src/internal/redis/scripts.js"
import { startProxy } from "../support/proxy.js"
import { redis } from "../support/redisServer.js"
import { waitFor } from "../support/redisSpy.js"
import { connectRedis, keysOf, openClient, send } from "./backends.js"
import { Client, gone, granted, held, long, refused, target, together, waiting } from "./world.js"

const url = inject("redisUrl")

/** The time of a tombstone that is to end in a test. */
const brief = 150

/** A client of the server itself, that sends what any process may have sent before. */
const world = Effect.gen(function*() {
  const client = yield* openClient(url)
  const a = new Client(yield* connectRedis(url), randomUUID())
  const lock = keysOf(target(a.key))
  const now = Effect.promise(() =>
    client.time().then(([s, micros]) => Number(s) * 1000 + Math.floor(Number(micros) / 1000))
  )
  const timedAcquire = (token: string, notAfter: number, more: Partial<AcquireInput> = {}) =>
    Effect.promise(() =>
      send(client, Acquire.acquire, {
        locks: [lock],
        claims: [{ permits: 1, limit: 1 }],
        token,
        ttlMillis: long,
        livenessMillis: long,
        notAfter,
        wait: false,
        subscribed: true,
        inbox: "nobody",
        metadata: "",
        ...more
      })
    )
  const acquire = (...input: Parameters<typeof timedAcquire>) => Effect.map(timedAcquire(...input), ([, tag]) => tag)
  const leave = (token: string, time: number) =>
    Effect.promise(() => send(client, Scripts.leave, { locks: [lock], items: [{ lock: 0, token, time }] }))
  const left = Effect.promise(() => client.keys(`${lock[0].slice(0, -"fence".length)}*`))
  return { a, client, lock, now, acquire, timedAcquire, leave, left }
})

describe("an acquire that waits for the server's time", () => {
  it.live("is not sent any more once its leave was", () =>
    Effect.gen(function*() {
      const a = new Client(yield* connectRedis(url, { silent: true }), randomUUID())
      const [acquired] = yield* together([Effect.result(a.lock("A")), a.leave("A")])
      assert.strictEqual(acquired._tag, "Failure")
      assert.strictEqual((yield* a.inspect()).used, 0)
    }))
})

describe("what a server does not know the script of", () => {
  /** A server that knows the scripts that leave, and no other. */
  const forgetful = Effect.gen(function*() {
    const { url } = yield* redis
    const a = new Client(yield* connectRedis(url), "key")
    const client = yield* openClient(url)
    yield* Effect.promise(async () => {
      await client.script("FLUSH")
      for (const { lua } of [Scripts.leave, Flights.leaveFlight]) await client.script("LOAD", lua)
    })
    return a
  })

  it.live("an acquire is not sent again once its leave was (R47)", () =>
    Effect.gen(function*() {
      const a = yield* forgetful
      for (const wait of [false, true]) {
        const acquired = wait ? a.lock("A") : a.once("A")
        const [exit] = yield* together([Effect.result(acquired), a.leave("A")])
        assert.strictEqual(exit._tag, "Failure")
        assert.deepInclude(yield* a.inspect(), { used: 0, waiting: 0 })
      }
      granted(yield* a.once("B"))
    }))

  it.live("a join is not sent again once its leave was (R47)", () =>
    Effect.gen(function*() {
      const { store: { flights } } = yield* forgetful
      const join = { id: "id", token: "T", gaveUp: undefined, ttlMillis: long, keepMillis: 0, patient: true }
      const [exit] = yield* together([Effect.result(flights.join(join)), flights.leave({ id: "id", token: "T" })])
      assert.strictEqual(exit._tag, "Failure")
      assert.strictEqual((yield* flights.join({ ...join, token: "U" }))._tag, "Leads")
    }))
})

describe("an acquire that arrives after its notAfter", () => {
  for (const wait of [false, true]) {
    it.live(`is late and creates nothing, ${wait ? "waiting" : "not waiting"}`, () =>
      Effect.gen(function*() {
        const { acquire, left, now } = yield* world
        assert.strictEqual(yield* acquire("A", (yield* now) - 1, { wait }), "late")
        assert.deepStrictEqual(yield* left, [])
      }))
  }

  it.live("is late in that very millisecond as well, in which its tombstone is over", () =>
    Effect.gen(function*() {
      const { now, timedAcquire } = yield* world
      // Until one does arrive then. A round trip takes a part of a millisecond.
      for (let i = 0;; i++) {
        const notAfter = (yield* now) + 1
        const [at, tag] = yield* timedAcquire(`T${i}`, notAfter)
        assert.strictEqual(tag === "late", at >= notAfter)
        if (at === notAfter) return
      }
    }))

  it.live("changes nothing of what its first copy got", () =>
    Effect.gen(function*() {
      const { a, acquire, now } = yield* world
      yield* a.once("A", { ttl: 30_000 })
      assert.strictEqual(yield* acquire("A", (yield* now) - 1, { claims: [{ permits: 1, limit: 2 }] }), "late")
      const found = yield* a.inspect()
      assert.strictEqual(found.limit, 1)
      assert.isAtMost(found.holders[0]!.remainingMillis, 30_000)
    }))
})

describe("a tombstone", () => {
  it.live("makes a late copy of the acquire do nothing", () =>
    Effect.gen(function*() {
      const { a, acquire, leave, now } = yield* world
      const until = (yield* now) + 30_000
      yield* leave("A", until)
      assert.strictEqual(yield* acquire("A", until), "gone")
      assert.strictEqual(yield* acquire("A", until, { wait: true }), "gone")
      gone(yield* a.refresh("A"))
      assert.deepInclude(yield* a.inspect(), { used: 0, waiting: 0, lastFence: 0 })
    }))

  it.live("also ends what the first copy got, held or waiting", () =>
    Effect.gen(function*() {
      const { a, acquire, leave, now } = yield* world
      const until = (yield* now) + 30_000
      yield* a.once("A")
      yield* a.lock("B")
      yield* leave("B", until)
      yield* leave("A", until)
      for (const token of ["A", "B"]) assert.strictEqual(yield* acquire(token, until, { wait: true }), "gone")
      assert.deepInclude(yield* a.inspect(), { used: 0, waiting: 0 })
    }))

  it.live("keeps nobody else out", () =>
    Effect.gen(function*() {
      const { a, leave, now } = yield* world
      yield* leave("A", (yield* now) + 30_000)
      granted(yield* a.once("B"))
      refused(yield* a.once("C"))
      waiting(yield* a.lock("D"))
      yield* a.leave("B")
      held(yield* a.refresh("D"))
    }))

  it.live("is left by a copy of its leave as it is", () =>
    Effect.gen(function*() {
      const { acquire, leave, now } = yield* world
      const until = (yield* now) + 30_000
      yield* leave("A", until)
      yield* leave("A", until)
      yield* leave("A", until - 1000)
      assert.strictEqual(yield* acquire("A", until), "gone")
    }))

  // The store forgets the acquire when a leave is confirmed, so a second leave of the same token asks for no tombstone.
  it.live("is left by a second leave without a tombstone as it is", () =>
    Effect.gen(function*() {
      const { acquire, leave, now } = yield* world
      const until = (yield* now) + 30_000
      yield* leave("A", until)
      yield* leave("A", 0)
      assert.strictEqual(yield* acquire("A", until), "gone")
    }))

  it.live("disappears when its time is over", () =>
    Effect.gen(function*() {
      const { client, left, leave, lock, now } = yield* world
      yield* leave("A", (yield* now) + brief)
      const ttls = yield* Effect.promise(() => Promise.all(lock.map((key) => client.pttl(key))))
      for (const ttl of ttls) assert.isTrue(ttl === -2 || ttl > 0 && ttl <= brief)
      yield* Effect.sleep(brief + 50)
      assert.deepStrictEqual(yield* left, [])
    }))
})

/** A process whose connection can be lost with all that is on its way. The driver opens another and repeats it there. */
const breakable = (url: string) =>
  Effect.gen(function*() {
    const proxy = yield* Effect.acquireRelease(
      Effect.promise(() => startProxy(Number(new URL(url).port))),
      (proxy) => Effect.promise(() => proxy.close())
    )
    const { client, ...process } = yield* connectRedis(proxy.url, { pubSubUrl: url })
    const a = new Client(process, randomUUID())
    const sent = vi.spyOn(client, "evalsha")
    const server = yield* openClient(url)
    const until = (condition: () => boolean) => Effect.promise(() => waitFor(condition))
    return {
      a,
      stall: Effect.sync(proxy.stall),
      deliver: Effect.sync(() => proxy.heal({ deliver: true })),
      untilSent: (commands: number) => until(() => sent.mock.calls.length === commands),
      lose: Effect.sync(() => {
        client.stream.destroy()
        proxy.heal({ leaveDead: true })
      }),
      untilLost: until(() => client.status !== "ready"),
      /** The first command that was sent, byte by byte, as it comes out of the network at last. */
      lateCopy: Effect.promise(() => server.evalsha(...sent.mock.calls[0] as unknown as Parameters<Redis["evalsha"]>))
    }
  })

describe("a copy of an acquire that the network kept", () => {
  it.live("does nothing when the acquire was given up and left on a later connection", () =>
    Effect.gen(function*() {
      const { a, lateCopy, lose, stall, untilLost, untilSent } = yield* breakable(url)
      yield* stall
      const acquiring = yield* Effect.forkChild(a.once("A"))
      yield* untilSent(1)
      yield* Fiber.interrupt(acquiring)
      yield* lose
      yield* untilLost
      yield* a.leave("A")
      yield* lateCopy
      assert.strictEqual((yield* a.inspect()).used, 0)
    }))

  it.live("does nothing when the acquire was answered and left on a later connection", () =>
    Effect.gen(function*() {
      const { a, lateCopy, lose, stall, untilSent } = yield* breakable(url)
      yield* stall
      const acquiring = yield* Effect.forkChild(a.once("A"))
      yield* untilSent(1)
      yield* lose
      granted(yield* Fiber.join(acquiring))
      yield* a.leave("A")
      yield* lateCopy
      assert.strictEqual((yield* a.inspect()).used, 0)
    }))

  it.live("does nothing when the leave was sent on the same connection and repeated on a later one", () =>
    Effect.gen(function*() {
      const { a, lateCopy, lose, stall, untilSent } = yield* breakable(url)
      yield* stall
      const acquiring = yield* Effect.forkChild(a.once("A"))
      yield* untilSent(1)
      yield* Fiber.interrupt(acquiring)
      const leaving = yield* Effect.forkChild(a.leave("A"))
      yield* untilSent(2)
      yield* lose
      yield* Fiber.join(leaving)
      yield* lateCopy
      assert.strictEqual((yield* a.inspect()).used, 0)
    }))

  it.live("does nothing after two leaves", () =>
    Effect.gen(function*() {
      const { a, lateCopy, lose, stall, untilLost, untilSent } = yield* breakable(url)
      yield* stall
      const acquiring = yield* Effect.forkChild(a.once("A"))
      yield* untilSent(1)
      yield* Fiber.interrupt(acquiring)
      yield* lose
      yield* untilLost
      yield* a.leave("A")
      yield* a.leave("A")
      yield* lateCopy
      assert.strictEqual((yield* a.inspect()).used, 0)
    }))

  it.live("is not sent at all once the caller has left, by a server that had lost the script", () =>
    Effect.gen(function*() {
      const { url } = yield* redis
      const { a, deliver, stall, untilSent } = yield* breakable(url)
      const admin = yield* openClient(url)
      yield* Effect.promise(() => admin.script("FLUSH"))
      yield* Effect.promise(() => admin.script("LOAD", Scripts.leave.lua))
      yield* stall
      const acquiring = yield* Effect.forkChild(a.once("A"))
      yield* untilSent(1)
      yield* Fiber.interrupt(acquiring)
      const leaving = yield* Effect.forkChild(a.leave("A"))
      yield* untilSent(2)
      yield* deliver
      yield* Fiber.join(leaving)
      assert.strictEqual((yield* a.inspect()).used, 0)
    }))

  it.live("a leave is sent again by a caller that was interrupted but waits for it, by a server that had lost the script", () =>
    Effect.gen(function*() {
      const { url } = yield* redis
      const { a, deliver, stall, untilSent } = yield* breakable(url)
      const admin = yield* openClient(url)
      yield* a.once("A")
      yield* Effect.promise(() => admin.script("FLUSH"))
      yield* stall
      const leaving = yield* Effect.forkChild(Effect.uninterruptible(a.leave("A")))
      yield* untilSent(2)
      yield* TestEdition.interruptFork(leaving)
      yield* Effect.yieldNow
      yield* deliver
      yield* Fiber.await(leaving)
      assert.strictEqual((yield* a.inspect()).used, 0)
    }))

  it.live("costs no tombstone when the acquire was answered on its own connection", () =>
    Effect.gen(function*() {
      const { a, client, left } = yield* world
      yield* a.once("A")
      yield* a.leave("A")
      assert.deepStrictEqual(yield* left, [keysOf(target(a.key))[0]])
      assert.isAbove(yield* Effect.promise(() => client.pttl(keysOf(target(a.key))[0])), 0)
    }))
})
