/** Connections that swallow everything and say nothing: every call settles, and the library heals by itself. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Scope from "effect/Scope"
import type { Dlock } from "../../src/index.js"
import type { HealOptions } from "../support/proxy.js"
import {
  atMost,
  commandTimeout,
  nothingUnhandled,
  now,
  proxyTo,
  redis,
  serve,
  settles,
  slack,
  test,
  timed,
  untilWaiting
} from "./support.js"

/** Longer than the longest pause between two attempts to reconnect, which is 1.25 seconds. */
const ttl = 1_500

/** A process with a proxy for each of its connections, and another that has none. */
const setup = (options: Dlock.Options = { ttl }) =>
  Effect.gen(function*() {
    yield* nothingUnhandled
    const { port, url } = yield* redis
    const commands = yield* proxyTo({ port })
    const messages = yield* proxyTo({ port })
    const { close, dlock } = yield* serve(commands.url, { ...options, messagesUrl: messages.url })
    const other = yield* serve(url, options)
    // Both connections are up, and messages have been seen to arrive.
    yield* handOver(other.dlock, dlock, "warm")
    return { commands, messages, dlock, other: other.dlock, close }
  })

/** How long after the release the other process's waiter has it. */
const handOver = (from: Dlock.Service, to: Dlock.Service, key: string) =>
  Effect.scoped(Effect.gen(function*() {
    const scope = yield* Scope.make()
    yield* Scope.provide(from.once(key), scope)
    const waiter = yield* Effect.forkChild(to.lock(key))
    yield* untilWaiting(from, key, 1)
    const [, took] = yield* timed(Effect.andThen(Scope.close(scope, Exit.void), Fiber.join(waiter)))
    return took
  }))

const untilQuick = (from: Dlock.Service, to: Dlock.Service) =>
  Effect.map(
    timed(Effect.repeat(handOver(from, to, "k"), { until: (took) => took < 50, times: 20 })),
    ([, took]) => took
  )

/** Any call that asks Redis, on a key that is free. */
const callsOn = (dlock: Dlock.Service, round: string) =>
  Effect.all([
    settles(`${round}: once`, commandTimeout + slack, Effect.scoped(dlock.once("once"))),
    settles(`${round}: lock`, commandTimeout + slack, Effect.scoped(dlock.lock("lock"))),
    settles(`${round}: lock, wait 100`, commandTimeout + slack, Effect.scoped(dlock.lock("wait", { wait: 100 }))),
    settles(`${round}: lock, wait 1000`, commandTimeout + slack, Effect.scoped(dlock.lock("wait 2", { wait: 1_000 }))),
    settles(`${round}: withLock`, commandTimeout + slack, dlock.withLock(Effect.void, "with")),
    settles(`${round}: inspect`, commandTimeout + slack, dlock.inspect("any")),
    settles(`${round}: forceRelease`, commandTimeout + slack, dlock.forceRelease("any"))
  ], { concurrency: "unbounded" })

const allFail = Array(7).fill("BackendError")

/** All that was under way when the silence began. */
const begin = (dlock: Dlock.Service, blocker: Dlock.Service) =>
  Effect.gen(function*() {
    yield* blocker.once("queue", { ttl: "1 minute" })
    const scope = yield* Scope.make()
    const closing = yield* Scope.provide(dlock.once("scope"), scope)
    const extended = yield* dlock.once("extend")
    const released = yield* dlock.once("release")
    const guarded = yield* dlock.once("guard")
    const waiter = yield* Effect.forkChild(Effect.exit(Effect.scoped(dlock.lock("queue"))))
    // Asked on the same connection: so it has heard that it waits, too.
    yield* untilWaiting(dlock, "queue", 1)
    const bounded = yield* Effect.forkChild(Effect.exit(Effect.scoped(dlock.lock("queue", { wait: 500 }))))
    yield* untilWaiting(dlock, "queue", 2)
    return { scope, closing, extended, released, guarded, waiter, bounded }
  })

const settleWhatBegan = (
  { bounded, extended, guarded, released, scope, waiter }: Effect.Success<ReturnType<typeof begin>>,
  name: string
) =>
  Effect.all({
    extend: settles(`${name}: extend`, commandTimeout + slack, extended.extend()),
    release: settles(`${name}: release`, commandTimeout + slack, released.release),
    scope: settles(`${name}: scope close`, commandTimeout + slack, Scope.close(scope, Exit.void)),
    guard: settles(`${name}: guard`, ttl + slack, guarded.guard(Effect.never)),
    bounded: settles(`${name}: waiter, wait 500`, 500 + slack, Effect.flatMap(Fiber.join(bounded), (exit) => exit)),
    waiter: settles(`${name}: waiter`, ttl + slack, Effect.flatMap(Fiber.join(waiter), (exit) => exit))
  }, { concurrency: "unbounded" })

const heals: ReadonlyArray<readonly [how: string, HealOptions]> = [
  ["reset", {}],
  ["delivered late", { deliver: true }],
  ["dead for ever", { leaveDead: true }]
]

describe.concurrent("half-open connections", () => {
  describe.each(heals)("commands that are silent, and then %s:", (how, options) => {
    test("every call settles within its own limit, and works again without a new layer", () =>
      Effect.gen(function*() {
        const { commands, dlock, other } = yield* setup()
        const began = yield* begin(dlock, other)
        commands.stall()
        const settled = yield* Effect.forkChild(settleWhatBegan(began, "silent commands"))
        assert.deepStrictEqual(yield* callsOn(dlock, "silent commands"), allFail)
        // Once more: by now the connection is a new one, as silent as the first.
        assert.deepStrictEqual(yield* callsOn(dlock, "silent commands, again"), allFail)
        const { extend, ...rest } = yield* Fiber.join(settled)
        assert.include(["BackendError", "LockLostError"], extend)
        assert.deepStrictEqual(rest, {
          release: "BackendError",
          scope: "success",
          guard: "LockLostError",
          bounded: "LockAcquisitionError",
          waiter: "BackendError"
        })
        commands.heal(options)
        const [, took] = yield* timed(Effect.retry(dlock.inspect("any"), { times: 100 }))
        atMost(`commands ${how}: first success after the heal`, took, ttl + slack)
        // Nobody stands in the way for longer than a lease lasts.
        const from = now()
        for (const key of ["once", "lock", "wait", "with", "scope", "extend", "release", "guard"]) {
          yield* Effect.scoped(other.lock(key))
        }
        atMost(`commands ${how}: all locks had by another process`, now() - from, ttl + slack)
        atMost(`commands ${how}: hand-over`, yield* handOver(other, dlock, "again"), 100)
      }))
  })

  describe.each(heals)("messages that are silent, and then %s:", (how, options) => {
    test("nothing fails, a waiter hears within a second, and in milliseconds when it is over", () =>
      Effect.gen(function*() {
        const { dlock, messages, other } = yield* setup({ ttl: 3_000 })
        messages.stall()
        atMost("silent messages: first hand-over", yield* handOver(other, dlock, "k"), 1_000 + slack)
        // On a busy machine even a free lock may take longer than the shortest wait.
        const calls = (yield* callsOn(dlock, "silent messages")).filter((tag) => tag !== "LockAcquisitionError")
        assert.isAtLeast(calls.length, 6)
        assert.isTrue(calls.every((tag) => tag === "success"))
        atMost("silent messages: later hand-over", yield* handOver(other, dlock, "k"), 1_000 + slack)
        messages.heal(options)
        atMost(`messages ${how}: hand-overs are quick again`, yield* untilQuick(other, dlock), 2_000)
      }))
  })

  test("silent messages are noticed within 0.8 seconds, however rare the heartbeats are", () =>
    Effect.gen(function*() {
      const { dlock, messages, other } = yield* setup({ ttl: 30_000 })
      messages.stall()
      atMost("silent messages, long ttl: hand-over", yield* handOver(other, dlock, "k"), 800 + slack)
    }))

  test("a holder whom the message of a forced release does not reach is told with its next renewal", () =>
    Effect.gen(function*() {
      const { dlock, messages, other } = yield* setup()
      const lock = yield* dlock.once("k")
      messages.stall()
      assert.strictEqual(yield* other.forceRelease("k"), 1)
      const [error, took] = yield* timed(Effect.flip(lock.lost))
      assert.strictEqual(error.reason, "Superseded")
      atMost("forced release without messages: the holder is told", took, ttl / 3 + slack)
    }))

  test("a call that Redis does not answer says so: BackendError Timeout", () =>
    Effect.gen(function*() {
      const { commands, dlock } = yield* setup()
      commands.stall()
      const [error, took] = yield* timed(Effect.flip(dlock.inspect("k")))
      assert.deepInclude({ ...error }, { _tag: "BackendError", reason: "Timeout" })
      atMost("silent commands: inspect", took, commandTimeout + slack)
    }))

  test("a subscriber that is dead for ever is noticed also when no waiter waits for long", () =>
    Effect.gen(function*() {
      // The heartbeats of such a short ttl bring each grant before the messages are due to be probed.
      const { dlock, messages, other } = yield* setup({ ttl: 900 })
      messages.stall()
      yield* handOver(other, dlock, "k")
      messages.heal({ leaveDead: true })
      atMost("messages dead for ever, short ttl: hand-overs are quick again", yield* untilQuick(other, dlock), 2_000)
    }))

  test("silent commands and messages: every call settles, and all works again without a new layer", () =>
    Effect.gen(function*() {
      const { commands, dlock, messages, other } = yield* setup()
      const began = yield* begin(dlock, other)
      commands.stall()
      messages.stall()
      const settled = yield* Effect.forkChild(settleWhatBegan(began, "silence"))
      assert.deepStrictEqual(yield* callsOn(dlock, "silence"), allFail)
      yield* Fiber.join(settled)
      commands.heal()
      messages.heal()
      const [, took] = yield* timed(Effect.retry(dlock.inspect("any"), { times: 100 }))
      atMost("both: first success after the heal", took, ttl + slack)
      atMost("both: hand-overs are quick again", yield* untilQuick(other, dlock), 2_000)
    }))

  describe.each([["commands"], ["messages"], ["commands", "messages"]] as const)(
    "silent %s %s:",
    (...sides) => {
      test("closing the layer takes 1.5 seconds at most", () =>
        Effect.gen(function*() {
          // The default: closing must not take that long.
          const { close, dlock, other, ...proxies } = yield* setup({ ttl, commandTimeout: 5_000 })
          const began = yield* begin(dlock, other)
          for (const side of sides) proxies[side!].stall()
          atMost(`${sides.join(" and ")} silent: layer closed`, (yield* timed(close))[1], 1_500)
          assert.isTrue(Exit.isFailure(yield* Effect.exit(began.guarded.check)))
          assert.isTrue(Exit.isFailure(yield* Fiber.join(began.waiter)))
        }))
    }
  )

  test("closing the layer takes a second more when it leads a flight, and waits for the job's finalizers", () =>
    Effect.gen(function*() {
      const { close, commands, dlock, messages } = yield* setup({ ttl, commandTimeout: 5_000 })
      yield* dlock.once("held")
      const leads = yield* Latch.make()
      let ended = false
      const job = Effect.ensuring(
        Effect.andThen(leads.open, Effect.never),
        Effect.delay(Effect.sync(() => ended = true), 300)
      )
      yield* Effect.forkChild(dlock.fanout("led", job))
      yield* leads.await
      commands.stall()
      messages.stall()
      const [, took] = yield* timed(close)
      atMost("silent, with a lock and a flight: layer closed", took, 300 + 2_000 + slack)
      assert.isTrue(ended)
    }))
})
