/** What a singleton with `hold` asks of its store, one interleaving each. */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as TestClock from "effect/testing/TestClock"
import * as Options from "../../src/internal/options.js"
import * as Singleton from "../../src/internal/singleton.js"
import { granted, settleFibers, setup, ttlMillis } from "./handStore.js"

const hold = 4 * ttlMillis
const left = (was: "Holder" | "Unknown") => [{ _tag: "Left" as const, was }]
const heldFor = (remainingMillis: number) => [{ _tag: "Held" as const, remainingMillis, fence: 7 }]

/** A singleton that stands with `hold`, and what its job ends with. */
const standing = Effect.gen(function*() {
  const hands = yield* setup
  const defaults = Result.getOrThrow(Options.decode(undefined, ttlMillis))
  const ends = yield* Deferred.make<string>()
  let runs = 0
  const job = Effect.andThen(Effect.sync(() => runs++), Deferred.await(ends))
  const stand = (options: { readonly hold: number; readonly wait?: number }) =>
    Effect.forkChild(Singleton.run({ engine: hands.engine, realm: hands.store, defaults }, "k", job, options))
  return { ...hands, stand, ends, runs: () => runs }
})

/** Its job runs. */
const running = Effect.gen(function*() {
  const hands = yield* standing
  const fiber = yield* hands.stand({ hold })
  const asked = yield* hands.acquire.next
  asked.reply(granted(7))
  ;(yield* hands.refresh.next).reply(heldFor(hold))
  yield* settleFibers
  assert.strictEqual(hands.runs(), 1)
  return { ...hands, fiber, token: asked.input.token }
})

describe("a singleton with hold", () => {
  it.effect("has its key kept for all of it before its job starts, so nothing is asked at its end that could fail", () =>
    Effect.gen(function*() {
      const { acquire, refresh, runs, stand } = yield* standing
      yield* stand({ hold })
      ;(yield* acquire.next).reply(granted(7))
      const extension = yield* refresh.next
      assert.strictEqual(extension.input.items[0]?.ttlMillis, hold)
      assert.strictEqual(runs(), 0)
      extension.reply(heldFor(hold))
      yield* settleFibers
      assert.strictEqual(runs(), 1)
    }))

  it.effect("asks for nothing when its lease lasts that long anyway", () =>
    Effect.gen(function*() {
      const { acquire, refresh, runs, stand } = yield* standing
      yield* stand({ hold: ttlMillis / 2 })
      ;(yield* acquire.next).reply(granted(7))
      yield* settleFibers
      assert.deepStrictEqual([runs(), refresh.calls.length], [1, 0])
    }))

  for (const wait of [undefined, 0]) {
    it.effect(`gives its key back and does not start when it cannot be kept so long, and stands again if it waits: ${wait}`, () =>
      Effect.gen(function*() {
        const { acquire, leave, refresh, runs, stand } = yield* standing
        const fiber = yield* stand({ hold, ...(wait === undefined ? {} : { wait }) })
        const first = yield* acquire.next
        first.reply(granted(7))
        ;(yield* refresh.next).fail()
        const given = yield* leave.next
        assert.deepStrictEqual(given.input.map(({ keepMillis, token }) => [token, keepMillis]), [
          [first.input.token, undefined]
        ])
        given.reply(left("Holder"))
        yield* Effect.andThen(settleFibers, TestClock.adjust(1_000))
        if (wait === 0) assert.strictEqual((yield* Effect.flip(Fiber.join(fiber)))._tag, "BackendError")
        else assert.notStrictEqual((yield* acquire.next).input.token, first.input.token)
        assert.strictEqual(runs(), 0)
      }))
  }

  it.effect("leaves its key shut for the rest when its job ends, each attempt for what is left by then", () =>
    Effect.gen(function*() {
      const { ends, fiber, leave, token } = yield* running
      yield* TestClock.adjust(1_000)
      yield* Deferred.succeed(ends, "done")
      const first = yield* leave.next
      assert.deepStrictEqual(first.input, [{ target: first.input[0]!.target, token, keepMillis: hold - 1_000 }])
      first.fail()
      yield* Effect.andThen(settleFibers, TestClock.adjust(100))
      const second = yield* leave.next
      assert.strictEqual(second.input[0]?.keepMillis, hold - 1_100)
      second.reply(left("Holder"))
      assert.strictEqual(yield* Fiber.join(fiber), "done")
    }))

  it.effect("and has it settled when that is over: who waits has last heard of a lease that ends later", () =>
    Effect.gen(function*() {
      const { ends, leave, refresh } = yield* running
      yield* Deferred.succeed(ends, "done")
      const given = yield* leave.next
      given.reply(left("Holder"))
      yield* Effect.andThen(settleFibers, TestClock.adjust(hold))
      assert.strictEqual(refresh.calls.length, 0)
      yield* Effect.andThen(TestClock.adjust(1), settleFibers)
      assert.deepStrictEqual((yield* refresh.next).input.also, [given.input[0]!.target])
    }))

  it.effect("gives its key back when its job ends after that", () =>
    Effect.gen(function*() {
      const { ends, leave, refresh } = yield* running
      for (let at = 0; at < hold; at += ttlMillis / 3) {
        yield* TestClock.adjust(ttlMillis / 3)
        ;(yield* refresh.next).reply(heldFor(Math.max(ttlMillis, hold - at)))
        yield* settleFibers
      }
      yield* Deferred.succeed(ends, "done")
      assert.strictEqual((yield* leave.next).input[0]?.keepMillis, undefined)
    }))

  for (const when of ["while its job runs", "and its leave is on the way"]) {
    it.effect(`gives its key back when it is asked for ${when}`, () =>
      Effect.gen(function*() {
        const { ends, leave, send, token } = yield* running
        const ask = send({ _tag: "Asked", token, fence: 7 })
        if (when === "while its job runs") {
          yield* ask
        } else {
          // The server has told before it carried out the leave.
          yield* Deferred.succeed(ends, "done")
          ;(yield* leave.next).reply(left("Holder"))
          yield* Effect.andThen(settleFibers, ask)
        }
        const given = yield* leave.next
        assert.deepStrictEqual(given.input.map(({ keepMillis, token }) => [token, keepMillis]), [[token, undefined]])
        // Once is enough.
        yield* Effect.andThen(ask, settleFibers)
        assert.strictEqual(leave.calls.length, 0)
      }))
  }

  it.effect("leaves its key shut for the rest when its layer closes under its job", () =>
    Effect.gen(function*() {
      const { engine, fiber, leave, token } = yield* running
      engine.close()
      const given = yield* leave.next
      assert.deepStrictEqual(given.input.map(({ keepMillis, token }) => [token, keepMillis]), [[token, hold]])
      assert.isTrue(Exit.isFailure(yield* Fiber.await(fiber)))
    }))

  it.effect("and when it is interrupted", () =>
    Effect.gen(function*() {
      const { fiber, leave } = yield* running
      const interruption = yield* Effect.forkChild(Fiber.interrupt(fiber))
      const given = yield* leave.next
      assert.strictEqual(given.input[0]?.keepMillis, hold)
      given.reply(left("Holder"))
      yield* Fiber.join(interruption)
    }))
})
