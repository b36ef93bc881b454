/** The rules of docs/protocol.md for leases on several keys, one interleaving each. */
import * as TestEdition from "#test-edition"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as TestClock from "effect/testing/TestClock"
import type { LockAcquisitionError } from "../../src/DlockError.js"
import type { Request } from "../../src/internal/engine/engine.js"
import * as Multi from "../../src/internal/engine/multi.js"
import type { Claim, Target } from "../../src/internal/store.js"
import { commandTimeoutMillis, granted, settleFibers, setup, ttlMillis, waiting, wasHeld } from "./handStore.js"

const claim = (key: string, more?: Partial<Claim>): Claim => ({ kind: "lock", key, permits: 1, limit: 1, ...more })
const keysOf = (items: ReadonlyArray<{ readonly target: Target }>) => items.map((item) => item.target.key)
const heldFor = (remainingMillis: number) => ({ _tag: "Held" as const, remainingMillis, fence: 7 })

const refusedBy = (key: string) => ({
  _tag: "Refused" as const,
  blockers: [{ key, holder: { endsMillis: 1_000, fence: 3, metadata: "holder" } }] as const
})

const multi = Effect.map(setup, (hands) => ({
  ...hands,
  ask: (options: Partial<Request<ReadonlyArray<LockAcquisitionError>>>) =>
    Effect.forkChild(Effect.uninterruptibleMask((restore) =>
      Multi.acquire(hands.engine, {
        ...hands.request,
        claims: [claim("a"), claim("b"), claim("c")],
        refuse: (failed) => failed,
        ...options
      }, restore)
    ))
}))

describe("a lease on several keys", () => {
  const asked = Effect.flatMap(multi, ({ acquire, ask, ...hands }) =>
    Effect.gen(function*() {
      const fiber = yield* ask({})
      const request = yield* acquire.next
      assert.deepStrictEqual(request.input.claims.map(({ key }) => key), ["a", "b", "c"])
      assert.isFalse(request.input.wait)
      request.reply({ ...granted(7), fences: [7, 7, 7] })
      return { ...hands, lease: yield* Effect.orDie(Fiber.join(fiber)) }
    }))

  it.effect("is renewed with one item for each key, and lasts as long as the shortest", () =>
    Effect.gen(function*() {
      const { engine, lease, refresh } = yield* asked
      yield* TestClock.adjust(ttlMillis / 3)
      const renewal = yield* refresh.next
      assert.deepStrictEqual(keysOf(renewal.input.items), ["a", "b", "c"])
      renewal.reply([heldFor(ttlMillis), heldFor(ttlMillis * 0.9), heldFor(ttlMillis)])
      yield* settleFibers
      assert.isAtMost(yield* engine.remaining(lease), ttlMillis * 0.9)
    }))

  for (const answer of [{ _tag: "Gone" as const }, waiting()]) {
    it.effect(`is lost as a whole, and all of it given back, when one key is ${answer._tag}`, () =>
      Effect.gen(function*() {
        const { engine, lease, leave, refresh } = yield* asked
        yield* TestClock.adjust(ttlMillis / 3)
        const renewal = yield* refresh.next
        renewal.reply([heldFor(ttlMillis), answer, heldFor(ttlMillis)])
        const left = yield* leave.next
        assert.deepStrictEqual(keysOf(left.input), ["a", "b", "c"])
        assert.strictEqual((yield* Effect.flip(engine.remaining(lease))).reason, "Superseded")
      }))
  }

  it.effect("R13: is lost when one key is held under another fence: it was granted anew, and others had it in between", () =>
    Effect.gen(function*() {
      const { engine, lease, leave, refresh } = yield* asked
      yield* TestClock.adjust(ttlMillis / 3)
      ;(yield* refresh.next).reply([heldFor(ttlMillis), { ...heldFor(ttlMillis), fence: 8 }, heldFor(ttlMillis)])
      assert.deepStrictEqual(keysOf((yield* leave.next).input), ["a", "b", "c"])
      assert.strictEqual((yield* Effect.flip(engine.remaining(lease))).reason, "Superseded")
    }))

  it.effect("is released by one command", () =>
    Effect.gen(function*() {
      const { engine, lease, leave } = yield* asked
      const release = yield* Effect.forkChild(engine.release(lease))
      const left = yield* leave.next
      assert.deepStrictEqual(keysOf(left.input), ["a", "b", "c"])
      left.reply([wasHeld, wasHeld, wasHeld])
      yield* Fiber.join(release)
      assert.strictEqual(leave.calls.length, 0)
    }))
})

describe("a lease on several keys that is waited for", () => {
  const inTurn = Effect.flatMap(multi, ({ acquire, ask, ...hands }) =>
    Effect.gen(function*() {
      const fiber = yield* ask({ waits: true })
      const all = yield* acquire.next
      assert.isFalse(all.input.wait)
      all.reply(refusedBy("b"))
      const next = (key: string) =>
        Effect.map(acquire.next, (request) => {
          assert.deepStrictEqual(request.input.claims.map((_) => _.key), [key])
          assert.isTrue(request.input.wait)
          return request
        })
      return { ...hands, acquire, fiber, next }
    }))

  it.effect("is asked for at once first, and then key by key in order", () =>
    Effect.gen(function*() {
      const { engine, fiber, leave, next, refresh, send } = yield* inTurn
      const a = yield* next("a")
      a.reply(granted(7))
      const b = yield* next("b")
      b.reply(waiting({ lastFence: 100 }))
      yield* settleFibers
      yield* send({ _tag: "Granted", token: b.input.token, fence: 101 })
      const c = yield* next("c")
      c.reply(granted(8))
      const lease = yield* Effect.orDie(Fiber.join(fiber))
      assert(lease.state._tag === "Held")
      assert.deepStrictEqual(lease.state.fences, [7, 101, 8])
      // From here on it is one: renewed in one batch, by the tokens that got it.
      yield* TestClock.adjust(ttlMillis / 3)
      const renewal = yield* refresh.next
      assert.deepStrictEqual(
        renewal.input.items.map(({ target, token }) => [target.key, token]),
        [["a", a.input.token], ["b", b.input.token], ["c", c.input.token]]
      )
      // And lost as one, by a message for any of its tokens.
      yield* send({ _tag: "Revoked", token: b.input.token, fence: 101 })
      const left = yield* leave.next
      assert.deepStrictEqual(keysOf(left.input), ["a", "b", "c"])
      assert.strictEqual((yield* Effect.flip(engine.remaining(lease))).reason, "Revoked")
    }))

  it.effect("lasts for as long as the key that was had first", () =>
    Effect.gen(function*() {
      const { engine, fiber, next } = yield* inTurn
      ;(yield* next("a")).reply(granted(7))
      const b = yield* next("b")
      yield* TestClock.adjust(1_000)
      b.reply(granted(7))
      const c = yield* next("c")
      yield* TestClock.adjust(1_000)
      c.reply(granted(7))
      const lease = yield* Effect.orDie(Fiber.join(fiber))
      assert.isAtMost(yield* engine.remaining(lease), ttlMillis - 2_000)
    }))

  it.effect("R43: is counted on for no longer than was asked for each key, and ends when a newer answer says so", () =>
    Effect.gen(function*() {
      const { engine, fiber, next, refresh } = yield* inTurn
      const a = yield* next("a")
      a.reply(granted(7, ttlMillis + 25_000))
      ;(yield* next("b")).reply(granted(7))
      ;(yield* next("c")).reply(granted(7))
      const lease = yield* Effect.orDie(Fiber.join(fiber))
      assert.isBelow(yield* engine.remaining(lease), ttlMillis)
      yield* TestClock.adjust(ttlMillis / 3)
      ;(yield* refresh.next).reply([heldFor(ttlMillis), heldFor(ttlMillis + 25_000), heldFor(1_000)])
      yield* settleFibers
      assert.isBelow(yield* engine.remaining(lease), 1_000)
    }))

  it.effect("is lost as unreachable when the renewal of one key had failed before all were had", () =>
    Effect.gen(function*() {
      const { engine, fiber, next, refresh, send } = yield* inTurn
      ;(yield* next("a")).reply(granted(7))
      const b = yield* next("b")
      yield* TestClock.adjust(ttlMillis / 3)
      ;(yield* refresh.next).fail()
      yield* settleFibers
      yield* TestClock.adjust(ttlMillis / 10)
      const again = yield* refresh.next
      assert.deepStrictEqual(keysOf(again.input.items), ["a"])
      b.reply(waiting({ lastFence: 100 })) // At once, as it was asked for long ago.
      ;(yield* refresh.next).reply([waiting({ lastFence: 100 })])
      yield* TestClock.adjust(ttlMillis / 3)
      ;(yield* refresh.next).reply([waiting({ lastFence: 100 })])
      yield* TestClock.adjust(1_300)
      again.fail()
      yield* settleFibers
      yield* send({ _tag: "Granted", token: b.input.token, fence: 101 })
      ;(yield* next("c")).reply(granted(7))
      const lease = yield* Effect.orDie(Fiber.join(fiber))
      // The end of what a had comes before the next try.
      yield* TestClock.adjust(ttlMillis / 10 - 1)
      yield* settleFibers
      assert.strictEqual(refresh.calls.length, 0)
      assert.strictEqual((yield* Effect.flip(engine.remaining(lease))).reason, "Unreachable")
    }))

  it.effect("starts again when a key was lost on the way, and gives back the others (R20)", () =>
    Effect.gen(function*() {
      const { acquire, leave, next, refresh } = yield* inTurn
      const a = yield* next("a")
      a.reply(granted(7))
      const b = yield* next("b")
      b.reply(waiting({ lastFence: 100, remainingMillis: ttlMillis }))
      yield* TestClock.adjust(ttlMillis / 3)
      const renewal = yield* refresh.next
      renewal.reply(
        renewal.input.items.map(({ target }) => target.key === "a" ? { _tag: "Gone" as const } : heldFor(ttlMillis))
      )
      // What was lost is left in the background.
      assert.deepStrictEqual(keysOf((yield* leave.next).input), ["a"])
      const c = yield* next("c")
      c.reply(granted(8))
      const given = [yield* leave.next, yield* leave.next]
      assert.sameMembers(given.flatMap(({ input }) => keysOf(input)), ["b", "c"])
      for (const left of given) left.reply([wasHeld])
      const again = yield* acquire.next
      assert.deepStrictEqual(again.input.claims.map(({ key }) => key), ["a", "b", "c"])
      assert.notInclude([a.input.token, b.input.token, c.input.token], again.input.token)
    }))

  it.effect("gives back what it has when it is interrupted, and a silent store holds nobody up", () =>
    Effect.gen(function*() {
      const { fiber, leave, next } = yield* inTurn
      const a = yield* next("a")
      a.reply(granted(7))
      const b = yield* next("b")
      b.reply(waiting())
      yield* settleFibers
      assert.isTrue(Exit.hasInterrupts(yield* TestEdition.interrupted(fiber)))
      assert.sameMembers(leave.calls.flatMap(({ input }) => keysOf(input)), ["a", "b"])
    }))

  it.effect("so does a wait that is over", () =>
    Effect.gen(function*() {
      const { acquire, ask, leave } = yield* multi
      const fiber = yield* ask({ waits: true, waitMillis: 1_000 })
      ;(yield* acquire.next).reply(refusedBy("b"))
      ;(yield* acquire.next).reply(granted(7))
      ;(yield* acquire.next).reply(waiting())
      yield* TestClock.adjust(1_000)
      assert.isTrue(Exit.isFailure(yield* Fiber.await(fiber)))
      yield* settleFibers
      assert.sameMembers(leave.calls.flatMap(({ input }) => keysOf(input)), ["a", "b"])
    }))

  it.effect("awaits each first answer for as long as the store takes, however short its wait is", () =>
    Effect.gen(function*() {
      const { acquire, ask, leave } = yield* multi
      const free = yield* ask({ waits: true, waitMillis: 1 })
      const asked = yield* acquire.next
      yield* TestClock.adjust(1_000)
      asked.reply({ ...granted(7), fences: [7, 7, 7] })
      assert.strictEqual((yield* Effect.orDie(Fiber.join(free))).state._tag, "Held")
      const unanswered = yield* ask({ waits: true, waitMillis: 1 })
      const second = yield* acquire.next
      yield* TestClock.adjust(1_000)
      second.fail()
      const error = yield* Effect.flip(Fiber.join(unanswered))
      assert(!Array.isArray(error))
      assert.strictEqual((error as { readonly _tag: string })._tag, "BackendError")
      yield* leave.next
    }))

  it.effect("fails with Timeout for every key that is held, when its wait was over before the store said so", () =>
    Effect.gen(function*() {
      const { acquire, ask } = yield* multi
      const fiber = yield* ask({ waits: true, waitMillis: 1 })
      const asked = yield* acquire.next
      yield* TestClock.adjust(1_000)
      const holder = { endsMillis: 1_000, fence: 3, metadata: "holder" }
      asked.reply({ _tag: "Refused", blockers: [{ key: "b", holder }, { key: "c", holder }] })
      const failed = yield* Effect.flip(Fiber.join(fiber))
      assert(Array.isArray(failed))
      assert.deepStrictEqual(failed.map(({ key, reason }) => [key, reason]), [["b", "Timeout"], ["c", "Timeout"]])
      yield* settleFibers
      assert.strictEqual(acquire.calls.length, 0)
    }))

  it.effect("whose keys are lost before the last is had, each time and never renewed, fails after commandTimeout", () =>
    Effect.gen(function*() {
      const { acquire, ask } = yield* multi
      const terms = { ttlMillis: 300, renew: true, maxHoldMillis: Infinity, metadata: "", onHolder: undefined }
      const fiber = yield* ask({ waits: true, terms })
      let passes = 0
      for (let at = 0; at < 10_000; at += 200) {
        yield* Effect.andThen(settleFibers, TestClock.adjust(200))
        for (const { input, reply } of acquire.calls.splice(0)) {
          if (!input.wait) passes++
          reply(input.wait ? granted(7, 300) : refusedBy("b"))
        }
      }
      assert.isTrue(Option.isSome(yield* TestEdition.poll(fiber)))
      const error = yield* Effect.flip(Fiber.join(fiber))
      assert(!Array.isArray(error))
      assert.include(String(error), "`ttl` (300ms) is shorter than taking 3 keys one after the other (600ms)")
      // A pass takes four answers.
      assert.strictEqual(passes, 1 + Math.ceil(commandTimeoutMillis / 800))
    }))

  it.effect("without renewal it lasts for a whole ttl from when all are had: it is extended once", () =>
    Effect.gen(function*() {
      const { acquire, ask, engine, refresh, request, send } = yield* multi
      const fiber = yield* ask({ waits: true, terms: { ...request.terms, renew: false } })
      ;(yield* acquire.next).reply(refusedBy("b"))
      ;(yield* acquire.next).reply(granted(7))
      const b = yield* acquire.next
      b.reply(waiting({ lastFence: 100 }))
      yield* settleFibers
      yield* TestClock.adjust(ttlMillis / 4)
      yield* send({ _tag: "Granted", token: b.input.token, fence: 101 })
      ;(yield* acquire.next).reply(granted(8))
      const extension = yield* refresh.next
      assert.deepStrictEqual(extension.input.items.map((item) => item.ttlMillis), [ttlMillis, ttlMillis, ttlMillis])
      extension.reply([7, 101, 8].map((fence) => ({ ...heldFor(ttlMillis), fence })))
      const lease = yield* Effect.orDie(Fiber.join(fiber))
      assert.isAbove(yield* engine.remaining(lease), ttlMillis * 0.95)
    }))

  it.effect("and given back, to be asked for again, when somebody has asked for it by then", () =>
    Effect.gen(function*() {
      const { acquire, ask, leave, request, send } = yield* multi
      yield* ask({ waits: true, terms: { ...request.terms, renew: false } })
      ;(yield* acquire.next).reply(refusedBy("b"))
      const a = yield* acquire.next
      a.reply(granted(7))
      ;(yield* acquire.next).reply(granted(8))
      const c = yield* acquire.next
      yield* send({ _tag: "Asked", token: a.input.token, fence: 7 })
      c.reply(granted(9))
      const again = yield* acquire.next
      assert.deepStrictEqual(again.input.claims.map(({ key }) => key), ["a", "b", "c"])
      assert.deepStrictEqual(keysOf((yield* leave.next).input), ["a", "b", "c"])
    }))

  it.effect("has one limit of time for all its keys", () =>
    Effect.gen(function*() {
      const { acquire, ask, leave } = yield* multi
      const fiber = yield* ask({ waits: true, waitMillis: 1_000 })
      const all = yield* acquire.next
      all.reply(refusedBy("a"))
      yield* TestClock.adjust(600)
      const a = yield* acquire.next
      a.reply(granted(7))
      const b = yield* acquire.next
      b.reply(waiting({ holder: { endsMillis: 5_000, fence: 3, metadata: "holder" } }))
      yield* settleFibers
      yield* TestClock.adjust(400)
      const given = [yield* leave.next, yield* leave.next]
      for (const left of given) left.reply([wasHeld])
      const failed = yield* Effect.flip(Fiber.join(fiber))
      assert(Array.isArray(failed))
      assert.deepInclude({ ...failed[0] }, { key: "b", reason: "Timeout", holder: "holder" })
    }))
})

describe("leases on several keys", () => {
  it.effect("go in batches of at most 256 items", () =>
    Effect.gen(function*() {
      const { acquire, ask, refresh } = yield* multi
      for (let i = 0; i < 100; i++) {
        const fiber = yield* ask({ claims: Array.from({ length: 7 }, (_, n) => claim(`${i}.${n}`)) })
        const request = yield* acquire.next
        request.reply(granted(7))
        yield* Effect.orDie(Fiber.join(fiber))
      }
      yield* TestClock.adjust(ttlMillis / 3)
      let items = 0
      for (let batches = 0; batches < Math.ceil(700 / 252); batches++) {
        const renewal = yield* refresh.next
        assert.isAtMost(renewal.input.items.length, 256)
        items += renewal.input.items.length
        renewal.reply(renewal.input.items.map(() => heldFor(ttlMillis)))
        yield* TestClock.adjust(2)
      }
      assert.strictEqual(items, 700)
      yield* settleFibers
      assert.strictEqual(refresh.calls.length, 0)
    }))
})

describe("processes that disagree about a limit", () => {
  it.effect("are told of in the log once a key, with both numbers", () => {
    const messages: Array<unknown> = []
    const theirs = { kind: "semaphore", key: "s", permits: 1, limit: 4 } as const
    return Effect.gen(function*() {
      const { engine } = yield* multi
      const formerLimits = [{ claim: theirs, limit: 5 }]
      engine.limits.warn(formerLimits)
      engine.limits.warn(formerLimits)
      engine.limits.warn([{ claim: { ...theirs, key: "t" }, limit: 5 }])
      yield* settleFibers
      assert.strictEqual(messages.length, 2)
      assert.match(String(messages[0]), /"s" is used with 4 permits here and with 5 elsewhere/)
      assert.match(String(messages[1]), /"t"/)
    }).pipe(TestEdition.loggedTo(({ message }) => void messages.push(message)))
  })
})
