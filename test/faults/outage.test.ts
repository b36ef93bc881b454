/** A Redis that is not there: at the start, for a while, or with its data gone when it comes back. */
import * as TestEdition from "#test-edition"
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { freePort } from "../support/redisServer.js"
import type { Logged } from "./support.js"
import {
  atMost,
  clientOf,
  commandTimeout,
  nothingUnhandled,
  proxyTo,
  redis,
  redisWith,
  serve,
  serveCold,
  serveLogged,
  settles,
  slack,
  test,
  timed,
  ttl,
  until,
  untilConnected,
  untilOnlyFences,
  untilWaiting
} from "./support.js"

/** The longest pause between two attempts to reconnect, 1.25 seconds, and the attempt. */
const reconnect = 1_250 + slack

/** The lines about one connection: its losses and its returns. */
const about = (lines: ReadonlyArray<Logged>, connection: string) =>
  lines.filter(({ text }) => text.includes(`"connection":"${connection}"`)).map(({ level }) => level)

describe.concurrent("a Redis that is down", () => {
  test("when the layer is built fails calls in time, and is used as soon as it is there", () =>
    Effect.gen(function*() {
      yield* nothingUnhandled
      const port = yield* Effect.promise(freePort)
      const [{ dlock, lines }, built] = yield* timed(serveLogged(`redis://127.0.0.1:${port}`))
      atMost("down at start: layer built", built, slack)
      for (const call of [dlock.once("k"), dlock.lock("k")]) {
        const how = yield* settles("down at start", commandTimeout + slack, Effect.scoped(call))
        assert.strictEqual(how, "BackendError")
      }
      assert.deepStrictEqual(about(lines, "commands"), ["WARN"])
      assert.deepStrictEqual(about(lines, "messages"), ["WARN"])
      yield* redisWith({ port })
      const [, took] = yield* timed(Effect.retry(Effect.scoped(dlock.once("k")), { times: 100 }))
      atMost("down at start: first success once it is up", took, reconnect + commandTimeout)
      yield* until(() => about(lines, "messages").length === 2)
      assert.deepStrictEqual(about(lines, "commands"), ["WARN", "INFO"])
      assert.deepStrictEqual(about(lines, "messages"), ["WARN", "INFO"])
    }))

  describe.each(["is not there", "is frozen"])("and that %s", (how) => {
    test("is never mistaken for somebody who holds the lock, however short the wait is", () =>
      Effect.gen(function*() {
        yield* nothingUnhandled
        const port = yield* Effect.promise(freePort)
        const proxy = yield* proxyTo(how === "is frozen" ? yield* redis : { port })
        const { commands, dlock, messages } = yield* serveCold(proxy.url)
        if (how === "is frozen") {
          yield* untilConnected(commands, messages)
          proxy.stall()
        }
        const semaphore = yield* dlock.semaphore("s", { permits: 2, wait: 100 })
        const readWrite = yield* dlock.readWriteLock("rw", { wait: 100 })
        for (const wait of [1, 100, 2 * commandTimeout]) {
          const calls: Record<string, Effect.Effect<unknown, { readonly _tag: string }>> = {
            lock: Effect.scoped(dlock.lock("a", { wait })),
            withLock: dlock.withLock(Effect.void, "b", { wait }),
            withMulti: dlock.withMulti(Effect.void, ["c", "d"], { wait }),
            singleton: dlock.singleton("e", Effect.void, { wait }),
            take: Effect.scoped(semaphore.take()),
            withPermits: semaphore.withPermits(1)(Effect.void),
            read: Effect.scoped(readWrite.read),
            write: Effect.scoped(readWrite.write)
          }
          yield* Effect.forEach(Object.entries(calls), ([name, call]) =>
            Effect.map(
              settles(`${how}: ${name}, wait ${wait}`, commandTimeout + slack, call),
              (tag) => assert.strictEqual(tag, "BackendError", `${name}, wait ${wait}`)
            ), { concurrency: "unbounded" })
        }
      }))
  })

  test("for a while is logged once when it goes and once when it is back, for each connection", () =>
    Effect.gen(function*() {
      yield* nothingUnhandled
      const server = yield* redis
      const proxy = yield* proxyTo(server)
      const { commands, dlock, lines, messages } = yield* serveLogged(proxy.url)
      yield* untilConnected(commands, messages)
      yield* dlock.withLock(Effect.void, "k")
      for (const outage of [1, 2]) {
        const attempts = proxy.totalConnections()
        proxy.refuse()
        proxy.killAll()
        yield* until(() => proxy.totalConnections() >= attempts + 8)
        assert.strictEqual(yield* settles("outage", commandTimeout + slack, dlock.inspect("k")), "BackendError")
        proxy.accept()
        yield* Effect.retry(dlock.inspect("k"), { times: 100 })
        yield* until(() => about(lines, "messages").length === 2 * outage)
        const expected = Array.from({ length: outage }, () => ["WARN", "INFO"]).flat()
        assert.deepStrictEqual(about(lines, "commands"), expected)
        assert.deepStrictEqual(about(lines, "messages"), expected)
      }
      // The subscription fails with its connection: at most one more line for each outage.
      assert.isAtMost(lines.length, 8 + 2)
    }))

  test("and comes back empty while nobody asks is used at once, without its scripts", () =>
    Effect.gen(function*() {
      yield* nothingUnhandled
      const server = yield* redis
      const { commands, dlock } = yield* serve(server.url)
      const before = yield* Effect.scoped(dlock.once("k"))
      yield* Effect.promise(() => server.restart())
      yield* until(() => commands.status === "ready")
      const [after, took] = yield* timed(Effect.scoped(dlock.once("k")))
      atMost("restarted empty: once", took, slack)
      assert.isAbove(after.fencingToken, before.fencingToken)
    }))

  test("and comes back empty while locks are held and waited for serves the waiters", () =>
    Effect.gen(function*() {
      yield* nothingUnhandled
      const server = yield* redis
      // A process gives up a place in the queue only after as long as a waiter counts as alive.
      const options = { ttl: 3_000 }
      const [a, b] = [yield* serve(server.url, options), yield* serve(server.url, options)]
      const held = yield* a.dlock.once("k")
      const waiter = yield* Effect.forkChild(b.dlock.lock("k"))
      yield* untilWaiting(a.dlock, "k", 1)
      yield* Effect.promise(() => server.restart())
      const [next, took] = yield* timed(Fiber.join(waiter))
      atMost("restarted empty: waiter served", took, reconnect + options.ttl / 3)
      assert.isAbove(next.fencingToken, held.fencingToken)
      const lost = yield* Effect.flip(held.lost)
      assert.strictEqual(lost.reason, "Superseded")
    }))

  test("and comes back with its data keeps holders and waiters in their places", () =>
    Effect.gen(function*() {
      yield* nothingUnhandled
      const server = yield* redis
      const options = { ttl: 3_000 }
      const [a, b] = [yield* serve(server.url, options), yield* serve(server.url, options)]
      const held = yield* a.dlock.once("k")
      const waiter = yield* Effect.forkChild(b.dlock.lock("k"))
      yield* untilWaiting(a.dlock, "k", 1)
      yield* Effect.promise(() => server.restart({ keepData: true }))
      // Past the renewals that had to be repeated.
      yield* Effect.sleep(options.ttl)
      yield* held.check
      assert.strictEqual((yield* TestEdition.poll(waiter))._tag, "None")
      const [next, took] = yield* timed(Effect.andThen(held.release, Fiber.join(waiter)))
      atMost("restarted with data: hand-over", took, slack)
      assert.isAbove(next.fencingToken, held.fencingToken)
    }))

  test("and comes back with its append-only file knows of every lock that it has granted", () =>
    Effect.gen(function*() {
      yield* nothingUnhandled
      const server = yield* redisWith({ args: ["--appendonly", "yes", "--appendfsync", "always"] })
      const options = { ttl: 5_000 }
      const [a, b] = [yield* serve(server.url, options), yield* serve(server.url, options)]
      let fence = 0
      for (const round of [1, 2, 3]) {
        const key = `k${round}`
        const held = yield* Effect.retry(a.dlock.once(key), { times: 1_000 })
        // Between the answer and the end of the server there is nothing.
        yield* Effect.promise(() => server.restart({ keepData: true }))
        const found = yield* Effect.retry(b.dlock.inspect(key), { times: 1_000 })
        assert.deepStrictEqual(found.holders.map(({ fencingToken }) => fencingToken), [held.fencingToken])
        yield* held.check
        assert.isAbove(held.fencingToken, fence)
        fence = held.fencingToken
      }
    }))

  test("for each connection again and again, by CLIENT KILL: waiters get in one by one, and nothing is left", () =>
    Effect.gen(function*() {
      yield* nothingUnhandled
      const server = yield* redis
      const admin = yield* clientOf(server.url)
      const services = [yield* serve(server.url), yield* serve(server.url)]
      let inside = 0
      const body = Effect.gen(function*() {
        assert.strictEqual(++inside, 1)
        yield* Effect.promise(() => admin.client("KILL", "SKIPME", "YES"))
        yield* Effect.sleep(5)
        inside--
      })
      const all = Array.from({ length: 10 }, (_, i) => services[i % 2]!)
      const [, took] = yield* timed(
        Effect.forEach(all, ({ dlock }) => dlock.withLock(body, "k"), { concurrency: "unbounded" })
      )
      atMost("CLIENT KILL at every hand-over: 10 hand-overs", took, all.length * 1_000)
      // What could not be given back over a connection that was killed is repeated.
      yield* untilOnlyFences(server.url, ttl + slack)
    }))
})

test("100 locks that are held through an outage shorter than their lease are all still held, by few commands", () =>
  Effect.gen(function*() {
    yield* nothingUnhandled
    const server = yield* redis
    const proxy = yield* proxyTo(server)
    const { dlock } = yield* serve(proxy.url, { ttl: 3 * ttl })
    const locks = yield* Effect.forEach(Array.from({ length: 100 }, (_, i) => i), (i) => dlock.once(`k${i}`), {
      concurrency: "unbounded"
    })
    const connections = proxy.totalConnections()
    proxy.refuse()
    proxy.killAll()
    yield* Effect.sleep(1.5 * ttl)
    proxy.accept()
    yield* Effect.sleep(2 * ttl)
    yield* Effect.forEach(locks, (lock) => lock.check)
    // No storm: each connection pauses between two attempts, longer each time.
    assert.isAtMost(proxy.totalConnections() - connections, 20)
  }))
