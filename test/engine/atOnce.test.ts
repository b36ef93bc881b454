/**
 * Whoever is told of something may go on at once, on the stack of whoever tells it, as fibers of Effect 4 do: so every state
 * is whole before anybody is told. Here callbacks take the place of such fibers, on either edition.
 */
import * as TestEdition from "#test-edition"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import * as Flights from "./handFlights.js"
import { granted, settleFibers, setup, ttlMillis } from "./handStore.js"

const take = ({ acquire, start }: Effect.Success<typeof setup>, fence: number) =>
  Effect.gen(function*() {
    const fiber = yield* start()
    ;(yield* acquire.next).reply(granted(fence))
    return yield* Effect.orDie(Fiber.join(fiber))
  })

describe("who is told of a lease's end", () => {
  it.effect("is told after its leave was sent, so that what it asks for then comes after that", () =>
    Effect.gen(function*() {
      const hands = yield* setup
      const lease = yield* take(hands, 7)
      const sent: Array<number> = []
      hands.engine.onEnd(lease, () => sent.push(hands.leave.calls.length))
      yield* hands.send({ _tag: "Revoked", token: lease.token, fence: 7 })
      assert.deepStrictEqual(sent, [1])
    }))

  it.effect("may end another in that very moment: that one is not refreshed any more (R16)", () =>
    Effect.gen(function*() {
      const hands = yield* setup
      const [first, second] = [yield* take(hands, 7), yield* take(hands, 8)]
      // The second is due within the millisecond before the first is over: the alarm rings once for both.
      yield* TestClock.adjust(ttlMillis / 3)
      const renewals = yield* hands.refresh.next
      const held = (fence: number, remainingMillis: number) => ({ _tag: "Held" as const, remainingMillis, fence })
      renewals.reply([held(7, 3_032), held(8, 8_998)])
      yield* settleFibers
      hands.engine.onEnd(first, () => hands.engine.giveBack(second))
      yield* TestClock.adjust(ttlMillis)
      yield* settleFibers
      const refreshed = hands.refresh.calls.flatMap(({ input }) => input.items.map(({ token }) => token))
      assert.notInclude(refreshed, second.token)
      assert.strictEqual(second.state._tag, "Ended")
    }))
})

describe("who is told of a flight", () => {
  it.effect("may leave it in the first step of its job: the flight leads by then, and is not ended under its job (R31)", () =>
    Effect.gen(function*() {
      const { call, flights, join, leave, refresh } = yield* Flights.setup
      const cleaned = yield* Deferred.make<void>()
      const caller = yield* call({ cleanup: Deferred.await(cleaned) })
      const states: Array<string> = []
      yield* caller.onGo(() => {
        states.push(flights.open.get("id")?.state._tag ?? "none")
        return TestEdition.interruptFork(caller.fiber)
      })
      ;(yield* join.next).reply(Flights.leads())
      yield* settleFibers
      assert.deepStrictEqual(states, ["Leading"])
      assert.strictEqual(leave.calls.length, 0) // It asks whether anybody else waits, and is stopped only then.
      ;(yield* refresh.next).reply([Flights.leads()])
      yield* settleFibers
      assert.strictEqual(caller.interrupted(), 1)
      assert.strictEqual(leave.calls.length, 0, "its finalizers run")
      yield* Deferred.succeed(cleaned, undefined)
      yield* settleFibers
      assert.strictEqual(leave.calls.length, 1)
    }))

  it.effect("that it has failed is told after its leave was sent, so that whoever asks again comes after that", () =>
    Effect.gen(function*() {
      const { call, join, leave } = yield* Flights.setup
      const sent: Array<number> = []
      const caller = yield* call()
      caller.fiber.addObserver(() => sent.push(leave.calls.length))
      ;(yield* join.next).fail("Refused")
      yield* settleFibers
      assert.deepStrictEqual(sent, [1])
    }))
})
