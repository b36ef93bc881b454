/** The rules of docs/protocol.md that an engine upholds while it holds, one interleaving each. */
import * as TestEdition from "#test-edition"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import type { Lease } from "../../src/internal/engine/lease.js"
import { granted, left, settleFibers, setup, ttlMillis, waiting, wasHeld } from "./handStore.js"

const drift = (millis: number) => millis * 0.01 + 2

describe("a held lease", () => {
  const held = Effect.gen(function*() {
    const parts = yield* setup
    const fiber = yield* parts.start()
    const asked = yield* parts.acquire.next
    asked.reply(granted(7))
    const lease = yield* Effect.orDie(Fiber.join(fiber))
    const lost = yield* Effect.forkChild(Effect.flip(parts.engine.lost(lease)))
    yield* settleFibers
    return { ...parts, lease, lost }
  })
  const heldAnswer = (remainingMillis: number) => [{ _tag: "Held" as const, remainingMillis, fence: 7 }]

  it.effect("is renewed every third of its ttl", () =>
    Effect.gen(function*() {
      const { engine, lease, refresh } = yield* held
      for (let i = 0; i < 5; i++) {
        yield* TestClock.adjust(ttlMillis / 3)
        const renewal = yield* refresh.next
        renewal.reply(heldAnswer(ttlMillis))
        yield* settleFibers
        assert.strictEqual(refresh.calls.length, 0)
      }
      assert.approximately(yield* left(engine, lease), ttlMillis - drift(ttlMillis), 1)
    }))

  it.effect("is lost at its own deadline when Redis does not answer, before Redis lets another in", () =>
    Effect.gen(function*() {
      const { leave, lost, refresh } = yield* held
      yield* TestClock.adjust(ttlMillis / 3)
      yield* refresh.next
      yield* TestClock.adjust(Math.ceil(ttlMillis * (2 / 3) - drift(ttlMillis)) - 1)
      assert.strictEqual((yield* TestEdition.poll(lost))._tag, "None")
      yield* TestClock.adjust(1)
      yield* settleFibers
      assert.deepInclude({ ...(yield* Fiber.join(lost)) }, { reason: "Unreachable", fencingToken: 7 })
      yield* leave.next
    }))

  it.effect("is renewed again and again until its deadline when renewals fail", () =>
    Effect.gen(function*() {
      const { engine, lease, refresh } = yield* held
      yield* TestClock.adjust(ttlMillis / 3)
      for (let i = 0; i < 4; i++) {
        const renewal = yield* refresh.next
        renewal.fail()
        yield* settleFibers
        yield* TestClock.adjust(ttlMillis / 10)
      }
      const renewal = yield* refresh.next
      renewal.reply(heldAnswer(ttlMillis))
      yield* settleFibers
      assert.approximately(yield* left(engine, lease), ttlMillis - drift(ttlMillis), 1)
    }))

  for (const [ttl, pause] of [[300, 50], [6_000, 600], [60_000, 1_000]] as const) {
    it.effect(`whose renewal failed is renewed after a tenth of its ttl, between 50 ms and 1 s: ${ttl}`, () =>
      Effect.gen(function*() {
        const { acquire, refresh, start } = yield* setup
        yield* start({ ttlMillis: ttl })
        const asked = yield* acquire.next
        asked.reply(granted(7, ttl))
        yield* settleFibers
        yield* TestClock.adjust(ttl / 3)
        const renewal = yield* refresh.next
        renewal.fail()
        yield* settleFibers
        yield* TestClock.adjust(pause - 1)
        assert.strictEqual(refresh.calls.length, 0)
        yield* TestClock.adjust(2)
        yield* refresh.next
      }))
  }

  const extendedTo = (millis: number) =>
    Effect.gen(function*() {
      const parts = yield* held
      const extending = yield* Effect.forkChild(parts.engine.extend(parts.lease, millis))
      const extension = yield* parts.refresh.next
      assert.strictEqual(extension.input.items[0]?.ttlMillis, millis)
      extension.reply(heldAnswer(millis))
      yield* Effect.orDie(Fiber.join(extending))
      return parts
    })
  const long = 4 * ttlMillis

  it.effect("R6: that was extended keeps its deadline when it is asked for less than remains", () =>
    Effect.gen(function*() {
      const { engine, lease, refresh } = yield* extendedTo(long)
      yield* TestClock.adjust(1_000)
      const shorter = yield* Effect.forkChild(engine.extend(lease, ttlMillis))
      ;(yield* refresh.next).reply(heldAnswer(long - 1_000))
      yield* Effect.orDie(Fiber.join(shorter))
      assert.approximately(yield* left(engine, lease), long - drift(long) - 1_000, 1)
    }))

  it.effect("R43: that was extended is asked for every third of its ttl, not of what remains", () =>
    Effect.gen(function*() {
      const { lost, refresh } = yield* extendedTo(long)
      yield* TestClock.adjust(ttlMillis / 3)
      ;(yield* refresh.next).reply(heldAnswer(long - ttlMillis / 3))
      yield* settleFibers
      yield* TestClock.adjust(ttlMillis / 3)
      ;(yield* refresh.next).reply([{ _tag: "Gone" }])
      assert.strictEqual((yield* Fiber.join(lost)).reason, "Superseded")
    }))

  it.effect("R43: is counted on for no longer than was asked for, when the server's clock went back", () =>
    Effect.gen(function*() {
      const { engine, lease, refresh } = yield* held
      yield* TestClock.adjust(ttlMillis / 3)
      ;(yield* refresh.next).reply(heldAnswer(ttlMillis + 25_000))
      yield* settleFibers
      assert.approximately(yield* left(engine, lease), ttlMillis - drift(ttlMillis), 1)
      // And it is asked for again as early as ever: the clock may be set right.
      yield* TestClock.adjust(ttlMillis / 3)
      yield* refresh.next
    }))

  it.effect("R43: ends when the newest answer says so, when the server's clock went ahead or a replica knows no better", () =>
    Effect.gen(function*() {
      const { engine, lease, refresh } = yield* extendedTo(long)
      yield* TestClock.adjust(1_000)
      const asking = yield* Effect.forkChild(engine.extend(lease, ttlMillis))
      ;(yield* refresh.next).reply(heldAnswer(ttlMillis))
      yield* Effect.orDie(Fiber.join(asking))
      assert.approximately(yield* left(engine, lease), ttlMillis - drift(ttlMillis), 1)
    }))

  it.effect("R43: what a newer answer has said is not undone by an older one", () =>
    Effect.gen(function*() {
      const { engine, lease, refresh } = yield* held
      const extending = yield* Effect.forkChild(Effect.exit(engine.extend(lease, long)))
      const extension = yield* refresh.next
      yield* TestClock.adjust(ttlMillis / 3)
      ;(yield* refresh.next).reply(heldAnswer(ttlMillis))
      yield* settleFibers
      extension.reply(heldAnswer(long))
      yield* Fiber.join(extending)
      assert.approximately(yield* left(engine, lease), ttlMillis - drift(ttlMillis), 1)
      // The next one tells that it was extended after all.
      yield* TestClock.adjust(ttlMillis / 3)
      ;(yield* refresh.next).reply(heldAnswer(long))
      yield* settleFibers
      assert.approximately(yield* left(engine, lease), long - drift(long) - ttlMillis * 2 / 3, 1)
    }))

  it.effect("R13: that the store calls waiting, asked after the grant, is lost and given back", () =>
    Effect.gen(function*() {
      const { leave, lease, lost, refresh } = yield* held
      yield* TestClock.adjust(ttlMillis / 3)
      const renewal = yield* refresh.next
      renewal.reply([waiting()])
      assert.strictEqual((yield* Fiber.join(lost)).reason, "Superseded")
      assert.deepStrictEqual((yield* leave.next).input.map((item) => item.token), [lease.token])
    }))

  it.effect("R13: an answer to a question from before the grant says nothing about it", () =>
    Effect.gen(function*() {
      const { acquire, engine, refresh, send, start } = yield* setup
      const fiber = yield* start()
      const asked = yield* acquire.next
      asked.reply(waiting())
      yield* TestClock.adjust(ttlMillis / 3)
      const heartbeat = yield* refresh.next
      yield* TestClock.adjust(100)
      yield* send({ _tag: "Granted", token: asked.input.token, fence: 101 })
      const lease = yield* Effect.orDie(Fiber.join(fiber))
      heartbeat.reply([waiting()])
      yield* settleFibers
      assert.isAbove(yield* left(engine, lease), 0)
    }))

  it.effect("R19: a message for a token that is not ours, or with another fence, changes nothing", () =>
    Effect.gen(function*() {
      const { engine, lease, send } = yield* held
      yield* send({ _tag: "Revoked", token: "stranger", fence: 7 })
      yield* send({ _tag: "Granted", token: "stranger", fence: 8 })
      yield* send({ _tag: "Revoked", token: lease.token, fence: 6 })
      assert.isAbove(yield* left(engine, lease), 0)
      yield* send({ _tag: "Revoked", token: lease.token, fence: 7 })
      assert.strictEqual(yield* left(engine, lease), -1)
    }))

  it.effect("R30: a forced release that overtakes the answer that grants is not forgotten", () =>
    Effect.gen(function*() {
      const { acquire, send, start } = yield* setup
      yield* start()
      const asked = yield* acquire.next
      yield* send({ _tag: "Revoked", token: asked.input.token, fence: 7 })
      asked.reply(granted(7))
      // It was lost before it was handed over, so its caller asks once more.
      assert.notStrictEqual((yield* acquire.next).input.token, asked.input.token)
    }))

  for (const first of ["the answer that grants", "the heartbeat that tells of a lost grant"]) {
    it.effect(`R17, R30: to be asked to let go before ${first} is not forgotten`, () =>
      Effect.gen(function*() {
        const { acquire, engine, refresh, send, start } = yield* setup
        const fiber = yield* start()
        const asked = yield* acquire.next
        const ask = send({ _tag: "Asked", token: asked.input.token, fence: 107 })
        if (first === "the answer that grants") {
          yield* ask
          asked.reply(granted(107))
        } else {
          asked.reply(waiting())
          yield* settleFibers
          yield* ask
          yield* TestClock.adjust(ttlMillis / 3)
          const heartbeat = yield* refresh.next
          heartbeat.reply([{ _tag: "Held", remainingMillis: ttlMillis, fence: 107 }])
        }
        const lease = yield* Effect.orDie(Fiber.join(fiber))
        assert.strictEqual((yield* Effect.flip(engine.remaining(lease))).reason, "Revoked")
        // It is held all the same until it is given back.
        assert.strictEqual(lease.state._tag, "Held")
      }))
  }

  it.effect("R23: a grant whose answer came after its end is not handed over", () =>
    Effect.gen(function*() {
      const { acquire, leave, start } = yield* setup
      yield* start({ ttlMillis: 1_000 })
      const asked = yield* acquire.next
      yield* TestClock.adjust(1_000)
      asked.reply(granted(7, 1_000))
      const again = yield* acquire.next
      assert.notStrictEqual(again.input.token, asked.input.token)
      assert.deepStrictEqual((yield* leave.next).input.map((item) => item.token), [asked.input.token])
    }))

  it.effect("R23: is over for whoever asks after its deadline, though no timer has fired", () =>
    Effect.gen(function*() {
      const { engine, keeperNow, lease } = yield* Effect.map(held, (parts) => ({
        ...parts,
        keeperNow: parts.engine.keeper
      }))
      const late = keeperNow.now() + ttlMillis
      keeperNow.now = () => late
      assert.strictEqual(yield* left(engine, lease), -1)
      assert.isTrue(Exit.isFailure(yield* Effect.exit(engine.extend(lease, ttlMillis))))
    }))

  it.effect("hundreds that are due at once go one batch after the other, without those that end meanwhile (R16)", () =>
    Effect.gen(function*() {
      const { acquire, engine, refresh, start } = yield* setup
      const leases: Array<Lease> = []
      for (let i = 0; i < 1_000; i++) {
        const fiber = yield* start()
        const asked = yield* acquire.next
        asked.reply(granted(7))
        leases.push(yield* Effect.orDie(Fiber.join(fiber)))
      }
      yield* TestClock.adjust(ttlMillis / 3)
      const tokens: Array<string> = []
      for (let batch = 1; batch <= 4; batch++) {
        assert.strictEqual(refresh.calls.length, 1)
        const { input, reply } = yield* refresh.next
        assert.isAtMost(input.items.length, 256)
        tokens.push(...input.items.map(({ token }) => token))
        reply(input.items.map(() => heldAnswer(ttlMillis)[0]!))
        if (batch === 1) {
          const others = leases.filter(({ token }) => !tokens.includes(token))
          for (const lease of others.slice(0, 50)) yield* Effect.forkChild(engine.release(lease))
          yield* settleFibers
        }
        yield* TestClock.adjust(1)
        assert.strictEqual(refresh.calls.length, 0)
        yield* Effect.andThen(TestClock.adjust(1), settleFibers)
      }
      const held = leases.filter(({ state }) => state._tag === "Held")
      assert.lengthOf(held, 950)
      assert.sameMembers(tokens, held.map(({ token }) => token))
    }))

  it.effect("10,000 leases are renewed in 40 commands a period, all of them", () =>
    Effect.gen(function*() {
      const { acquire, refresh, start } = yield* setup
      for (let i = 0; i < 10_000; i++) {
        const fiber = yield* start()
        const asked = yield* acquire.next
        asked.reply(granted(7))
        yield* Fiber.await(fiber)
        if (i % 10 === 0) yield* TestClock.adjust(1)
      }
      let commands = 0
      const renewed = new Map<string, number>()
      const answerAll = Effect.sync(() => {
        for (const renewal of refresh.calls.splice(0)) {
          commands++
          assert.isAtMost(renewal.input.items.length, 256)
          for (const { token } of renewal.input.items) renewed.set(token, (renewed.get(token) ?? 0) + 1)
          renewal.reply(renewal.input.items.map(() => heldAnswer(ttlMillis)[0]!))
        }
      })
      // The first period brings leases of different ages together.
      for (let i = 0; i < 30; i++) yield* Effect.andThen(TestClock.adjust(100), answerAll)
      commands = 0
      renewed.clear()
      for (let i = 0; i < 90; i++) {
        yield* Effect.andThen(TestClock.adjust(100), Effect.andThen(settleFibers, answerAll))
      }
      assert.strictEqual(renewed.size, 10_000)
      assert.isAtMost(commands, 3 * Math.ceil(10_000 / 256) + 3)
    }), 60_000)

  it.effect("that was extended is given back until the longer lease must be over", () =>
    Effect.gen(function*() {
      const { engine, leave, lease, refresh } = yield* held
      const extending = yield* Effect.forkChild(engine.extend(lease, 10 * ttlMillis))
      ;(yield* refresh.next).reply(heldAnswer(10 * ttlMillis))
      yield* Fiber.join(extending)
      yield* Effect.forkChild(Effect.exit(engine.release(lease)))
      let last = 0
      for (let at = 0; at <= 20 * ttlMillis; at += 500) {
        yield* settleFibers
        for (const { fail } of leave.calls.splice(0)) {
          last = at
          fail()
        }
        yield* TestClock.adjust(500)
      }
      assert.isAtLeast(last, 10 * ttlMillis)
    }))

  it.effect("whose leave has failed is given back once more, and at once, when the service closes", () =>
    Effect.gen(function*() {
      const { acquire, leave, makeEngine } = yield* setup
      const scope = yield* Scope.make()
      const { engine, start } = yield* Scope.provide(makeEngine, scope)
      const fiber = yield* start()
      const asked = yield* acquire.next
      asked.reply(granted(7))
      const lease = yield* Effect.orDie(Fiber.join(fiber))
      const release = yield* Effect.forkChild(Effect.exit(engine.release(lease)))
      ;(yield* leave.next).fail()
      yield* Fiber.join(release)
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      const again = yield* leave.next
      assert.deepStrictEqual(again.input.map(({ token }) => token), [asked.input.token])
      again.reply([wasHeld])
      yield* Fiber.join(closing)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(leave.calls.length, 0)
    }))

  const wasUnknown = { _tag: "Left" as const, was: "Unknown" as const }

  it.effect("R45: that the store did not know when it was left was lost, and whoever releases it is told", () =>
    Effect.gen(function*() {
      const { engine, leave, lease } = yield* held
      const release = yield* Effect.forkChild(Effect.flip(engine.release(lease)))
      ;(yield* leave.next).reply([wasUnknown])
      const error = yield* Fiber.join(release)
      assert.deepInclude({ ...error }, { _tag: "LockLostError", reason: "Superseded", fencingToken: 7 })
      assert.deepInclude({ ...yield* Effect.flip(engine.release(lease)) }, { reason: "Superseded" })
      assert.strictEqual(leave.calls.length, 0)
    }))

  it.effect("R45: is not called lost when its leave was sent twice, or may have been", () =>
    Effect.gen(function*() {
      const { engine, leave, lease } = yield* held
      const release = yield* Effect.forkChild(Effect.exit(engine.release(lease)))
      ;(yield* leave.next).fail()
      assert.strictEqual((yield* Effect.flatten(Fiber.join(release)).pipe(Effect.flip))._tag, "BackendError")
      yield* TestClock.adjust(100)
      ;(yield* leave.next).reply([wasUnknown])
      yield* settleFibers
      yield* engine.release(lease)

      const another = yield* held
      const unsure = yield* Effect.forkChild(another.engine.release(another.lease))
      ;(yield* another.leave.next).reply([{ _tag: "Left", was: "Unsure" }])
      yield* Fiber.join(unsure)
    }))

  it.effect("R45: is not called lost when the answer to its leave came past its deadline", () =>
    Effect.gen(function*() {
      const { engine, leave, lease } = yield* held
      const release = yield* Effect.forkChild(engine.release(lease))
      const left = yield* leave.next
      yield* TestClock.adjust(ttlMillis)
      left.reply([wasUnknown])
      yield* Fiber.join(release)
    }))

  it.effect("closing the engine gives everything back and lets nobody wait on", () =>
    Effect.gen(function*() {
      const { acquire, engine, leave, lease, start } = yield* held
      const waiter = yield* start()
      const asked = yield* acquire.next
      asked.reply(waiting())
      yield* settleFibers
      engine.close()
      assert.isTrue(Exit.isFailure(yield* Fiber.await(waiter)))
      assert.strictEqual(yield* left(engine, lease), -1)
      const items = [yield* leave.next, yield* leave.next].flatMap((one) => one.input.map((item) => item.token))
      assert.sameMembers(items, [lease.token, asked.input.token])
      const late = yield* start()
      assert.isTrue(Exit.isFailure(yield* Fiber.await(late)))
    }))

  it.effect("R15: a grant that is answered after the service has closed is given back once more", () =>
    Effect.gen(function*() {
      const { acquire, engine, leave, start } = yield* setup
      const fiber = yield* start()
      const asked = yield* acquire.next
      engine.close()
      const first = yield* leave.next
      // The server did not know the script of the acquire: the driver has sent it again, after the leave.
      first.reply([wasHeld])
      asked.reply(granted(107))
      assert.isTrue(Exit.isFailure(yield* Fiber.await(fiber)))
      assert.deepStrictEqual((yield* leave.next).input.map(({ token }) => token), [asked.input.token])
    }))
})
