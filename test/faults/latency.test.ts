/** A Redis that is far away: 40 to 120 ms each way. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { watchAsked } from "../cost/asked.js"
import type { Proxy } from "../support/proxy.js"
import {
  atMost,
  clientOf,
  nothingUnhandled,
  proxyTo,
  redis,
  serve,
  slack,
  test,
  timed,
  ttl,
  until,
  untilOnlyFences,
  untilWaiting
} from "./support.js"

const ways = [40, 120] as const

/** The default of these tests is less than two round trips. */
const options = { commandTimeout: 1_000 }

/** Two services, each with a delay of its own, and a look at the server that has none. */
const setup = Effect.gen(function*() {
  yield* nothingUnhandled
  const server = yield* redis
  const far = (millis: number) =>
    Effect.gen(function*() {
      const proxy = yield* proxyTo(server)
      const service = yield* serve(proxy.url, options)
      proxy.delay(millis)
      return { ...service, proxy }
    })
  const direct = yield* serve(server.url)
  // Redis has the scripts: one that it does not have costs another round trip, which is much of this ttl.
  yield* direct.dlock.withLock(Effect.sleep(ttl / 2), "warm")
  return { server, near: yield* far(ways[0]), far: yield* far(ways[1]), direct }
})

describe.concurrent("latency", () => {
  test("locks are renewed in time, and handed over in a message and a command", () =>
    Effect.gen(function*() {
      const { direct, far, near, server } = yield* setup
      const [held, took] = yield* timed(far.dlock.once("k"))
      // The server's time is asked first.
      atMost("latency: once", took, 4 * ways[1] + slack)
      const waiter = yield* Effect.forkChild(near.dlock.lock("k"))
      yield* untilWaiting(direct.dlock, "k", 1)
      yield* Effect.sleep(2.5 * ttl)
      yield* held.check
      const handOver = yield* Effect.andThen(
        Effect.forkChild(held.release),
        Effect.map(timed(Fiber.join(waiter)), ([next, millis]) => ({ next, millis }))
      )
      atMost("latency: hand-over", handOver.millis, ways[0] + ways[1] + slack)
      assert.isAbove(handOver.next.fencingToken, held.fencingToken)
      yield* handOver.next.release
      yield* untilOnlyFences(server.url, 2 * ways[1] + slack)
    }))

  test("a ttl that is shorter than the round trip is no lock: BackendError after commandTimeout, and not for ever", () =>
    Effect.gen(function*() {
      const { near, server } = yield* setup
      const took = yield* Effect.forEach([
        Effect.scoped(near.dlock.lock("k", { ttl: 10 })),
        near.dlock.withLock(Effect.void, "l", { ttl: 10, wait: 1 })
      ], (call) =>
        Effect.map(timed(Effect.flip(call)), ([error, millis]) => {
          assert.deepInclude({ ...error }, { _tag: "BackendError", reason: "Timeout" })
          assert.match(error.message, /`ttl` \(10ms\) is shorter than the round trip to Redis \(\d+ms\)/)
          return millis
        }), { concurrency: "unbounded" })
      atMost("latency: ttl below the round trip", Math.max(...took), options.commandTimeout + 6 * ways[0] + slack)
      yield* untilOnlyFences(server.url, 2 * ways[1] + slack)
    }))

  test("contenders with different ways neither meet nor fail", () =>
    Effect.gen(function*() {
      const { direct, far, near } = yield* setup
      let inside = 0
      const body = Effect.sync(() => assert.strictEqual(++inside, 1)).pipe(
        Effect.andThen(Effect.sleep(2)),
        Effect.ensuring(Effect.sync(() => inside--))
      )
      const services = [near, far, direct]
      const rounds = 12
      const [, took] = yield* timed(Effect.forEach(
        Array.from({ length: rounds }, (_, i) => services[i % 3]!),
        ({ dlock }, i): Effect.Effect<void, unknown> =>
          i % 2 ? dlock.withLock(body, "k") : dlock.withMulti(body, ["k", "l"], { wait: 20_000 }),
        { concurrency: "unbounded" }
      ))
      // A call on two keys takes one after the other when it has to wait.
      atMost("latency: 12 in turn", took, rounds * 8 * ways[1])
    }))

  test("a waiter whose round trip is longer than a silence that is suspicious elsewhere sends no more commands for that", () =>
    Effect.gen(function*() {
      const { direct, server } = yield* setup
      yield* direct.dlock.once("k", { ttl: "1 minute" })
      const proxy = yield* proxyTo(server)
      proxy.delay(170)
      const { dlock } = yield* serve(proxy.url, { ttl: 10_000, commandTimeout: 5_000 })
      const admin = yield* clientOf(server.url)
      yield* until(() => admin.pubsub("CHANNELS"), 5_000, (channels) => channels.length === 4)
      // By now it has heard that it is subscribed, too.
      yield* Effect.andThen(dlock.inspect("k"), dlock.inspect("k"))
      const { asked, value } = yield* Effect.promise(() =>
        watchAsked(server.url, Effect.flip(Effect.scoped(dlock.lock("k", { wait: "5 seconds" }))))
      )
      assert.deepInclude({ ...value }, { reason: "Timeout" })
      assert.deepInclude(asked, { acquire: 1, refresh: 1 })
    }))

  test("followers have the outcome one way after it is there", () =>
    Effect.gen(function*() {
      const { far, near } = yield* setup
      let runs = 0
      let ends = () => {}
      const job = Effect.callback<string>((done) => {
        runs++
        ends = () => done(Effect.succeed("value"))
      })
      const leader = yield* Effect.forkChild(near.dlock.fanout("k", job))
      yield* until(() => runs)
      const follower = yield* Effect.forkChild(far.dlock.fanout("k", Effect.succeed("its own")))
      // It has asked, and been told to wait.
      yield* Effect.sleep(6 * ways[1])
      ends()
      const [value, took] = yield* timed(Fiber.join(follower))
      atMost("latency: an outcome", took, ways[0] + ways[1] + slack)
      assert.deepStrictEqual([value, yield* Fiber.join(leader), runs], ["value", "value", 1])
    }))

  test("messages that are later than a heartbeat still grant nobody twice", () =>
    Effect.gen(function*() {
      yield* nothingUnhandled
      const server = yield* redis
      const slow = (proxy: Proxy) => proxy.onlySubscribers().delay(ttl / 2)
      const services = yield* Effect.replicateEffect(
        Effect.gen(function*() {
          const proxy = yield* proxyTo(server)
          slow(proxy)
          return yield* serve(proxy.url)
        }),
        2
      )
      let inside = 0
      let entered = 0
      const body = Effect.sync(() => {
        entered++
        assert.strictEqual(++inside, 1)
      }).pipe(Effect.andThen(Effect.sleep(2)), Effect.ensuring(Effect.sync(() => inside--)))
      const all = Array.from({ length: 6 }, (_, i) => services[i % 2]!)
      const [, took] = yield* timed(
        Effect.forEach(all, ({ dlock }) => dlock.withLock(body, "k"), { concurrency: "unbounded" })
      )
      atMost("late messages: 6 in turn", took, all.length * 1_000)
      assert.strictEqual(entered, all.length)
      yield* untilOnlyFences(server.url, ttl + slack)
    }))
})
