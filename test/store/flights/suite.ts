/** The contract of the flight port (src/internal/flightStore.ts) as theorems. A backend that passes them can carry it. */
import * as Edition from "#edition"
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { Backend } from "../world.js"
import { almost, inTurn, long, pastShort, short, within } from "../world.js"
import { follows, gone, leads, outcome, world } from "./world.js"

export const suite = (name: string, make: Backend["make"], { elapse, theorem }: Omit<Backend, "make">): void => {
  describe(`the flights: ${name}`, () => {
    theorem(
      "the first to join leads, all others follow, and are told when its lease ends",
      () =>
        Effect.gen(function*() {
          const { a, b, c } = yield* world(make)
          const first = leads(yield* a.join("A"))
          almost(first.remainingMillis, long)
          assert.strictEqual(first.followers, 0)
          const second = follows(yield* b.join("B", { ttl: 2 * long }))
          almost(second.remainingMillis, 2 * long)
          almost(second.leaderEndsMillis, long)
          follows(yield* c.join("C"))
          assert.strictEqual(leads(yield* a.refresh("A")).followers, 2)
        })
    )

    theorem("ids do not touch one another", () =>
      Effect.gen(function*() {
        const { a, b, id } = yield* world(make)
        leads(yield* a.join("A"))
        leads(yield* b.join("B", { id: `${id}2` }))
      }))

    theorem("a join that is sent once more answers the same and changes nothing", () =>
      Effect.gen(function*() {
        const { a, b } = yield* world(make)
        leads(yield* a.join("A"))
        follows(yield* b.join("B"))
        assert.strictEqual(leads(yield* a.join("A")).followers, 1)
        follows(yield* b.join("B"))
        assert.strictEqual(leads(yield* a.refresh("A")).followers, 1)
        yield* a.finish("A", "x")
        assert.strictEqual(outcome(yield* b.join("B")), "x")
      }))

    theorem("finish tells those who follow, and only them, by their own token", () =>
      Effect.gen(function*() {
        const { a, b, c } = yield* world(make)
        yield* a.join("A")
        yield* b.join("B")
        yield* b.join("B2")
        assert.isTrue(yield* a.finish("A", "{\"é\":\"\\u0000\"}"))
        const events = yield* b.events
        assert.sameMembers(events.map((event) => "token" in event ? event.token : ""), ["B", "B2"])
        assert.deepStrictEqual(events.map(outcome), ["{\"é\":\"\\u0000\"}", "{\"é\":\"\\u0000\"}"])
        assert.deepStrictEqual([...yield* a.events, ...yield* c.events], [])
        leads(yield* c.join("C"))
      }))

    theorem("an outcome is read by the tokens it serves, and by nobody else (R36)", () =>
      Effect.gen(function*() {
        const { a, b, c } = yield* world(make)
        yield* a.join("A")
        yield* b.join("B")
        yield* a.finish("A", "x")
        assert.strictEqual(outcome(yield* b.refresh("B")), "x")
        assert.strictEqual(outcome(yield* b.refresh("B")), "x")
        assert.strictEqual(outcome(yield* b.fetch("B")), "x")
        for (const token of ["A", "C", "__proto__", "#kept", "#leader"]) {
          gone(yield* c.refresh(token))
          gone(yield* c.fetch(token))
        }
      }))

    theorem("every outcome goes to those who followed its own run", () =>
      Effect.gen(function*() {
        const { a, b, c } = yield* world(make)
        yield* a.join("A")
        yield* b.join("B")
        yield* a.finish("A", "1")
        leads(yield* c.join("C"))
        follows(yield* b.join("B2"))
        yield* c.finish("C", "2")
        assert.strictEqual(outcome(yield* b.refresh("B")), "1")
        assert.strictEqual(outcome(yield* b.refresh("B2")), "2")
      }))

    theorem("a copy of finish answers as the first did, and stores nothing (R33)", () =>
      Effect.gen(function*() {
        const { a, b, c } = yield* world(make)
        yield* a.join("A")
        yield* b.join("B")
        assert.isTrue(yield* a.finish("A", "1"))
        assert.isTrue(yield* a.finish("A", "2"))
        leads(yield* c.join("C"))
        assert.isTrue(yield* a.finish("A", "3"))
        assert.strictEqual(outcome(yield* b.refresh("B")), "1")
        leads(yield* c.refresh("C"))
      }))

    theorem("a finish of what nobody leads, or somebody else, is superseded", () =>
      Effect.gen(function*() {
        const { a, b } = yield* world(make)
        assert.isFalse(yield* a.finish("A", "1"))
        yield* b.join("B")
        assert.isFalse(yield* a.finish("A", "1"))
        yield* a.join("A")
        assert.isFalse(yield* a.finish("A", "1"))
        assert.strictEqual(leads(yield* b.refresh("B")).followers, 1)
      }))

    theorem(
      "a finish after the lease is over is accepted while nobody has led since (R33)",
      () =>
        Effect.gen(function*() {
          const { a, b } = yield* world(make)
          yield* within(short, inTurn([a.join("A", { ttl: short }), b.join("B")]))
          yield* elapse(pastShort - short)
          yield* elapse(short / 2)
          assert.isTrue(yield* a.finish("A", "late"))
          assert.strictEqual(outcome(yield* b.refresh("B")), "late")
        })
    )

    theorem("and is superseded when a follower has taken over", () =>
      Effect.gen(function*() {
        const { a, b } = yield* world(make)
        yield* within(short, inTurn([a.join("A", { ttl: short }), b.join("B")]))
        yield* elapse(pastShort)
        leads(yield* b.refresh("B"))
        assert.isFalse(yield* a.finish("A", "late"))
        gone(yield* a.refresh("A"))
      }))

    theorem("renewing never moves an end to an earlier time (R6)", () =>
      Effect.gen(function*() {
        const { a, b } = yield* world(make)
        yield* a.join("A")
        yield* b.join("B")
        almost(leads(yield* a.refresh("A", { ttl: short })).remainingMillis, long)
        const follower = follows(yield* b.refresh("B", { ttl: short }))
        almost(follower.remainingMillis, long)
        almost(follower.leaderEndsMillis, long)
      }))

    theorem(
      "a lease that is over is not renewed, and is taken over with all followers (R34)",
      () =>
        Effect.gen(function*() {
          const { a, b, c } = yield* world(make)
          yield* within(short, inTurn([a.join("A", { ttl: short }), b.join("B"), c.join("C")]))
          yield* elapse(pastShort)
          gone(yield* a.refresh("A"))
          assert.strictEqual(leads(yield* b.refresh("B")).followers, 1)
          follows(yield* c.refresh("C"))
          yield* b.finish("B", "x")
          assert.strictEqual(outcome(yield* c.refresh("C")), "x")
          gone(yield* a.refresh("A"))
        })
    )

    theorem("a newcomer takes over from a dead leader, too, with all followers", () =>
      Effect.gen(function*() {
        const { a, b, c } = yield* world(make)
        yield* within(short, inTurn([a.join("A", { ttl: short }), b.join("B")]))
        yield* elapse(pastShort)
        assert.strictEqual(leads(yield* c.join("C")).followers, 1)
        follows(yield* b.refresh("B"))
      }))

    theorem("a follower that died is neither counted, nor told, nor served", () =>
      Effect.gen(function*() {
        const { a, b } = yield* world(make)
        yield* within(short, inTurn([a.join("A"), b.join("B", { ttl: short })]))
        yield* elapse(pastShort)
        assert.strictEqual(leads(yield* a.refresh("A")).followers, 0)
        gone(yield* b.refresh("B"))
        yield* a.finish("A", "x")
        assert.deepStrictEqual(yield* b.events, [])
        gone(yield* b.refresh("B"))
      }))

    theorem(
      "a leader that leaves keeps its followers: they are told, and the first to ask leads (R34)",
      () =>
        Effect.gen(function*() {
          const { a, b, c } = yield* world(make)
          yield* a.join("A")
          yield* b.join("B")
          yield* c.join("C")
          yield* a.leave("A")
          assert.deepStrictEqual(yield* b.events, [{ _tag: "Moved", token: "B" }])
          assert.deepStrictEqual(yield* c.events, [{ _tag: "Moved", token: "C" }])
          assert.strictEqual(leads(yield* c.refresh("C")).followers, 1)
          follows(yield* b.refresh("B"))
          yield* c.finish("C", "x")
          assert.strictEqual(outcome(yield* b.refresh("B")), "x")
        })
    )

    theorem("a follower that leaves is not counted any more, and nobody is told", () =>
      Effect.gen(function*() {
        const { a, b } = yield* world(make)
        yield* a.join("A")
        yield* b.join("B")
        yield* b.leave("B")
        assert.strictEqual(leads(yield* a.refresh("A")).followers, 0)
        gone(yield* b.refresh("B"))
        yield* a.finish("A", "x")
        assert.deepStrictEqual([...yield* a.events, ...yield* b.events], [])
      }))

    theorem("a token that left or finished is refused from then on (R36)", () =>
      Effect.gen(function*() {
        const { a, b } = yield* world(make)
        yield* a.join("A")
        yield* a.leave("A")
        gone(yield* a.join("A"))
        yield* b.leave("never joined")
        gone(yield* b.join("never joined"))
        yield* a.join("A2")
        yield* a.finish("A2", "x")
        gone(yield* a.join("A2"))
        yield* b.leave("B2")
        leads(yield* b.join("B3"))
      }))

    theorem(
      "so is a follower that died, for as long as a copy of its join may come (R36)",
      () =>
        Effect.gen(function*() {
          const { a, b } = yield* world(make)
          leads(yield* a.join("A"))
          follows(yield* b.join("B", { ttl: short }))
          yield* elapse(pastShort)
          assert.strictEqual(leads(yield* a.refresh("A")).followers, 0)
          gone(yield* b.join("B"))
        })
    )

    theorem("a second leave, and one after the end, change nothing", () =>
      Effect.gen(function*() {
        const { a, b } = yield* world(make)
        yield* a.join("A")
        yield* b.join("B")
        yield* a.finish("A", "x")
        yield* a.leave("A")
        yield* b.leave("B")
        assert.strictEqual(outcome(yield* b.refresh("B")), "x")
        assert.isTrue(yield* a.finish("A", "x"))
      }))

    theorem("a join that names what its process gave up does not follow it (R37)", () =>
      Effect.gen(function*() {
        const { a, b } = yield* world(make)
        yield* a.join("A")
        yield* b.join("B")
        assert.strictEqual(leads(yield* a.join("A2", { gaveUp: "A" })).followers, 1)
        gone(yield* a.refresh("A"))
        assert.isFalse(yield* a.finish("A", "old"))
        follows(yield* b.join("B2", { gaveUp: "B" }))
        assert.strictEqual(leads(yield* a.refresh("A2")).followers, 1)
        gone(yield* b.refresh("B"))
      }))

    theorem(
      "and one that names what has finished, or never was, changes nothing by that",
      () =>
        Effect.gen(function*() {
          const { a, b } = yield* world(make)
          yield* a.join("A")
          yield* b.join("B")
          yield* a.finish("A", "x")
          leads(yield* a.join("A2", { gaveUp: "A" }))
          assert.isTrue(yield* a.finish("A", "x"))
          assert.strictEqual(outcome(yield* b.refresh("B")), "x")
          follows(yield* b.join("B2", { gaveUp: "nobody" }))
        })
    )

    theorem(
      "a payload over 64 KB is not sent but stored, and fetched by those it serves",
      () =>
        Effect.gen(function*() {
          const { a, b } = yield* world(make)
          for (const [length, isSent] of [[65_536, true], [65_537, false], [30_000, true]] as const) {
            const token = `B${length}`
            const payload = "é".repeat(length === 30_000 ? length : 0) + "x".repeat(length === 30_000 ? 0 : length)
            yield* a.join(`A${length}`)
            yield* b.join(token)
            yield* a.finish(`A${length}`, payload)
            const [event] = yield* b.events
            assert.strictEqual(event?._tag, isSent ? "Outcome" : "Stored")
            assert.strictEqual((yield* b.refresh(token))._tag, isSent ? "Outcome" : "Stored")
            assert.strictEqual(outcome(yield* b.fetch(token)), payload)
          }
        })
    )

    theorem("an outcome is there for its retention, and no longer", () =>
      Effect.gen(function*() {
        const { a, b } = yield* world(make)
        yield* a.join("A")
        yield* b.join("B")
        yield* a.finish("A", "x", { retention: short })
        yield* elapse(pastShort)
        gone(yield* b.refresh("B"))
        gone(yield* b.fetch("B"))
      }))

    theorem(
      "what is kept goes to a join that says keep, while it is young enough for it",
      () =>
        Effect.gen(function*() {
          const { a, b } = yield* world(make)
          yield* a.join("A")
          yield* a.finish("A", "x", { keep: long })
          assert.deepStrictEqual(yield* b.join("B", { keep: long }), { _tag: "Kept", payload: "x" })
          leads(yield* b.join("B2"))
          yield* b.leave("B2")
          yield* elapse(pastShort)
          leads(yield* b.join("B3", { keep: short }))
        })
    )

    theorem(
      "what is kept goes to nobody after the time that its finish said, however old it may be for the join",
      () =>
        Effect.gen(function*() {
          const { a, b } = yield* world(make)
          yield* a.join("A")
          yield* a.finish("A", "x", { keep: short })
          yield* elapse(pastShort)
          leads(yield* b.join("B", { keep: long }))
        })
    )

    theorem(
      "finishedAt is of the store's own clock, and lies between what that showed before and after",
      () =>
        Effect.gen(function*() {
          const { a, b } = yield* world(make)
          yield* a.join("A")
          yield* b.join("B")
          yield* a.finish("A", "x")
          const now = Edition.monotonicMillis(yield* Effect.clockWith(Effect.succeed))
          const answer = yield* b.refresh("B")
          assert(answer._tag === "Outcome")
          assert.isAtMost(answer.finishedAt, b.store.serverMillisAtMost(now))
          assert.isAtLeast(answer.finishedAt, b.store.serverMillisAtMost(now) - 20_000)
        })
    )
  })
}
