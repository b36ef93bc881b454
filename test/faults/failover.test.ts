/** A primary that is replaced by its replica, which lacks what the primary was told last. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { allKeys } from "../support/redisSpy.js"
import {
  atMost,
  clientOf,
  commandTimeout,
  nothingUnhandled,
  proxyTo,
  redis,
  serve,
  settles,
  slack,
  test,
  timed,
  ttl,
  until,
  untilWaiting
} from "./support.js"

/** The longest pause between two attempts to reconnect, 1.25 seconds, and the attempt. */
const reconnect = 1_250 + slack

const setup = Effect.gen(function*() {
  yield* nothingUnhandled
  const [primary, replica] = [yield* redis, yield* redis]
  const [atPrimary, atReplica] = [yield* clientOf(primary.url), yield* clientOf(replica.url)]
  const proxy = yield* proxyTo(primary)
  const follow = Effect.andThen(
    Effect.promise(async () => {
      await atPrimary.config("SET", "repl-diskless-sync-delay", "0")
      await atReplica.replicaof("127.0.0.1", primary.port)
    }),
    until(async () => /master_link_status:up/.test(await atReplica.info("replication")))
  )
  const promote = Effect.promise(() => atReplica.replicaof("NO", "ONE"))
  const goOver = Effect.gen(function*() {
    proxy.retarget(replica.port)
    yield* Effect.promise(() => primary.kill())
  })
  const services = [yield* serve(proxy.url), yield* serve(proxy.url)] as const
  return { primary, replica, atPrimary, atReplica, proxy, services, follow, promote, goOver }
})

describe.concurrent("a failover", () => {
  test("to a replica that does not know of a grant: the next token is higher, and the first holder is told", () =>
    Effect.gen(function*() {
      const { follow, goOver, promote, services: [a, b] } = yield* setup
      yield* Effect.scoped(a.dlock.once("k"))
      yield* follow
      yield* promote
      const held = yield* a.dlock.once("k")
      // Tokens are told apart also when many were given out that the new primary does not know.
      const last = yield* Effect.scoped(b.dlock.once("other"))
      yield* goOver
      const [next, took] = yield* timed(Effect.retry(b.dlock.once("k"), { times: 1_000 }))
      atMost("failover: the next holder", took, reconnect + commandTimeout)
      assert.isAbove(next.fencingToken, held.fencingToken)
      const [error, told] = yield* timed(Effect.flip(held.lost))
      atMost("failover: the first holder is told", told, ttl)
      assert.include(["Superseded", "Unreachable"], error.reason)
      yield* next.check
      assert.isAbove((yield* Effect.scoped(a.dlock.once("other"))).fencingToken, last.fencingToken)
    }))

  test("to a replica that knows all keeps holders and waiters in their places", () =>
    Effect.gen(function*() {
      const { atReplica, follow, goOver, promote, services: [a, b] } = yield* setup
      yield* follow
      const held = yield* a.dlock.once("k", { ttl: 4_000 })
      const waiter = yield* Effect.forkChild(b.dlock.lock("k", { ttl: 4_000 }))
      yield* untilWaiting(a.dlock, "k", 1)
      yield* until(() => atReplica.zcard("dlock:lock:{k}:queue"))
      yield* promote
      yield* goOver
      yield* Effect.retry(held.extend(), { times: 100, while: ({ _tag }) => _tag === "BackendError" })
      assert.strictEqual((yield* b.dlock.inspect("k")).waiting, 1)
      const [next, took] = yield* timed(Effect.andThen(held.release, Fiber.join(waiter)))
      // Unless its subscriber is back it learns of it by asking.
      atMost("failover: hand-over", took, reconnect)
      assert.isAbove(next.fencingToken, held.fencingToken)
    }))

  test("with a primary that is a replica now: it refuses, leases end in time, and all works on the new one", () =>
    Effect.gen(function*() {
      const { atPrimary, atReplica, follow, primary, promote, proxy, replica, services: [a, b] } = yield* setup
      yield* follow
      const held = yield* a.dlock.once("k")
      // Replication is asynchronous: promoted any earlier, it would not know of the grant.
      yield* until(() => atReplica.exists("dlock:lock:{k}:fence"))
      yield* promote
      yield* Effect.promise(() => atPrimary.replicaof("127.0.0.1", replica.port))
      const [error, took] = yield* timed(Effect.flip(b.dlock.withLock(Effect.void, "k")))
      atMost("READONLY: refused", took, slack)
      assert.strictEqual(error._tag, "BackendError")
      assert.include(error.message, "READONLY")
      const [lost, told] = yield* timed(Effect.flip(held.lost))
      atMost("READONLY: the holder is told", told, ttl)
      assert.strictEqual(lost.reason, "Unreachable")
      // It is a copy of the new one by now.
      yield* until(async () => /master_link_status:up/.test(await atPrimary.info("replication")))
      assert.deepStrictEqual(yield* Effect.promise(() => allKeys(primary.url, "*:fence")), ["dlock:lock:{k}:fence"])
      proxy.retarget(replica.port)
      proxy.killAll()
      const how = yield* settles(
        "READONLY: first success on the new primary",
        reconnect + commandTimeout,
        Effect.retry(Effect.scoped(b.dlock.once("k")), { times: 100 })
      )
      assert.strictEqual(how, "success")
    }))
})
