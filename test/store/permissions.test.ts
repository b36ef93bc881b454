/** Redis users that may not do everything (ACL). */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { redis } from "../support/redisServer.js"
import { allKeys } from "../support/redisSpy.js"
import { connectRedis, keysOf } from "./backends.js"
import { Client, granted, held, long, target, waiting } from "./world.js"

/** Before 7.2 a script that may not run a command is told so in other words. */
const noPermission = /NOPERM|The user executing the script can't run this command/

const key = "key"
const [fenceKey] = keysOf(target(key))

/** `admin` may do everything; `limited` has these rules for its commands, and may subscribe. */
const world = (rules: string) =>
  Effect.gen(function*() {
    const { port, url } = yield* redis
    const admin = yield* connectRedis(url)
    const setUser = `ACL SETUSER limited on >pass ~* &* +@all ${rules}`.split(" ") as [string]
    yield* Effect.promise(() => admin.client.call(...setUser))
    const limited = yield* connectRedis(`redis://limited:pass@127.0.0.1:${port}`, { pubSubUrl: url, silent: true })
    return {
      admin: new Client(admin, key),
      limited: new Client(limited, key),
      keys: Effect.promise(() => allKeys(url)),
      pttl: (name: string) => Effect.promise(() => admin.client.pttl(name))
    }
  })

describe("a user without", () => {
  for (
    const [what, rules] of [
      ["evalsha", "-evalsha"],
      ["any script", "-@scripting"],
      ["any command that writes", "-@write"],
      ["these keys", "resetkeys ~other:*"]
    ]
  ) {
    it.live(`${what} is refused in Redis's words, and nothing is left behind`, () =>
      Effect.gen(function*() {
        const { admin, keys, limited } = yield* world(rules!)
        for (const acquire of [limited.once("A"), limited.lock("A")]) {
          const error = yield* Effect.flip(acquire)
          assert.strictEqual(error.reason, "Refused")
          assert.match(error.message, noPermission)
          assert.deepStrictEqual(yield* keys, [])
        }
        granted(yield* admin.once("B"))
      }))
  }

  // A script that is stopped half-way has changed something: then it must not be said that nothing was changed.
  for (const command of ["set", "zadd", "hset", "pexpireat", "hdel", "zrem", "del"]) {
    it.live(`${command} is told the truth about the outcome, and nothing is left after the leave`, () =>
      Effect.gen(function*() {
        const { admin, keys, limited } = yield* world(`-${command}`)
        const answer = yield* Effect.result(limited.once("A"))
        if (answer._tag === "Failure") assert.match(answer.failure.message, noPermission)
        const left = (yield* keys).filter((name) => name !== fenceKey)
        if (answer._tag === "Failure" && answer.failure.outcome === "NotApplied") assert.deepStrictEqual(left, [])
        yield* admin.leave("A")
        assert.includeMembers([fenceKey], [...yield* keys])
        granted(yield* admin.once("B"))
      }))
  }

  it.live("zadd hears of the renewal that needs it, and has the others of its batch (R8)", () =>
    Effect.gen(function*() {
      const { admin, limited } = yield* world("-zadd")
      granted(yield* admin.once("A", { ttl: long / 2 }))
      granted(yield* admin.once("B", { key: "other" }))
      const items = [["A", key], ["B", "other"]].map(([token, key]) => ({
        ...{ target: target(key!), token: token!, livenessMillis: long },
        // A's end moves. B's stays where it is, so nothing is written.
        ttlMillis: token === "A" ? long : long / 2
      }))
      const { answer: [a, b] } = yield* limited.store.refresh({ items, subscribed: true })
      assert(a?._tag === "Failed")
      assert.match(a.error.message, noPermission)
      held(b!)
      held(yield* admin.refresh("A"))
    }))

  for (
    const [what, rules] of [
      ["publish", "-publish"],
      ["these channels", "resetchannels"]
    ]
  ) {
    it.live(`${what} grants to waiters all the same, who learn it by refresh`, () =>
      Effect.gen(function*() {
        const { admin, limited } = yield* world(rules!)
        granted(yield* limited.once("A"))
        waiting(yield* admin.lock("B"))
        waiting(yield* limited.lock("C"))
        yield* limited.leave("A")
        const { fence } = held(yield* admin.refresh("B"))
        assert.deepStrictEqual(yield* admin.events, [])
        assert.strictEqual(yield* limited.revoke(fence), 1)
        held(yield* limited.refresh("C"))
        assert.deepStrictEqual([...yield* admin.events, ...yield* limited.events], [])
      }))
  }

  it.live("leave to ask who listens grants and tells in order", () =>
    Effect.gen(function*() {
      const { admin, limited } = yield* world("-pubsub")
      granted(yield* limited.once("A"))
      waiting(yield* admin.lock("B"))
      yield* limited.leave("A")
      const { fence } = held(yield* admin.refresh("B"))
      assert.deepStrictEqual(yield* admin.events, [{ _tag: "Granted", token: "B", fence }])
    }))
})
