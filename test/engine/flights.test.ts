/** The rules of docs/protocol.md that the flight engine upholds, one interleaving each. */
import * as TestEdition from "#test-edition"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import { Deadline } from "../../src/internal/engine/deadline.js"
import * as Fanout from "../../src/internal/fanout.js"
import { commandTimeoutMillis, follows, isWaiting, leads, outcome, payloadOf, setup, ttlMillis } from "./handFlights.js"
import { settleFibers } from "./handStore.js"

const drift = (millis: number) => millis * 0.01 + 2

/** `a` has followed, and is told that the outcome is too large to be sent. */
const fetching = Effect.gen(function*() {
  const hands = yield* setup
  const a = yield* hands.call()
  const first = yield* hands.join.next
  first.reply(follows())
  yield* settleFibers
  yield* hands.send({ _tag: "Stored", token: first.input.token, finishedAt: 0 })
  return { ...hands, a, first }
})

describe("a flight that is led", () => {
  it.effect("R32: gives its callers the outcome when the store has been told, so who calls after them finds no flight", () =>
    Effect.gen(function*() {
      const { call, finish, join } = yield* setup
      const a = yield* call()
      const asked = yield* join.next
      asked.reply(leads())
      yield* settleFibers
      yield* a.end("x")
      const told = yield* finish.next
      assert.deepInclude(told.input, { id: "id", token: asked.input.token, payload: "x" })
      assert.isTrue(yield* isWaiting(a.fiber))
      told.reply(true)
      assert.strictEqual(yield* payloadOf(a.fiber), "x")
    }))

  it.effect("R33: gives its callers the outcome at once when the store cannot be told, or when the service closes", () =>
    Effect.gen(function*() {
      const { call, finish, flights, join } = yield* setup
      const a = yield* call()
      ;(yield* join.next).reply(leads())
      yield* settleFibers
      yield* a.end("x")
      ;(yield* finish.next).fail()
      assert.strictEqual(yield* payloadOf(a.fiber), "x")
      const b = yield* call()
      ;(yield* join.next).reply(leads())
      yield* settleFibers
      yield* b.end("y")
      yield* flights.close
      assert.strictEqual(yield* payloadOf(b.fiber), "y")
    }))

  it.effect("R32: takes no new callers from the moment its job has ended, before finish is answered", () =>
    Effect.gen(function*() {
      const { call, finish, join } = yield* setup
      const a = yield* call()
      const first = yield* join.next
      first.reply(leads())
      yield* settleFibers
      yield* a.end("x")
      yield* finish.next
      const b = yield* call()
      const second = yield* join.next
      assert.notStrictEqual(second.input.token, first.input.token)
      assert.isTrue(yield* isWaiting(b.fiber))
    }))

  it.effect("R33: whatever finish is answered, the callers have the outcome of a job that ended in time", () =>
    Effect.gen(function*() {
      for (const answer of [true, false]) {
        const { call, finish, join } = yield* setup
        const a = yield* call()
        ;(yield* join.next).reply(leads())
        yield* settleFibers
        yield* a.end("x")
        const asked = yield* finish.next
        asked.reply(answer)
        yield* settleFibers
        assert.strictEqual(yield* payloadOf(a.fiber), "x")
        assert.strictEqual(join.calls.length, 0)
      }
    }))

  it.effect("R39: its outcome stays for a ttl and commandTimeout at least, or for the retention if that is longer", () =>
    Effect.gen(function*() {
      const { finish, flights, join } = yield* setup
      const least = ttlMillis + commandTimeoutMillis
      for (const [retentionMillis, stays] of [[1, least], [least + 1, least + 1]] as const) {
        const { fanout } = Fanout.make(flights, {
          ttlMillis,
          commandTimeoutMillis,
          retentionMillis,
          maxPayloadBytes: 1_000
        })
        const fiber = yield* Effect.forkChild(fanout("id", Effect.succeed(1)))
        ;(yield* join.next).reply(leads())
        const asked = yield* finish.next
        asked.reply(true)
        assert.strictEqual(yield* Fiber.join(fiber), 1)
        assert.strictEqual(asked.input.retentionMillis, stays)
      }
    }))

  it.effect("R33: finish is repeated until it is answered, or its time is over", () =>
    Effect.gen(function*() {
      const { call, finish, join } = yield* setup
      const a = yield* call()
      ;(yield* join.next).reply(leads())
      yield* settleFibers
      yield* a.end("x")
      for (let i = 0; i < 3; i++) {
        const asked = yield* finish.next
        asked.fail()
        yield* TestClock.adjust("2 seconds")
      }
      const last = yield* finish.next
      last.reply(true)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(finish.calls.length, 0)
    }))

  it.effect("R33: does not wait for a store that is away while callers wait for the outcome; those who follow are worth it", () =>
    Effect.gen(function*() {
      const { call, finish, join } = yield* setup
      const a = yield* call()
      ;(yield* join.next).reply(leads())
      yield* settleFibers
      yield* a.end("x")
      const first = yield* finish.next
      assert.isFalse(first.input.patient)
      first.fail()
      assert.strictEqual(yield* payloadOf(a.fiber), "x")
      yield* TestClock.adjust("1 second")
      assert.isTrue((yield* finish.next).input.patient)
    }))

  it.effect("R38: a refused finish is followed by refuse, and the leader's callers have their outcome all the same", () =>
    Effect.gen(function*() {
      const { call, finish, join, refuse } = yield* setup
      const a = yield* call()
      ;(yield* join.next).reply(leads())
      yield* settleFibers
      yield* a.end("x")
      ;(yield* finish.next).fail("Refused")
      ;(yield* refuse.next).reply(undefined)
      assert.strictEqual(yield* payloadOf(a.fiber), "x")
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(finish.calls.length, 0)
    }))

  it.effect("is renewed every third of its lease, counted from when the answered command was sent (R5)", () =>
    Effect.gen(function*() {
      const { call, flights, join, refresh } = yield* setup
      const a = yield* call()
      const asked = yield* join.next
      yield* TestClock.adjust(1_000)
      asked.reply(leads())
      yield* settleFibers
      yield* TestClock.adjust(1_999)
      assert.strictEqual(refresh.calls.length, 0)
      yield* TestClock.adjust(2)
      const renewal = yield* refresh.next
      assert.deepStrictEqual(renewal.input, [{ id: "id", token: asked.input.token, ttlMillis }])
      const [flight] = flights.live
      assert(flight?.state._tag === "Leading")
      assert.approximately(flight.state.deadline.at, ttlMillis - drift(ttlMillis), 1)
      assert.strictEqual(a.started(), 1)
    }))

  it.effect("R43: is counted on for no longer than was asked for, and ends when a newer answer says so", () =>
    Effect.gen(function*() {
      const { call, flights, join, refresh } = yield* setup
      const a = yield* call()
      ;(yield* join.next).reply(leads(0, ttlMillis + 25_000))
      yield* settleFibers
      const [flight] = flights.live
      assert(flight?.state._tag === "Leading")
      assert.approximately(flight.state.deadline.at, ttlMillis - drift(ttlMillis), 1)
      // Its server's clock went back, then ahead by as much, and once more.
      for (const [remaining, left] of [[ttlMillis + 25_000, ttlMillis], [1_000, 1_000]] as const) {
        yield* TestClock.adjust(ttlMillis / 3)
        const sentAt = flights.keeper.now()
        ;(yield* refresh.next).reply([leads(0, remaining)])
        yield* settleFibers
        assert.approximately(flight.state.deadline.at, sentAt + left - drift(left), 1)
      }
      yield* TestClock.adjust(1_000)
      yield* settleFibers
      assert.strictEqual(a.interrupted(), 1)
    }))

  it.effect("is lost at its own deadline when the store is silent: its job ends before its callers join again (R37)", () =>
    Effect.gen(function*() {
      const { call, join, refresh } = yield* setup
      const cleaned = yield* Deferred.make<void>()
      const a = yield* call({ cleanup: Deferred.await(cleaned) })
      const asked = yield* join.next
      asked.reply(leads())
      yield* settleFibers
      yield* TestClock.adjust(ttlMillis - drift(ttlMillis) - 5)
      assert.strictEqual(a.interrupted(), 0)
      assert.isAbove(refresh.calls.length, 0)
      yield* TestClock.adjust(10)
      yield* settleFibers
      assert.strictEqual(a.interrupted(), 1)
      assert.strictEqual(join.calls.length, 0)
      yield* Deferred.succeed(cleaned, undefined)
      const again = yield* join.next
      assert.notStrictEqual(again.input.token, asked.input.token)
      assert.strictEqual(again.input.gaveUp, asked.input.token)
      again.reply(follows())
      yield* settleFibers
      assert.strictEqual(a.started(), 1)
      assert.isTrue(yield* isWaiting(a.fiber))
    }))

  it.effect("is lost when the store does not know it, but not by an answer that is older than itself (R13)", () =>
    Effect.gen(function*() {
      const { call, join, refresh, send } = yield* setup
      const a = yield* call()
      const asked = yield* join.next
      asked.reply(follows())
      yield* settleFibers
      yield* send({ _tag: "Moved", token: asked.input.token })
      const older = yield* refresh.next
      yield* TestClock.adjust(1)
      yield* send({ _tag: "Moved", token: asked.input.token })
      const newer = yield* refresh.next
      yield* TestClock.adjust(1)
      newer.reply([leads()])
      yield* settleFibers
      older.reply([follows()])
      yield* settleFibers
      assert.strictEqual(a.started(), 1)
      assert.strictEqual(a.interrupted(), 0)
      yield* TestClock.adjust(ttlMillis / 3)
      const renewal = yield* refresh.next
      renewal.reply([{ _tag: "Gone" }])
      yield* settleFibers
      assert.strictEqual(a.interrupted(), 1)
      yield* join.next
    }))

  it.effect("R33: a job that ended after the deadline counts if the store accepts it, and else its callers join again", () =>
    Effect.gen(function*() {
      for (const accepted of [true, false]) {
        const { call, finish, flights, join } = yield* setup
        const a = yield* call()
        const asked = yield* join.next
        asked.reply(leads())
        yield* settleFibers
        // The event loop was blocked until after the deadline, and the job's end comes before the alarm.
        const [flight] = flights.live
        assert(flight?.state._tag === "Leading")
        flight.state = { ...flight.state, deadline: new Deadline() }
        yield* a.end("late")
        assert.isTrue(yield* isWaiting(a.fiber))
        ;(yield* finish.next).reply(accepted)
        yield* settleFibers
        if (accepted) assert.strictEqual(yield* payloadOf(a.fiber), "late")
        else yield* join.next
      }
    }))

  it.effect("R31: callers of a job that ended too late are in the flight that is open by then, and start no other", () =>
    Effect.gen(function*() {
      const { call, finish, flights, join } = yield* setup
      const a = yield* call()
      ;(yield* join.next).reply(leads())
      yield* settleFibers
      const [flight] = flights.live
      assert(flight?.state._tag === "Leading")
      flight.state = { ...flight.state, deadline: new Deadline() }
      yield* a.end("late")
      const b = yield* call()
      const second = yield* join.next
      ;(yield* finish.next).reply(false)
      yield* settleFibers
      assert.strictEqual(join.calls.length, 0)
      second.reply(leads())
      yield* settleFibers
      yield* b.finish("next")
      assert.deepStrictEqual([yield* payloadOf(a.fiber), yield* payloadOf(b.fiber)], ["next", "next"])
      assert.deepStrictEqual([a.started(), b.started()], [1, 1])
    }))

  it.effect("R35: a leader without callers asks at once, goes on while others follow, and stops when none does", () =>
    Effect.gen(function*() {
      const { call, join, leave, refresh } = yield* setup
      const a = yield* call()
      const asked = yield* join.next
      asked.reply(leads())
      yield* settleFibers
      yield* Fiber.interrupt(a.fiber)
      const first = yield* refresh.next
      first.reply([leads(1)])
      yield* settleFibers
      assert.strictEqual(a.interrupted(), 0)
      yield* TestClock.adjust(ttlMillis / 3)
      const second = yield* refresh.next
      second.reply([leads(0)])
      yield* settleFibers
      assert.strictEqual(a.interrupted(), 1)
      assert.deepStrictEqual((yield* leave.next).input, { id: "id", token: asked.input.token })
    }))

  it.effect("R35: a caller that comes while it asks keeps the job going", () =>
    Effect.gen(function*() {
      const { call, join, refresh } = yield* setup
      const a = yield* call()
      ;(yield* join.next).reply(leads())
      yield* settleFibers
      yield* Fiber.interrupt(a.fiber)
      const question = yield* refresh.next
      const b = yield* call()
      question.reply([leads(0)])
      yield* settleFibers
      assert.strictEqual(a.interrupted(), 0)
      yield* a.finish("x")
      assert.strictEqual(yield* payloadOf(b.fiber), "x")
      assert.strictEqual(b.started(), 0)
    }))

  it.effect("R31: a job that is stopped is renewed until it has ended, and only then left; who comes meanwhile starts the next", () =>
    Effect.gen(function*() {
      const { call, join, leave, refresh } = yield* setup
      const cleaned = yield* Deferred.make<void>()
      const a = yield* call({ cleanup: Deferred.await(cleaned) })
      const first = yield* join.next
      first.reply(leads())
      yield* settleFibers
      yield* Fiber.interrupt(a.fiber)
      ;(yield* refresh.next).reply([leads(0)])
      yield* settleFibers
      assert.strictEqual(a.interrupted(), 1)
      const b = yield* call()
      for (let i = 0; i < 5; i++) {
        yield* TestClock.adjust(ttlMillis / 3)
        ;(yield* refresh.next).reply([leads(0)])
        yield* settleFibers
      }
      assert.strictEqual(leave.calls.length + join.calls.length, 0)
      yield* Deferred.succeed(cleaned, undefined)
      const second = yield* join.next
      assert.strictEqual(second.input.gaveUp, first.input.token)
      second.reply(leads())
      yield* settleFibers
      yield* b.finish("next")
      assert.strictEqual(yield* payloadOf(b.fiber), "next")
    }))

  it.effect("of a push that is interrupted as it comes to lead is abandoned: others may follow, and nobody could complete it", () =>
    Effect.gen(function*() {
      const { finish, flights, join } = yield* setup
      const { push } = Fanout.make(flights, {
        ttlMillis,
        commandTimeoutMillis,
        retentionMillis: 1,
        maxPayloadBytes: 1_000
      })
      const fiber = yield* Effect.forkChild(Effect.scoped(push("id", () => Effect.void)))
      const asked = yield* join.next
      asked.reply(leads())
      // In the same turn: the answer starts the job, and the caller is not told any more.
      yield* TestEdition.interruptFork(fiber)
      yield* settleFibers
      assert.include((yield* finish.next).input.payload, "Abandoned")
    }))

  it.effect("R32: of a push that was completed while it had lost its lease lands with nobody who came after that", () =>
    Effect.gen(function*() {
      const { call, finish, flights, join, refresh } = yield* setup
      const { push } = Fanout.make(flights, {
        ttlMillis,
        commandTimeoutMillis,
        retentionMillis: 1,
        maxPayloadBytes: 1_000
      })
      const told: Array<unknown> = []
      const fiber = yield* Effect.forkChild(push("id", (exit) => Effect.sync(() => told.push(exit))))
      ;(yield* join.next).reply(leads())
      const { complete } = yield* Fiber.join(fiber)
      yield* TestClock.adjust(ttlMillis / 3)
      ;(yield* refresh.next).reply([{ _tag: "Gone" }])
      const again = yield* join.next
      yield* TestClock.adjust(1)
      yield* complete(Exit.succeed(1))
      yield* TestClock.adjust(1)
      const late = yield* call()
      again.reply(leads())
      yield* settleFibers
      const finished = yield* finish.next
      assert.strictEqual(finished.input.payload, "[\"success\",1]")
      finished.reply(true)
      yield* settleFibers
      assert.deepStrictEqual(told, [Exit.succeed(1)])
      assert.isTrue(yield* isWaiting(late.fiber))
      ;(yield* join.next).reply(leads())
      yield* settleFibers
      yield* late.finish("its own")
      assert.strictEqual(yield* payloadOf(late.fiber), "its own")
    }).pipe(Effect.scoped))

  it.effect("R37: a join while a finish has no answer names that token", () =>
    Effect.gen(function*() {
      const { call, finish, join } = yield* setup
      const a = yield* call()
      const first = yield* join.next
      first.reply(leads())
      yield* settleFibers
      yield* a.end("x")
      const finishing = yield* finish.next
      yield* call()
      assert.strictEqual((yield* join.next).input.gaveUp, first.input.token)
      finishing.reply(true)
    }))
})

describe("a flight that is followed", () => {
  it.effect("R30: an outcome that overtakes the answer to the join counts, and the answer does not undo it", () =>
    Effect.gen(function*() {
      const { call, join, leave, refresh, send } = yield* setup
      const a = yield* call()
      const asked = yield* join.next
      yield* send({ ...outcome("x"), token: asked.input.token })
      assert.strictEqual(yield* payloadOf(a.fiber), "x")
      asked.reply(follows())
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(refresh.calls.length + leave.calls.length, 0)
    }))

  it.effect("R43: is read every third of its ttl, and followed on, when the server's clock went back", () =>
    Effect.gen(function*() {
      const { call, join, refresh } = yield* setup
      const a = yield* call()
      ;(yield* join.next).reply(follows(ttlMillis + 25_000, ttlMillis + 25_000))
      for (let i = 0; i < 5; i++) {
        yield* Effect.andThen(settleFibers, TestClock.adjust(ttlMillis / 3))
        ;(yield* refresh.next).reply([follows(ttlMillis + 25_000, ttlMillis + 25_000)])
      }
      yield* settleFibers
      assert.isTrue(yield* isWaiting(a.fiber))
    }))

  it.effect("R30: so does a moved: the flight is read again at once", () =>
    Effect.gen(function*() {
      const { call, join, refresh, send } = yield* setup
      const a = yield* call()
      const asked = yield* join.next
      yield* send({ _tag: "Moved", token: asked.input.token })
      asked.reply(follows())
      const again = yield* refresh.next
      again.reply([leads()])
      yield* settleFibers
      assert.strictEqual(a.started(), 1)
    }))

  it.effect("R32: a caller that comes after the end elsewhere, but before the message, is in the next flight", () =>
    Effect.gen(function*() {
      const { call, join, send } = yield* setup
      const early = yield* call()
      const asked = yield* join.next
      asked.reply(follows())
      yield* TestClock.adjust(1_000)
      const before = yield* call()
      yield* TestClock.adjust(500)
      // It ends on the server at 1,200 by its clock, which nobody here knows yet.
      const after = yield* call()
      yield* send({ ...outcome("x", 1_200), token: asked.input.token })
      assert.strictEqual(yield* payloadOf(early.fiber), "x")
      assert.strictEqual(yield* payloadOf(before.fiber), "x")
      assert.isTrue(yield* isWaiting(after.fiber))
      const next = yield* join.next
      next.reply(leads())
      yield* settleFibers
      yield* after.finish("y")
      assert.strictEqual(yield* payloadOf(after.fiber), "y")
    }))

  for (const [how, finishedAt] of [["ahead", 1_200 + 5_000], ["back", 1_200]] as const) {
    it.effect(`R32: who comes after the end is in the next flight, when the server's clock steps and the message is late: ${how}`, () =>
      Effect.gen(function*() {
        const { call, clock, join, send } = yield* setup
        const early = yield* call()
        const asked = yield* join.next
        asked.reply(follows())
        yield* TestClock.adjust(1_200)
        // It ends on the server. What is known of its clock here was learned before it stepped ahead, or after it stepped back.
        if (how === "back") clock.serverIsAhead(-5_000)
        yield* TestClock.adjust(200)
        const after = yield* call()
        yield* TestClock.adjust(100)
        yield* send({ ...outcome("x", finishedAt), token: asked.input.token })
        assert.strictEqual(yield* payloadOf(early.fiber), "x")
        assert.isTrue(yield* isWaiting(after.fiber))
        yield* join.next
      }))
  }

  it.effect("R32: an answer that found it under way proves that those who came before were in time", () =>
    Effect.gen(function*() {
      const { call, join, refresh, send } = yield* setup
      yield* call()
      const asked = yield* join.next
      asked.reply(follows())
      yield* TestClock.adjust(2_000)
      const b = yield* call()
      yield* TestClock.adjust(1_000)
      ;(yield* refresh.next).reply([follows()])
      yield* settleFibers
      // By a server's clock that looks far behind.
      yield* send({ ...outcome("x", -1_000), token: asked.input.token })
      assert.strictEqual(yield* payloadOf(b.fiber), "x")
    }))

  it.effect("R37: is read again when the leader's lease should be over, counted from when its answer was asked for", () =>
    Effect.gen(function*() {
      const { call, join, refresh } = yield* setup
      yield* call()
      const asked = yield* join.next
      yield* TestClock.adjust(300)
      asked.reply(follows(1_000))
      yield* settleFibers
      yield* TestClock.adjust(700)
      assert.strictEqual(refresh.calls.length, 0)
      yield* TestClock.adjust(2)
      yield* settleFibers
      assert.strictEqual(refresh.calls.length, 1)
    }))

  it.effect("R34: takes over with its own job when the store says so; the first caller that is left runs it", () =>
    Effect.gen(function*() {
      const { call, finish, join, refresh, send } = yield* setup
      const gone = yield* call()
      const asked = yield* join.next
      asked.reply(follows())
      yield* settleFibers
      const b = yield* call()
      const c = yield* call()
      yield* Fiber.interrupt(gone.fiber)
      yield* send({ _tag: "Moved", token: asked.input.token })
      ;(yield* refresh.next).reply([leads()])
      yield* settleFibers
      assert.deepStrictEqual([gone.started(), b.started(), c.started()], [0, 1, 0])
      yield* b.end("x")
      const told = yield* finish.next
      told.reply(true)
      assert.strictEqual(yield* payloadOf(c.fiber), "x")
      assert.strictEqual(told.input.token, asked.input.token)
    }))

  it.effect("R25: is read again after the subscriber is back, and every second while it is not", () =>
    Effect.gen(function*() {
      const { call, join, refresh, send } = yield* setup
      yield* call()
      ;(yield* join.next).reply(follows())
      yield* settleFibers
      yield* send({ _tag: "Unsubscribed" })
      ;(yield* refresh.next).reply([follows()])
      yield* settleFibers
      yield* TestClock.adjust(1_000)
      ;(yield* refresh.next).reply([follows()])
      yield* settleFibers
      yield* send({ _tag: "Subscribed" })
      yield* settleFibers
      assert.strictEqual(refresh.calls.length, 1)
    }))

  it.effect("R25: is read again when the subscription went and came back before its join was answered", () =>
    Effect.gen(function*() {
      const { call, join, refresh, send } = yield* setup
      yield* call()
      const asked = yield* join.next
      yield* send({ _tag: "Unsubscribed" })
      yield* send({ _tag: "Subscribed" })
      asked.reply(follows())
      yield* settleFibers
      assert.strictEqual(refresh.calls.length, 1)
    }))

  it.effect("whose message was lost has the outcome with its next refresh, a third of its ttl later", () =>
    Effect.gen(function*() {
      const { call, join, refresh } = yield* setup
      const a = yield* call()
      ;(yield* join.next).reply(follows())
      yield* settleFibers
      yield* TestClock.adjust(ttlMillis / 3 - 1)
      assert.strictEqual(refresh.calls.length, 0)
      yield* TestClock.adjust(1)
      ;(yield* refresh.next).reply([outcome("x")])
      assert.strictEqual(yield* payloadOf(a.fiber), "x")
    }))

  it.effect("R2: joins with a new token when the store does not know the old one", () =>
    Effect.gen(function*() {
      const { call, join, refresh } = yield* setup
      const a = yield* call()
      const first = yield* join.next
      first.reply(follows())
      yield* TestClock.adjust(ttlMillis / 3)
      ;(yield* refresh.next).reply([{ _tag: "Gone" }])
      const second = yield* join.next
      assert.notStrictEqual(second.input.token, first.input.token)
      assert.isTrue(yield* isWaiting(a.fiber))
    }))

  it.effect("fetches what was too large to be sent, and asks again if that fails", () =>
    Effect.gen(function*() {
      const { a, fetch, refresh } = yield* fetching
      ;(yield* fetch.next).fail()
      yield* TestClock.adjust(1_000)
      ;(yield* refresh.next).reply([{ _tag: "Stored", finishedAt: 0 }])
      ;(yield* fetch.next).reply(outcome("large"))
      assert.strictEqual(yield* payloadOf(a.fiber), "large")
    }))

  for (const [what, answer] of [["follows", follows()], ["leads", leads()]] as const) {
    it.effect(`R31: that fetches, and ${what} again as the store has forgotten the end, is left: its callers ask anew`, () =>
      Effect.gen(function*() {
        const { a, fetch, first, join, leave, refresh } = yield* fetching
        ;(yield* fetch.next).fail()
        yield* TestClock.adjust(1_000)
        ;(yield* refresh.next).reply([answer])
        yield* settleFibers
        assert.deepStrictEqual((yield* leave.next).input, { id: "id", token: first.input.token })
        assert.strictEqual(refresh.calls.length, 0)
        assert.strictEqual(a.started(), 0)
        ;(yield* join.next).reply(leads())
        yield* settleFibers
        yield* a.finish("x")
        assert.strictEqual(yield* payloadOf(a.fiber), "x")
      }))
  }

  it.effect("that fetches goes on doing so when an answer says what was true before the end", () =>
    Effect.gen(function*() {
      const { call, fetch, join, leave, refresh, send } = yield* setup
      const a = yield* call()
      const asked = yield* join.next
      asked.reply(follows())
      yield* TestClock.adjust(ttlMillis / 3)
      const before = yield* refresh.next
      yield* send({ _tag: "Stored", token: asked.input.token, finishedAt: 0 })
      before.reply([follows()])
      yield* settleFibers
      assert.deepStrictEqual([leave.calls.length, refresh.calls.length], [0, 0])
      ;(yield* fetch.next).reply(outcome("large"))
      assert.strictEqual(yield* payloadOf(a.fiber), "large")
    }))

  it.effect("R31: whose outcome is gone when it fetches it is in the flight that is open by then", () =>
    Effect.gen(function*() {
      const { a, call, fetch, join } = yield* fetching
      const b = yield* call()
      const second = yield* join.next
      ;(yield* fetch.next).reply({ _tag: "Gone" })
      yield* settleFibers
      assert.strictEqual(join.calls.length, 0)
      second.reply(leads())
      yield* settleFibers
      assert.strictEqual(a.started(), 0)
      yield* b.finish("next")
      assert.deepStrictEqual([yield* payloadOf(a.fiber), yield* payloadOf(b.fiber)], ["next", "next"])
    }))

  it.effect("R38: is told that the outcome was refused", () =>
    Effect.gen(function*() {
      const { call, join, send } = yield* setup
      const a = yield* call()
      const asked = yield* join.next
      asked.reply(follows())
      yield* settleFibers
      yield* send({ _tag: "Refused", token: asked.input.token })
      assert.strictEqual(yield* payloadOf(a.fiber), "refused")
    }))

  it.effect("fails with BackendError when the store was silent for as long as a follower counts", () =>
    Effect.gen(function*() {
      const { call, join, leave, refresh } = yield* setup
      const a = yield* call()
      const asked = yield* join.next
      asked.reply(follows())
      yield* settleFibers
      yield* TestClock.adjust(ttlMillis - 1)
      assert.isTrue(yield* isWaiting(a.fiber))
      assert.isAbove(refresh.calls.length, 0)
      yield* TestClock.adjust(2)
      assert.strictEqual((yield* Effect.flip(Fiber.join(a.fiber)))._tag, "BackendError")
      assert.strictEqual((yield* leave.next).input.token, asked.input.token)
    }))

  it.effect("R16: the last caller that leaves takes the token out of the refreshes in that step", () =>
    Effect.gen(function*() {
      const { call, flights, join, leave, refresh } = yield* setup
      const a = yield* call()
      const asked = yield* join.next
      asked.reply(follows())
      yield* settleFibers
      yield* Fiber.interrupt(a.fiber)
      assert.strictEqual((yield* leave.next).input.token, asked.input.token)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(refresh.calls.length, 0)
      assert.strictEqual(flights.live.size + flights.open.size + flights.byToken.size, 0)
    }))
})

describe("a join", () => {
  it.effect("whose callers have all gone is left, though it has no answer yet, and its answer starts nothing", () =>
    Effect.gen(function*() {
      const { call, join, leave } = yield* setup
      const a = yield* call()
      const asked = yield* join.next
      yield* Fiber.interrupt(a.fiber)
      assert.strictEqual((yield* leave.next).input.token, asked.input.token)
      asked.reply(leads())
      yield* settleFibers
      assert.strictEqual(a.started(), 0)
    }))

  it.effect("that fails fails all its callers, and is left in the background until that is confirmed", () =>
    Effect.gen(function*() {
      const { call, join, leave } = yield* setup
      const callers = [yield* call(), yield* call()]
      const asked = yield* join.next
      asked.fail()
      for (const { fiber } of callers) assert.strictEqual((yield* Effect.flip(Fiber.join(fiber)))._tag, "BackendError")
      ;(yield* leave.next).fail()
      yield* TestClock.adjust(200)
      assert.strictEqual((yield* leave.next).input.token, asked.input.token)
    }))

  it.effect("whose lease is over when its answer comes does not start the job, but joins once more and names it", () =>
    Effect.gen(function*() {
      const { call, join } = yield* setup
      const a = yield* call()
      const asked = yield* join.next
      yield* TestClock.adjust(2 * ttlMillis)
      asked.reply(leads())
      const again = yield* join.next
      assert.strictEqual(again.input.gaveUp, asked.input.token)
      assert.strictEqual(a.started(), 0)
      again.reply(leads())
      yield* settleFibers
      assert.strictEqual(a.started(), 1)
    }))

  for (const [what, answer] of [["leads", leads(0, 100)], ["follows", follows(100, 100)]] as const) {
    it.effect(`fails after commandTimeout, and says why, when each answer comes when all is over: ${what}`, () =>
      Effect.gen(function*() {
        const { call, join, leave, refresh } = yield* setup
        const { fiber, started } = yield* call({ ttlMillis: 100 })
        let answers = 0
        for (let at = 0; at < 2 * commandTimeoutMillis; at += 200) {
          yield* Effect.andThen(settleFibers, TestClock.adjust(200))
          for (const { reply } of join.calls.splice(0)) {
            answers++
            reply(answer)
          }
          yield* settleFibers
          for (const { reply } of refresh.calls.splice(0)) reply([{ _tag: "Gone" }])
        }
        assert.isFalse(yield* isWaiting(fiber))
        const error = yield* Effect.flip(Fiber.join(fiber))
        assert.strictEqual(error.reason, "Timeout")
        assert.include(error.message, "`ttl` (100ms) is shorter than the round trip to Redis (200ms)")
        assert.strictEqual(answers, commandTimeoutMillis / 200 + 1)
        assert.strictEqual(started(), 0)
        yield* leave.next
      }))
  }

  it.effect("of 10,000 callers is one, and they share one Deferred and cost no fiber", () =>
    Effect.gen(function*() {
      const { call, flights, join } = yield* setup
      const first = yield* call()
      const callers = yield* Effect.forEach(Array.from({ length: 50 }), () => call())
      const asked = yield* join.next
      assert.strictEqual(join.calls.length, 0)
      assert.strictEqual(flights.live.size, 1)
      asked.reply(leads())
      yield* settleFibers
      yield* first.finish("x")
      for (const { fiber } of callers) assert.strictEqual(yield* payloadOf(fiber), "x")
    }))

  it.effect("that is answered with what was kept serves those who asked for that, the others join again without", () =>
    Effect.gen(function*() {
      const { call, join } = yield* setup
      const a = yield* call({ keepMillis: 1_000 })
      const strict = yield* call()
      const asked = yield* join.next
      assert.strictEqual(asked.input.keepMillis, 1_000)
      asked.reply({ _tag: "Kept", payload: "old" })
      assert.strictEqual(yield* payloadOf(a.fiber), "old")
      const again = yield* join.next
      assert.strictEqual(again.input.keepMillis, 0)
      assert.isTrue(yield* isWaiting(strict.fiber))
    }))
})

describe("forged and stale messages", () => {
  it.effect("change nothing: of nobody's token, of a former one, or about a flight that is led here", () =>
    Effect.gen(function*() {
      const { call, flights, join, send } = yield* setup
      const a = yield* call()
      const asked = yield* join.next
      asked.reply(leads())
      yield* settleFibers
      for (const token of ["nobody", "__proto__", "constructor", asked.input.token]) {
        yield* send({ ...outcome("forged", 9e15), token })
        yield* send({ _tag: "Stored", token, finishedAt: 9e15 })
        yield* send({ _tag: "Moved", token })
        yield* send({ _tag: "Refused", token })
      }
      assert.isTrue(yield* isWaiting(a.fiber))
      assert.strictEqual(a.interrupted(), 0)
      yield* a.finish("x")
      assert.strictEqual(yield* payloadOf(a.fiber), "x")
      yield* send({ ...outcome("stale"), token: asked.input.token })
      assert.strictEqual(flights.live.size, 0)
    }))
})

describe("a store that cannot be reached", () => {
  it.effect("R31: a job that runs alone has no other beside it, whoever asks: with the store back they join it", () =>
    Effect.gen(function*() {
      const { call, join } = yield* setup
      const a = yield* call({ alone: true })
      const b = yield* call()
      assert.strictEqual(join.calls.length, 0)
      yield* a.end("x")
      assert.deepStrictEqual([yield* payloadOf(a.fiber), yield* payloadOf(b.fiber)], ["x", "x"])
      assert.strictEqual(a.started() + b.started(), 1)
      const c = yield* call()
      ;(yield* join.next).reply(leads())
      yield* settleFibers
      yield* c.finish("y")
      assert.strictEqual(yield* payloadOf(c.fiber), "y")
    }))

  it.effect("R31: a job that was to run alone does not, where the flight of all processes is open by then", () =>
    Effect.gen(function*() {
      const { call, join } = yield* setup
      const a = yield* call()
      const asked = yield* join.next
      const b = yield* call({ alone: true })
      assert.strictEqual(b.started(), 0)
      asked.reply(leads())
      yield* settleFibers
      yield* a.finish("x")
      assert.deepStrictEqual([yield* payloadOf(a.fiber), yield* payloadOf(b.fiber)], ["x", "x"])
      assert.strictEqual(a.started() + b.started(), 1)
    }))

  it.effect("R31: who comes while a job that ran alone is being stopped asks the store when that has ended", () =>
    Effect.gen(function*() {
      const { call, join } = yield* setup
      const cleaned = yield* Deferred.make<void>()
      const a = yield* call({ alone: true, cleanup: Deferred.await(cleaned) })
      yield* Fiber.interrupt(a.fiber)
      const b = yield* call()
      const c = yield* call()
      assert.strictEqual(join.calls.length, 0)
      yield* Deferred.succeed(cleaned, undefined)
      ;(yield* join.next).reply(leads())
      yield* settleFibers
      assert.deepStrictEqual([a.started(), b.started(), c.started()], [1, 1, 0])
      yield* b.finish("x")
      assert.deepStrictEqual([yield* payloadOf(b.fiber), yield* payloadOf(c.fiber)], ["x", "x"])
    }))

  it.effect("is waited for by a join with a caller who has nothing else to do", () =>
    Effect.gen(function*() {
      for (const patient of [true, false]) {
        const { call, join } = yield* setup
        yield* call({ patient })
        assert.strictEqual((yield* join.next).input.patient, patient)
      }
    }))

  it.effect("alone: the job runs once for the callers of this process, and is stopped with the last of them", () =>
    Effect.gen(function*() {
      const { call, join } = yield* setup
      const a = yield* call({ alone: true })
      const b = yield* call({ alone: true })
      assert.deepStrictEqual([a.started(), b.started()], [1, 0])
      yield* Fiber.interrupt(a.fiber)
      yield* a.end("x")
      assert.strictEqual(yield* payloadOf(b.fiber), "x")
      const c = yield* call({ alone: true })
      yield* Fiber.interrupt(c.fiber)
      yield* settleFibers
      assert.strictEqual(c.interrupted(), 1)
      assert.strictEqual(join.calls.length, 0)
    }))

  it.effect("a follower whose process slept asks once more before it gives up", () =>
    Effect.gen(function*() {
      const { call, flights, join, refresh } = yield* setup
      const a = yield* call()
      ;(yield* join.next).reply(follows())
      yield* settleFibers
      const [flight] = flights.live
      assert(flight?.state._tag === "Following")
      flight.state = { ...flight.state, giveUpAt: -1_000 }
      flights.keeper.refreshNow(flight)
      yield* settleFibers
      assert.isTrue(yield* isWaiting(a.fiber))
      ;(yield* refresh.next).reply([follows()])
      yield* TestClock.adjust(commandTimeoutMillis / 2)
      assert.isTrue(yield* isWaiting(a.fiber))
    }))
})
