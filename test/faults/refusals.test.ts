/** A Redis that answers with an error: the caller gets its words, and nothing is left behind. */
import * as TestEdition from "#test-edition"
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type { Redis as Client } from "ioredis"
import type { BackendError } from "../../src/DlockError.js"
import { allKeys } from "../support/redisSpy.js"
import type { Service } from "./support.js"
import {
  atMost,
  clientOf,
  nothingUnhandled,
  now,
  redis,
  serve,
  settles,
  slack,
  test,
  timed,
  ttl,
  until,
  untilOnlyFences,
  untilWaiting
} from "./support.js"

interface Refusal {
  readonly name: string
  readonly words: string
  readonly reason: BackendError["reason"]
  /** On a server that has all scripts and has been used. */
  readonly make: (admin: Client) => Promise<unknown>
  readonly end: (admin: Client) => Promise<unknown>
}

const user = (...rules: ReadonlyArray<string>) => (admin: Client) => admin.acl("SETUSER", "default", ...rules)

const refusals: ReadonlyArray<Refusal> = [
  ...["fence", "state", "held", "queue", "alive"].map((part) => ({
    name: `a key of another type (${part})`,
    words: "WRONGTYPE",
    reason: "Refused" as const,
    make: (admin: Client) => admin.lpush(`dlock:lock:{k}:${part}`, "foreign"),
    end: (admin: Client) => admin.del(`dlock:lock:{k}:${part}`)
  })),
  {
    name: "a full memory",
    words: "OOM",
    reason: "RefusedForNow",
    make: (admin) => admin.config("SET", "maxmemory", "1"),
    end: (admin) => admin.config("SET", "maxmemory", "0")
  },
  {
    name: "a replica",
    words: "READONLY",
    reason: "RefusedForNow",
    make: (admin) => admin.replicaof("127.0.0.1", 1),
    end: (admin) => admin.replicaof("NO", "ONE")
  },
  {
    name: "an ACL that forbids scripts",
    words: "NOPERM",
    reason: "Refused",
    make: user("-evalsha", "-eval"),
    end: user("+@all")
  },
  {
    name: "an ACL that forbids the keys",
    words: "NOPERM",
    reason: "Refused",
    make: user("resetkeys", "~foreign:*"),
    end: user("~*")
  }
]

/** Fails as it should, by every way in. */
const isRefused = ({ dlock }: Service, { reason, words }: Refusal) =>
  Effect.gen(function*() {
    for (const call of [dlock.once("k"), dlock.lock("k"), dlock.lock("k", { wait: 1_000 })]) {
      const [error, took] = yield* timed(Effect.flip(Effect.scoped(call)))
      atMost(`${words}: refused`, took, slack)
      assert.strictEqual(error._tag, "BackendError")
      if (error._tag !== "BackendError") return
      assert.strictEqual(error.reason, reason)
      assert.include(error.message, words)
    }
  })

describe.concurrent.each(refusals)("$name", (refusal) => {
  const { end, make, words } = refusal

  test("is a BackendError with the words of Redis, and changes no key", () =>
    Effect.gen(function*() {
      yield* nothingUnhandled
      const { url } = yield* redis
      const admin = yield* clientOf(url)
      const service = yield* serve(url)
      yield* Effect.scoped(service.dlock.lock("k"))
      yield* Effect.promise(() => admin.flushall())
      yield* Effect.promise(() => make(admin))
      const before = yield* Effect.promise(() => allKeys(url))
      yield* isRefused(service, refusal)
      assert.deepStrictEqual(yield* Effect.promise(() => allKeys(url)), before)
      yield* Effect.promise(() => end(admin))
      const how = yield* settles(`once after ${words}`, slack, Effect.scoped(service.dlock.once("k")))
      assert.strictEqual(how, "success")
    }))

  test("does not keep a lock that is held from being lost or given back in time", () =>
    Effect.gen(function*() {
      yield* nothingUnhandled
      const { url } = yield* redis
      const admin = yield* clientOf(url)
      const { dlock } = yield* serve(url)
      yield* Effect.scoped(dlock.lock("k"))
      yield* Effect.promise(() => admin.flushall())
      const lock = yield* dlock.once("other")
      yield* Effect.promise(() => make(admin))
      yield* Effect.exit(lock.extend())
      yield* settles(`release under ${words}`, slack, lock.release)
      yield* Effect.promise(() => end(admin))
      // What could not be given back is repeated until it can.
      const free = Effect.scoped(dlock.lock("other"))
      assert.strictEqual(yield* settles(`lock after a release under ${words}`, 500, free), "success")
    }))
})

/** One holds, another waits, and then Redis refuses. */
const heldUnder = ({ make }: Refusal) =>
  Effect.gen(function*() {
    yield* nothingUnhandled
    const { url } = yield* redis
    const admin = yield* clientOf(url)
    const [holder, other] = [yield* serve(url), yield* serve(url)]
    const lock = yield* holder.dlock.once("k")
    const waiter = yield* Effect.forkChild(other.dlock.lock("k", { ttl: 10_000 }))
    yield* untilWaiting(holder.dlock, "k", 1)
    const from = now()
    yield* Effect.promise(() => make(admin))
    return { admin, lock, waiter, from }
  })

const lasting = refusals.filter(({ words }) => words === "READONLY" || words === "NOPERM")

describe.concurrent.each(lasting)("$name, while a lock is held,", (refusal) => {
  const { end, words } = refusal

  test("for longer than its lease: it is lost before that ends, and the next has it soon after the refusal", () =>
    Effect.gen(function*() {
      const { admin, from, lock, waiter } = yield* heldUnder(refusal)
      const error = yield* Effect.flip(lock.lost)
      atMost(`${words}: the holder is told`, now() - from, ttl)
      assert.strictEqual(error.reason, "Unreachable")
      yield* Effect.sleep(ttl / 3)
      yield* Effect.promise(() => end(admin))
      const [next, took] = yield* timed(Fiber.join(waiter))
      atMost(`${words}: the waiter has it after the end`, took, 1_000 + slack)
      assert.isAbove(next.fencingToken, lock.fencingToken)
    }))

  test("for a shorter time: it is still held, and handed over at once", () =>
    Effect.gen(function*() {
      const { admin, from, lock, waiter } = yield* heldUnder(refusal)
      yield* Effect.sleep(ttl / 2)
      yield* Effect.promise(() => end(admin))
      yield* Effect.sleep(1.5 * ttl - (now() - from))
      yield* lock.check
      const [, took] = yield* timed(Effect.andThen(lock.release, Fiber.join(waiter)))
      atMost(`${words}: hand-over after the end`, took, slack)
    }))
})

test("a full memory does not end a lease: it is renewed, given back, and handed over to one that waits already", () =>
  Effect.gen(function*() {
    const { lock, waiter } = yield* heldUnder(refusals.find(({ words }) => words === "OOM")!)
    yield* Effect.sleep(2 * ttl)
    yield* lock.check
    const [next, took] = yield* timed(Effect.andThen(lock.release, Fiber.join(waiter)))
    atMost("OOM: hand-over", took, slack)
    yield* Effect.sleep(ttl)
    yield* next.check
  }))

test("an ACL that forbids a command in the middle of a script leaves the outcome unknown, and no lock for ever", () =>
  Effect.gen(function*() {
    yield* nothingUnhandled
    const { url } = yield* redis
    const admin = yield* clientOf(url)
    const { dlock } = yield* serve(url)
    yield* Effect.scoped(dlock.lock("k"))
    yield* Effect.promise(() => user("-hset")(admin))
    const error = yield* Effect.flip(Effect.scoped(dlock.once("k")))
    assert.strictEqual(error._tag, "BackendError")
    if (error._tag !== "BackendError") return
    assert.include(error.message, "command")
    // The script had written before it came to the command that is refused.
    assert.strictEqual(error.outcome, "Unknown")
    yield* Effect.promise(() => user("+@all")(admin))
    assert.strictEqual(yield* settles("once after that", ttl + slack, Effect.scoped(dlock.lock("k"))), "success")
    yield* untilOnlyFences(url, ttl + slack)
  }))

/** States of a server that pass by themselves: it refuses everything meanwhile, also to be looked at. */
const passing: ReadonlyArray<Refusal> = [
  ...refusals.filter(({ reason }) => reason === "RefusedForNow"),
  {
    name: "a primary without its replicas",
    words: "NOREPLICAS",
    reason: "RefusedForNow",
    make: (admin) => admin.config("SET", "min-replicas-to-write", "1"),
    end: (admin) => admin.config("SET", "min-replicas-to-write", "0")
  },
  {
    name: "a replica that has lost its primary",
    words: "MASTERDOWN",
    reason: "RefusedForNow",
    make: async (admin) => {
      await admin.config("SET", "replica-serve-stale-data", "no")
      await admin.replicaof("127.0.0.1", 1)
    },
    end: (admin) => admin.replicaof("NO", "ONE")
  },
  {
    name: "a slow script of somebody else",
    words: "BUSY",
    reason: "RefusedForNow",
    make: async (admin) => {
      await admin.config("SET", "busy-reply-threshold", "1")
      const blocked = admin.duplicate()
      blocked.eval("while true do end", 0).catch(() => blocked.disconnect())
      await until(() => admin.get("any").then(() => false, () => true)).pipe(Effect.runPromise)
    },
    end: (admin) => admin.script("KILL")
  }
]

describe.concurrent.each(passing)("$name", (refusal) => {
  test("is RefusedForNow, and a singleton stands until it has passed", () =>
    Effect.gen(function*() {
      yield* nothingUnhandled
      const { url } = yield* redis
      const admin = yield* clientOf(url)
      const service = yield* serve(url)
      yield* Effect.scoped(service.dlock.once("k"))
      yield* Effect.promise(() => refusal.make(admin))
      yield* isRefused(service, refusal)
      const ran: Array<string> = []
      // As docs/operations.md has it.
      const retrying = yield* Effect.forkChild(
        service.dlock.withLock(Effect.void, "other").pipe(
          Effect.retry({
            schedule: Schedule.exponential("200 millis").pipe(
              Schedule.jittered,
              Schedule.upTo({ duration: "1 minute" })
            ),
            while: (error) => error._tag === "BackendError" && error.reason !== "Refused"
          })
        )
      )
      const standing = yield* Effect.forkChild(
        service.dlock.singleton("k", Effect.sync(() => ran.push("singleton")))
      )
      // Several attempts are refused meanwhile.
      yield* Effect.sleep(ttl)
      assert.deepStrictEqual(ran, [])
      assert.isTrue(Option.isNone(yield* TestEdition.poll(standing)))
      yield* Effect.promise(() => refusal.end(admin))
      yield* Fiber.join(standing)
      assert.deepStrictEqual(ran, ["singleton"])
      yield* Fiber.join(retrying)
    }))
})

test("a singleton without the rights that it needs ends at once, with the words of Redis", () =>
  Effect.gen(function*() {
    const { url } = yield* redis
    const admin = yield* clientOf(url)
    const { dlock } = yield* serve(url)
    yield* Effect.promise(() => user("-evalsha", "-eval")(admin))
    const error = yield* Effect.flip(dlock.singleton("k", Effect.never))
    assert.deepInclude({ ...error }, { _tag: "BackendError", reason: "Refused", outcome: "NotApplied" })
    assert.include(error.message, "NOPERM")
  }))

test("SCRIPT FLUSH at every hand-over changes nothing", () =>
  Effect.gen(function*() {
    yield* nothingUnhandled
    const { url } = yield* redis
    const admin = yield* clientOf(url)
    const services = [yield* serve(url), yield* serve(url)]
    let inside = 0
    const body = Effect.gen(function*() {
      assert.strictEqual(++inside, 1)
      yield* Effect.promise(() => admin.script("FLUSH"))
      inside--
    })
    const all = Effect.forEach(Array.from({ length: 20 }, (_, i) => services[i % 2]!), ({ dlock }) =>
      dlock.withLock(body, "k"), { concurrency: "unbounded" })
    atMost("SCRIPT FLUSH at every hand-over: 20 hand-overs", (yield* timed(all))[1], ttl)
    yield* untilOnlyFences(url, slack)
  }))
