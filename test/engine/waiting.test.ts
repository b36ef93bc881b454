/** The rules of docs/protocol.md that an engine upholds while it waits, one interleaving each. */
import * as TestEdition from "#test-edition"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as TestClock from "effect/testing/TestClock"
import { commandTimeoutMillis, granted, left, settleFibers, setup, ttlMillis, waiting, wasHeld } from "./handStore.js"

const drift = (millis: number) => millis * 0.01 + 2

describe("a waiter", () => {
  it.effect("R2: ignores a grant whose fence is not above what it was told while waiting", () =>
    Effect.gen(function*() {
      const { acquire, refresh, send, start } = yield* setup
      const fiber = yield* start()
      const asked = yield* acquire.next
      asked.reply(waiting({ lastFence: 100 }))
      yield* TestClock.adjust("3 seconds")
      const heartbeat = yield* refresh.next
      heartbeat.reply([waiting({ lastFence: 200 })])
      yield* settleFibers
      yield* send({ _tag: "Granted", token: asked.input.token, fence: 150 })
      assert.strictEqual((yield* TestEdition.poll(fiber))._tag, "None")
      yield* send({ _tag: "Granted", token: asked.input.token, fence: 201 })
      assert.strictEqual((yield* TestEdition.poll(fiber))._tag, "Some")
    }))

  it.effect("R2: a token that the store does not know is dead; its caller queues anew with another", () =>
    Effect.gen(function*() {
      const { acquire, leave, refresh, start } = yield* setup
      yield* start()
      const first = yield* acquire.next
      first.reply(waiting())
      yield* TestClock.adjust("3 seconds")
      const heartbeat = yield* refresh.next
      heartbeat.reply([{ _tag: "Gone" }])
      const second = yield* acquire.next
      assert.notStrictEqual(second.input.token, first.input.token)
      assert.deepStrictEqual((yield* leave.next).input.map((item) => item.token), [first.input.token])
    }))

  it.effect("R4: a grant lasts from the last answered heartbeat of that very token, not of the process", () =>
    Effect.gen(function*() {
      const { acquire, engine, refresh, send, start } = yield* setup
      const first = yield* start()
      const askedFirst = yield* acquire.next
      askedFirst.reply(waiting())
      yield* settleFibers
      yield* TestClock.adjust(2_000)
      yield* start()
      const askedSecond = yield* acquire.next
      askedSecond.reply(waiting())
      yield* settleFibers
      // The second's answer came later. It says nothing about the first.
      yield* send({ _tag: "Granted", token: askedFirst.input.token, fence: 101 })
      const lease = yield* Fiber.join(first).pipe(Effect.orDie)
      assert.strictEqual(refresh.calls.length, 0)
      assert.approximately(yield* left(engine, lease), ttlMillis - drift(ttlMillis) - 2_000, 1)
    }))

  it.effect("R5: the deadline counts from before the command was sent, whenever its answer comes", () =>
    Effect.gen(function*() {
      const { acquire, engine, start } = yield* setup
      const fiber = yield* start()
      const asked = yield* acquire.next
      yield* TestClock.adjust(1_500)
      asked.reply(granted(1))
      const lease = yield* Fiber.join(fiber).pipe(Effect.orDie)
      assert.approximately(yield* left(engine, lease), ttlMillis - drift(ttlMillis) - 1_500, 1)
    }))

  it.effect("R14: a grant with too little left is confirmed by a round trip before it is used", () =>
    Effect.gen(function*() {
      const { acquire, engine, refresh, send, start } = yield* setup
      const fiber = yield* start()
      const asked = yield* acquire.next
      asked.reply(waiting())
      yield* TestClock.adjust("3 seconds")
      // This heartbeat is lost on the way.
      yield* refresh.next
      yield* TestClock.adjust("4 seconds")
      yield* send({ _tag: "Granted", token: asked.input.token, fence: 101 })
      assert.strictEqual((yield* TestEdition.poll(fiber))._tag, "None")
      const confirmation = yield* refresh.next
      confirmation.reply([{ _tag: "Held", remainingMillis: ttlMillis, fence: 101 }])
      const lease = yield* Fiber.join(fiber).pipe(Effect.orDie)
      assert.approximately(yield* left(engine, lease), ttlMillis - drift(ttlMillis), 1)
    }))

  it.effect("R30: a grant that overtakes the answer to its request is kept", () =>
    Effect.gen(function*() {
      const { acquire, engine, send, start } = yield* setup
      const fiber = yield* start()
      const asked = yield* acquire.next
      yield* send({ _tag: "Granted", token: asked.input.token, fence: 101 })
      yield* TestClock.adjust(100)
      asked.reply(waiting({ lastFence: 100 }))
      const lease = yield* Fiber.join(fiber).pipe(Effect.orDie)
      assert.approximately(yield* left(engine, lease), ttlMillis - drift(ttlMillis) - 100, 1)
    }))

  it.effect("R10: asks again when the holder's lease ends, the later in the queue the later", () =>
    Effect.gen(function*() {
      const { acquire, refresh, start } = yield* setup
      yield* start()
      const asked = yield* acquire.next
      asked.reply(waiting({ rank: 2, holder: { endsMillis: 1_000, fence: 5, metadata: "" } }))
      yield* settleFibers
      yield* TestClock.adjust(1_040)
      assert.strictEqual(refresh.calls.length, 0)
      yield* TestClock.adjust(1)
      yield* settleFibers
      assert.strictEqual(refresh.calls.length, 1)
    }))

  it.effect("R16: is out of the heartbeats in the step in which its caller leaves, before its leave is answered", () =>
    Effect.gen(function*() {
      const { acquire, leave, refresh, start } = yield* setup
      const leaving = yield* start()
      const left = yield* acquire.next
      left.reply(waiting())
      yield* start()
      const staying = yield* acquire.next
      staying.reply(waiting())
      yield* settleFibers
      yield* Fiber.interrupt(leaving)
      yield* leave.next
      yield* TestClock.adjust("3 seconds")
      const heartbeat = yield* refresh.next
      assert.deepStrictEqual(heartbeat.input.items.map((item) => item.token), [staying.input.token])
    }))

  it.effect("R15: that left before its request was answered is given back, until that is confirmed", () =>
    Effect.gen(function*() {
      const { acquire, leave, start } = yield* setup
      const fiber = yield* start()
      const asked = yield* acquire.next
      yield* Fiber.interrupt(fiber)
      const first = yield* leave.next
      assert.deepStrictEqual(first.input.map((item) => item.token), [asked.input.token])
      first.fail()
      yield* settleFibers
      yield* TestClock.adjust("100 millis")
      const second = yield* leave.next
      assert.deepStrictEqual(second.input, first.input)
      second.reply([wasHeld])
      yield* settleFibers
      yield* TestClock.adjust("30 seconds")
      assert.strictEqual(leave.calls.length, 0)
    }))

  it.effect("R15: a leave that keeps failing is repeated after 100 ms, then ever later, until nothing can be left of it", () =>
    Effect.gen(function*() {
      const { acquire, leave, start } = yield* setup
      const fiber = yield* start()
      yield* acquire.next
      yield* Fiber.interrupt(fiber)
      ;(yield* leave.next).fail()
      const repeatedAt: Array<number> = []
      for (let at = 100; at <= 60_000; at += 100) {
        yield* settleFibers
        yield* TestClock.adjust(100)
        yield* settleFibers
        for (const { fail } of leave.calls.splice(0)) {
          repeatedAt.push(at)
          fail()
        }
      }
      assert.deepStrictEqual(repeatedAt.slice(0, 7), [100, 300, 700, 1_500, 3_100, 5_100, 7_100])
      const last = repeatedAt.at(-1) ?? 0
      assert.isAtLeast(last, commandTimeoutMillis + ttlMillis)
      assert.isBelow(last, commandTimeoutMillis + ttlMillis + 2_000)
    }))

  it.effect("R11: every attempt has a token of its own, also after an unknown outcome", () =>
    Effect.gen(function*() {
      const { acquire, start } = yield* setup
      const first = yield* start()
      const one = yield* acquire.next
      one.fail()
      assert.isTrue(Exit.isFailure(yield* Fiber.await(first)))
      yield* start()
      assert.notStrictEqual((yield* acquire.next).input.token, one.input.token)
    }))

  it.effect("R25: is asked for again as soon as messages arrive again, and as soon as they do not", () =>
    Effect.gen(function*() {
      const { acquire, refresh, send, start } = yield* setup
      yield* start()
      const asked = yield* acquire.next
      assert.isTrue(asked.input.subscribed)
      asked.reply(waiting())
      yield* settleFibers
      yield* send({ _tag: "Unsubscribed" })
      const without = yield* refresh.next
      assert.isFalse(without.input.subscribed)
      yield* send({ _tag: "Subscribed" })
      const again = yield* refresh.next
      assert.isTrue(again.input.subscribed)
    }))

  it.effect("R25: whose request said otherwise than what is true by the time of its answer is asked for again", () =>
    Effect.gen(function*() {
      const { acquire, refresh, send, start } = yield* setup
      yield* send({ _tag: "Unsubscribed" })
      yield* start()
      const asked = yield* acquire.next
      assert.isFalse(asked.input.subscribed)
      yield* send({ _tag: "Subscribed" })
      asked.reply(waiting())
      const again = yield* refresh.next
      assert.isTrue(again.input.subscribed)
    }))

  it.effect("R25: is asked for again when the subscription went and came back before its answer", () =>
    Effect.gen(function*() {
      const { acquire, refresh, send, start } = yield* setup
      yield* start()
      const asked = yield* acquire.next
      yield* send({ _tag: "Unsubscribed" })
      yield* send({ _tag: "Subscribed" })
      asked.reply(waiting())
      yield* settleFibers
      assert.strictEqual(refresh.calls.length, 1)
    }))

  for (const [ttl, alive] of [[4_500, 4_500], [30_000, 10_000]] as const) {
    it.effect(`counts as alive for its ttl, 10 seconds at most, and asks every third of that: ${ttl}`, () =>
      Effect.gen(function*() {
        const { acquire, refresh, start } = yield* setup
        const fiber = yield* start({ ttlMillis: ttl })
        const asked = yield* acquire.next
        assert.strictEqual(asked.input.livenessMillis, alive)
        asked.reply(waiting({ remainingMillis: alive }))
        yield* settleFibers
        for (let i = 0; i < 4; i++) {
          yield* TestClock.adjust(Math.floor(alive / 3) - 10)
          assert.strictEqual(refresh.calls.length, 0)
          yield* TestClock.adjust(11)
          const heartbeat = yield* refresh.next
          assert.strictEqual(heartbeat.input.items[0]?.livenessMillis, alive)
          const lost = { _tag: "Held" as const, remainingMillis: ttl, fence: 101 }
          heartbeat.reply([i < 3 ? waiting({ remainingMillis: alive }) : lost])
          yield* settleFibers
        }
        assert.strictEqual((yield* TestEdition.poll(fiber))._tag, "Some")
      }))
  }

  it.effect("R43: asks every third of its liveness, and waits on, when the server's clock went back", () =>
    Effect.gen(function*() {
      const { acquire, engine, refresh, send, start } = yield* setup
      const fiber = yield* start()
      const asked = yield* acquire.next
      asked.reply(waiting())
      yield* settleFibers
      for (let i = 0; i < 5; i++) {
        yield* TestClock.adjust(ttlMillis / 3)
        ;(yield* refresh.next).reply([waiting({ remainingMillis: ttlMillis + 25_000 })])
        yield* settleFibers
      }
      // A grant is counted on for no longer than a waiter asks to live.
      yield* send({ _tag: "Granted", token: asked.input.token, fence: 101 })
      const lease = yield* Effect.orDie(Fiber.join(fiber))
      assert.approximately(yield* left(engine, lease), ttlMillis - drift(ttlMillis), 1)
    }))

  it.effect("R43: a grant that lasts less than an older answer said is confirmed first, when the server's clock went ahead", () =>
    Effect.gen(function*() {
      const { acquire, engine, refresh, send, start } = yield* setup
      const fiber = yield* start()
      const asked = yield* acquire.next
      asked.reply(waiting())
      yield* settleFibers
      yield* send({ _tag: "Unsubscribed" })
      ;(yield* refresh.next).reply([waiting({ remainingMillis: 1_000 })])
      yield* settleFibers
      yield* send({ _tag: "Granted", token: asked.input.token, fence: 101 })
      assert.strictEqual((yield* TestEdition.poll(fiber))._tag, "None")
      ;(yield* refresh.next).reply([{ _tag: "Held", remainingMillis: ttlMillis, fence: 101 }])
      const lease = yield* Effect.orDie(Fiber.join(fiber))
      assert.approximately(yield* left(engine, lease), ttlMillis - drift(ttlMillis), 1)
    }))

  it.effect("R7: that no message can reach asks every second", () =>
    Effect.gen(function*() {
      const { acquire, refresh, send, start } = yield* setup
      yield* send({ _tag: "Unsubscribed" })
      yield* start()
      const asked = yield* acquire.next
      assert.isFalse(asked.input.subscribed)
      asked.reply(waiting())
      yield* settleFibers
      for (let i = 0; i < 3; i++) {
        yield* TestClock.adjust("1 second")
        const heartbeat = yield* refresh.next
        heartbeat.reply([waiting()])
        yield* settleFibers
      }
    }))

  it.effect("checks every half second that messages still arrive, and only while somebody waits", () =>
    Effect.gen(function*() {
      const { acquire, probes, start } = yield* setup
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(probes(), 0)
      const fiber = yield* start()
      const asked = yield* acquire.next
      asked.reply(waiting())
      yield* settleFibers
      yield* TestClock.adjust(99)
      yield* settleFibers
      assert.strictEqual(probes(), 0, "a short wait is spared")
      yield* TestClock.adjust(1)
      for (let i = 0; i < 4; i++) yield* TestClock.adjust(500)
      yield* settleFibers
      assert.strictEqual(probes(), 5)
      yield* Fiber.interrupt(fiber)
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(probes(), 5)
    }))

  it.effect("checks so when waits are short, too: only the first after a check is spared", () =>
    Effect.gen(function*() {
      const { acquire, probes, start } = yield* setup
      for (const checks of [0, 1, 1, 2, 2]) {
        yield* TestClock.adjust("1 second")
        const fiber = yield* start()
        const asked = yield* acquire.next
        asked.reply(waiting())
        yield* settleFibers
        yield* TestClock.adjust(50)
        yield* settleFibers
        assert.strictEqual(probes(), checks)
        yield* Fiber.interrupt(fiber)
      }
    }))

  it.effect("fails with BackendError when no heartbeat was answered for so long that its place must be gone", () =>
    Effect.gen(function*() {
      const { acquire, leave, start } = yield* setup
      const fiber = yield* start()
      const asked = yield* acquire.next
      asked.reply(waiting())
      yield* settleFibers
      yield* TestClock.adjust(ttlMillis)
      const error = yield* Effect.flip(Fiber.join(fiber))
      assert.strictEqual(error._tag, "BackendError")
      assert.deepStrictEqual((yield* leave.next).input.map((item) => item.token), [asked.input.token])
    }))

  it.effect("awaits its first answer for as long as the store takes: a free lock is taken however short its wait is", () =>
    Effect.gen(function*() {
      const { acquire, start } = yield* setup
      const fiber = yield* start({ waitMillis: 1 })
      const asked = yield* acquire.next
      yield* TestClock.adjust(commandTimeoutMillis / 5)
      assert.strictEqual((yield* TestEdition.poll(fiber))._tag, "None")
      asked.reply(granted(7))
      assert.strictEqual((yield* Effect.orDie(Fiber.join(fiber))).state._tag, "Held")
    }))

  it.effect("fails as the store fails when that never said that somebody holds it, however short its wait is", () =>
    Effect.gen(function*() {
      const { acquire, leave, start } = yield* setup
      const fiber = yield* start({ waitMillis: 1 })
      const asked = yield* acquire.next
      yield* TestClock.adjust(commandTimeoutMillis)
      asked.fail()
      assert.strictEqual((yield* Effect.flip(Fiber.join(fiber)))._tag, "BackendError")
      assert.deepStrictEqual((yield* leave.next).input.map((item) => item.token), [asked.input.token])
    }))

  it.effect("times out as soon as the store says that somebody holds it, when its wait is over by then", () =>
    Effect.gen(function*() {
      const { acquire, leave, start } = yield* setup
      const fiber = yield* start({ waitMillis: 1_000 })
      const asked = yield* acquire.next
      yield* TestClock.adjust(1_500)
      asked.reply(waiting({ holder: { endsMillis: 5_000, fence: 3, metadata: "holder" } }))
      const error = yield* Effect.flip(Fiber.join(fiber))
      assert.deepInclude({ ...error }, { _tag: "LockAcquisitionError", reason: "Timeout", holder: "holder" })
      assert.deepStrictEqual((yield* leave.next).input.map((item) => item.token), [asked.input.token])
    }))

  it.effect("times out by its own wait when the store has said that somebody holds it", () =>
    Effect.gen(function*() {
      const { acquire, leave, start } = yield* setup
      const fiber = yield* start({ waitMillis: 1_000 })
      const asked = yield* acquire.next
      asked.reply(waiting())
      yield* settleFibers
      yield* TestClock.adjust(999)
      assert.strictEqual((yield* TestEdition.poll(fiber))._tag, "None")
      yield* TestClock.adjust(1)
      assert.deepInclude({ ...(yield* Effect.flip(Fiber.join(fiber))) }, {
        _tag: "LockAcquisitionError",
        reason: "Timeout"
      })
      assert.deepStrictEqual((yield* leave.next).input.map((item) => item.token), [asked.input.token])
    }))

  for (const [what, answer] of [["grants", granted(7, 100)], ["places", waiting({ remainingMillis: 100 })]] as const) {
    it.effect(`fails after commandTimeout, and says why, when all that it is given is over before it knows: ${what}`, () =>
      Effect.gen(function*() {
        const { acquire, refresh, start } = yield* setup
        const fiber = yield* start({ ttlMillis: 100 }) // In time, so however long ago it was, it does not count.
        ;(yield* acquire.next).reply(waiting({ remainingMillis: 100 }))
        for (let at = 0; at < 10_000; at += 30) {
          yield* Effect.andThen(settleFibers, TestClock.adjust(30))
          for (const { reply } of refresh.calls.splice(0)) reply([waiting({ remainingMillis: 100 })])
        }
        yield* settleFibers
        yield* TestClock.adjust(34)
        ;(yield* refresh.next).reply([{ _tag: "Gone" }])
        let answers = 0
        for (let at = 0; at < 10_000; at += 200) {
          yield* Effect.andThen(settleFibers, TestClock.adjust(200))
          for (const { reply } of acquire.calls.splice(0)) {
            answers++
            reply(answer)
          }
          yield* settleFibers
          for (const { reply } of refresh.calls.splice(0)) reply([{ _tag: "Gone" }])
        }
        assert.isTrue(Option.isSome(yield* TestEdition.poll(fiber)))
        const error = yield* Effect.flip(Fiber.join(fiber))
        assert(error._tag === "BackendError")
        assert.strictEqual(error.reason, "Timeout")
        assert.include(error.message, "`ttl` (100ms) is shorter than the round trip to Redis (200ms)")
        assert.strictEqual(answers, commandTimeoutMillis / 200 + 1)
      }))
  }

  it.effect("R12: whose request is heavier than the lowered limit is told so", () =>
    Effect.gen(function*() {
      const { acquire, send, start } = yield* setup
      const fiber = yield* start()
      const asked = yield* acquire.next
      asked.reply(waiting())
      yield* settleFibers
      yield* send({ _tag: "OverLimit", token: asked.input.token, limit: 1 })
      assert.deepInclude({ ...(yield* Effect.flip(Fiber.join(fiber))) }, { reason: "OverLimit" })
    }))

  it.effect("R30: so does one whose news of that overtakes the answer that it waits", () =>
    Effect.gen(function*() {
      const { acquire, leave, send, start } = yield* setup
      const fiber = yield* start()
      const asked = yield* acquire.next
      yield* send({ _tag: "OverLimit", token: asked.input.token, limit: 1 })
      asked.reply(waiting())
      assert.deepInclude({ ...(yield* Effect.flip(Fiber.join(fiber))) }, { reason: "OverLimit" })
      yield* leave.next
      assert.strictEqual(acquire.calls.length, 0)
    }))

  it.effect("that is not to be renewed has a whole ttl, also when the command that grants it counts as a heartbeat", () =>
    Effect.gen(function*() {
      const { acquire, engine, refresh, send, start } = yield* setup
      const fiber = yield* start({ ttlMillis: 60_000, renew: false })
      ;(yield* acquire.next).reply(waiting({ remainingMillis: 10_000 }))
      yield* settleFibers
      yield* send({ _tag: "Unsubscribed" })
      ;(yield* refresh.next).reply([{ _tag: "Held", remainingMillis: 10_000, fence: 107 }])
      yield* settleFibers
      ;(yield* refresh.next).reply([{ _tag: "Held", remainingMillis: 60_000, fence: 107 }])
      const lease = yield* Effect.orDie(Fiber.join(fiber))
      assert.isAbove(yield* engine.remaining(lease), 59_000)
    }))

  it.effect("so has one whose grant out of the queue comes with the answer to its acquire, which was sent again", () =>
    Effect.gen(function*() {
      const { acquire, engine, refresh, start } = yield* setup
      const fiber = yield* start({ ttlMillis: 60_000, renew: false })
      ;(yield* acquire.next).reply(granted(107, 10_000))
      ;(yield* refresh.next).reply([{ _tag: "Held", remainingMillis: 60_000, fence: 107 }])
      const lease = yield* Effect.orDie(Fiber.join(fiber))
      assert.isAbove(yield* engine.remaining(lease), 59_000)
    }))

  it.effect("and that is awaited for as long as the store takes: nobody else holds it", () =>
    Effect.gen(function*() {
      const { acquire, engine, leave, refresh, start } = yield* setup
      for (const ends of ["answered", "failed"]) {
        const fiber = yield* start({ ttlMillis: 60_000, renew: false, waitMillis: 1_000 })
        ;(yield* acquire.next).reply(granted(107, 10_000))
        const extension = yield* refresh.next
        yield* TestClock.adjust(1_500)
        if (ends === "answered") {
          extension.reply([{ _tag: "Held", remainingMillis: 60_000, fence: 107 }])
          assert.isAbove(yield* left(engine, yield* Effect.orDie(Fiber.join(fiber))), 50_000)
        } else {
          extension.fail()
          assert.strictEqual((yield* Effect.flip(Fiber.join(fiber)))._tag, "BackendError")
          yield* leave.next
        }
      }
    }))

  it.effect("R22: what one call left unsettled is settled by further calls, until nothing is left", () =>
    Effect.gen(function*() {
      const { acquire, refresh, start } = yield* setup
      yield* start()
      const asked = yield* acquire.next
      const target = { kind: "lock" as const, key: "k" }
      asked.reply(waiting(), [target])
      const first = yield* refresh.next
      assert.deepStrictEqual(first.input.also, [target])
      first.reply([], [target])
      const second = yield* refresh.next
      assert.deepStrictEqual(second.input.also, [target])
      second.reply([])
      yield* settleFibers
      assert.strictEqual(refresh.calls.length, 0)
    }))
})
