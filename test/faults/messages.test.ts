/** Messages that do not come, come late, or come from somebody else: they only ever make things slower. */
import * as TestEdition from "#test-edition"
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"

import type { Dlock } from "../../src/index.js"
import {
  atMost,
  clientOf,
  nothingUnhandled,
  now,
  proxyTo,
  redis,
  serve,
  serveCold,
  serveLogged,
  slack,
  test,
  timed,
  unexpected,
  until,
  untilConnected,
  untilWaiting
} from "./support.js"

/** Longer than any test: nobody is served because a lease ended, or because a heartbeat was due anyway. */
const ttl = 60_000

const settled = <A>(promise: Promise<A>) => Effect.promise(() => promise)

/** Hand-overs to the waiters of one process, and how long the longest took. */
const handOvers = (from: Dlock.Service, to: Dlock.Service, count: number) =>
  Effect.gen(function*() {
    const enteredAt: Array<number> = []
    const scope = yield* Scope.make()
    yield* Scope.provide(from.once("k"), scope)
    const waiters = yield* Effect.forEach(
      Array.from({ length: count }),
      () => Effect.forkChild(to.withLock(Effect.sync(() => enteredAt.push(now())), "k"))
    )
    yield* untilWaiting(from, "k", count)
    const start = now()
    yield* Scope.close(scope, Exit.void)
    yield* Effect.forEach(waiters, Fiber.join)
    return Math.max(...enteredAt.map((at, i) => at - (enteredAt[i - 1] ?? start)))
  })

const refusals = [["SUBSCRIBE", ["-subscribe"]], ["any channel", ["resetchannels"]]] as const

describe.concurrent("messages", () => {
  test("20 waiters all get in, in order and within a second each, though the subscriber is killed at every hand-over", () =>
    Effect.gen(function*() {
      yield* nothingUnhandled
      const { url } = yield* redis
      const admin = yield* clientOf(url)
      const { dlock } = yield* serve(url, { ttl })
      const kill = settled(admin.client("KILL", "TYPE", "PUBSUB") as Promise<unknown>)
      const order: Array<number> = []
      const enteredAt: Array<number> = []
      let killed = 0
      const enter = (i: number) =>
        Effect.gen(function*() {
          order.push(i)
          enteredAt.push(now())
          // It is there again, or not yet: it is killed as often as it can be.
          killed += Number(
            yield* Effect.suspend(() => settled(admin.client("KILL", "TYPE", "PUBSUB") as Promise<unknown>))
          )
        })
      const scope = yield* Scope.make()
      yield* Scope.provide(dlock.once("k"), scope)
      const waiters: Array<Fiber.Fiber<void, unknown>> = []
      for (let i = 0; i < 20; i++) {
        waiters.push(yield* Effect.forkChild(dlock.withLock(enter(i), "k")))
        yield* untilWaiting(dlock, "k", i + 1)
      }
      yield* kill
      const from = now()
      yield* Scope.close(scope, Exit.void)
      yield* Effect.forEach(waiters, Fiber.join)
      assert.deepStrictEqual(order, Array.from({ length: 20 }, (_, i) => i))
      const handOvers = enteredAt.map((at, i) => at - (enteredAt[i - 1] ?? from))
      atMost("subscriber killed at every hand-over: longest hand-over", Math.max(...handOvers), 1_000 + slack)
      atMost("subscriber killed at every hand-over: all 20", now() - from, 20_000)
      assert.isAbove(killed, 3)
    }))

  test("a waiter that asked before its process was subscribed is told of its grant as soon as any other", () =>
    Effect.gen(function*() {
      const server = yield* redis
      const holder = yield* serve(server.url, { ttl })
      const admin = yield* clientOf(server.url)
      const proxy = yield* proxyTo(server)
      // The subscription is acknowledged while the acquire is under way, as it often is when a process starts.
      const slow = proxy.filter("evalsha")
      slow.delay(100)
      const scope = yield* Scope.make()
      yield* Scope.provide(holder.dlock.once("k"), scope)
      const { dlock } = yield* serveCold(proxy.url, { ttl, commandTimeout: 2_000, messagesUrl: server.url })
      const waiter = yield* Effect.forkChild(dlock.lock("k"))
      yield* untilWaiting(holder.dlock, "k", 1)
      yield* until(() => admin.pubsub("CHANNELS", "*"), 1_000, (inboxes) => inboxes.length === 2)
      yield* Effect.sleep(600)
      slow.delay(0)
      const [, took] = yield* timed(Effect.andThen(Scope.close(scope, Exit.void), Fiber.join(waiter)))
      atMost("hand-over to a waiter that came before its subscription", took, slack)
    }))

  describe.each(refusals)("an ACL that refuses %s", (name, rules) => {
    test("makes waiters wait up to a second for each hand-over, and is logged once", () =>
      Effect.gen(function*() {
        yield* nothingUnhandled
        const { port, url } = yield* redis
        const admin = yield* clientOf(url)
        yield* settled(admin.acl("SETUSER", "app", "on", ">secret", "~*", "&*", "+@all", ...rules))
        const { commands, dlock, lines, messages } = yield* serveLogged(`redis://app:secret@127.0.0.1:${port}`, { ttl })
        yield* untilConnected(commands, messages)
        const other = yield* serve(url, { ttl })
        atMost(`${name} refused: longest hand-over`, yield* handOvers(other.dlock, dlock, 4), 1_000 + slack)
        assert.deepStrictEqual(lines.map(({ level }) => level), ["WARN"])
        assert.include(lines[0]?.text, "NOPERM")
        // Once it is allowed, nothing needs to be started anew.
        yield* settled(admin.acl("SETUSER", "app", "+subscribe", "&*"))
        yield* until(() => admin.pubsub("CHANNELS", "*"), 10_000, (inboxes) => inboxes.length === 2)
        atMost(`${name} allowed again: hand-over`, yield* handOvers(other.dlock, dlock, 4), slack)
        assert.lengthOf(lines, 1)
      }))
  })
})

const event = (...parts: ReadonlyArray<unknown>) => JSON.stringify({ v: 1, events: [parts] })

const malformed = [
  "",
  "null",
  "{",
  "[]",
  "\"granted\"",
  Buffer.from([0xff, 0xfe, 0x00, 0x80]),
  JSON.stringify({ v: 2, events: [] }),
  JSON.stringify({ v: "1", events: [] }),
  JSON.stringify({ v: 1, events: {} }),
  `{"__proto__":{"v":1,"events":[]}}`,
  `{"v":1,"events":[{"__proto__":["granted","x","1"]}]}`,
  event("stolen", "x", "1"),
  event("granted", "x"),
  event("granted", "x", "1", "2"),
  event("granted", "x", "NaN"),
  event("granted", "x", "Infinity"),
  event("granted", "x", "1.5"),
  event("granted", "x", 1),
  event("granted", null, "1"),
  "[".repeat(60_000),
  JSON.stringify({ v: 1, events: Array.from({ length: 100_000 }, () => ["granted", "x", "1"]) })
]

test("messages that the library cannot have sent are counted and change nothing", () =>
  Effect.gen(function*() {
    yield* nothingUnhandled
    const { url } = yield* redis
    const admin = yield* clientOf(url)
    const { dlock } = yield* serve(url, { ttl })
    const held = yield* dlock.once("held")
    const inboxes = yield* settled(admin.pubsub("CHANNELS", "dlock:inbox:*") as Promise<Array<string>>)
    assert.lengthOf(inboxes, 1)
    const inbox = inboxes[0]!
    const holder = yield* serve(url, { ttl })
    const scope = yield* Scope.make()
    yield* Scope.provide(holder.dlock.once("k"), scope)
    const waiter = yield* Effect.forkChild(dlock.lock("k"))
    yield* untilWaiting(dlock, "k", 1)
    const [token = ""] = yield* settled(admin.zrange("dlock:lock:{k}:queue", "0", "-1"))
    const before = yield* Effect.all([dlock.inspect("k"), dlock.inspect("held"), unexpected])

    const forNobody = [
      event("granted", "nobody's", "9007199254740991"),
      event("granted", "__proto__", "9007199254740991"),
      event("revoked", "constructor", "9007199254740991")
    ]
    const forged = [
      event("granted", token, "1"),
      event("granted", token, String(before[0].lastFencingToken)),
      event("granted", token, "-1"),
      event("revoked", token, "1"),
      event("revoked", held.token, "1"),
      event("overlimit", held.token, "0"),
      `{"v":1,"__proto__":{"polluted":1},"events":[]}`
    ]
    for (const message of [...malformed, ...forNobody, ...forged]) {
      assert.strictEqual(yield* settled(admin.publish(inbox, message as string)), 1)
    }
    const counted = before[2].malformed + malformed.length + forNobody.length
    yield* until(() => Effect.runPromise(unexpected), 2_000, (count) => count.malformed === counted)
    assert.isUndefined(({} as { readonly polluted?: number }).polluted)
    yield* held.check
    assert.strictEqual((yield* TestEdition.poll(waiter))._tag, "None")
    const after = yield* Effect.all([dlock.inspect("k"), dlock.inspect("held")])
    assert.deepStrictEqual(
      after[0].holders.map((one) => one.fencingToken),
      before[0].holders.map((one) => one.fencingToken)
    )
    assert.strictEqual(after[0].waiting, 1)
    assert.strictEqual(after[1].holders[0]?.fencingToken, held.fencingToken)
    const [lock, took] = yield* timed(Effect.andThen(Scope.close(scope, Exit.void), Fiber.join(waiter)))
    atMost("hand-over after garbage", took, slack)
    assert.isAbove(lock.fencingToken, before[0].lastFencingToken)
    assert.deepStrictEqual(yield* unexpected, { malformed: counted, late: before[2].late })
  }))

test("a message for a call that has left, or that comes again, is late and not malformed", () =>
  Effect.gen(function*() {
    const { url } = yield* redis
    const admin = yield* clientOf(url)
    const holder = yield* serve(url, { ttl })
    const { dlock } = yield* serve(url, { ttl })
    const inboxes = () => admin.pubsub("CHANNELS", "dlock:inbox:*") as Promise<Array<string>>
    yield* until(inboxes, 2_000, (found) => found.length === 2)
    const before = yield* unexpected
    const scope = yield* Scope.make()
    yield* Scope.provide(holder.dlock.once("k"), scope)
    const waiters = yield* Effect.forEach(
      Array.from({ length: 300 }),
      () => Effect.forkChild(dlock.withLock(Effect.void, "k"))
    )
    yield* untilWaiting(dlock, "k", 300)
    const tokens = yield* settled(admin.zrange("dlock:lock:{k}:queue", "0", "-1"))
    // Their grants cross their leaves.
    yield* Effect.zip(Scope.close(scope, Exit.void), Fiber.interruptAll(waiters), { concurrent: true })
    const others = yield* settled(inboxes())
    for (const inbox of others) {
      for (const token of tokens) yield* settled(admin.publish(inbox, event("granted", token, "1")))
    }
    // To the other process the tokens are none that it ever had.
    const after = yield* until(
      () => Effect.runPromise(unexpected),
      5_000,
      ({ late, malformed }) => late >= before.late + tokens.length && malformed === before.malformed + tokens.length
    )
    assert.isAtLeast(after.late, before.late + tokens.length)
  }))
