import { assert, describe, it } from "@effect/vitest"
import type { LockEvent, Turn, Violation } from "./history.js"
import { checkFencing, checkMutualExclusion, holdsOf, latenessOverFifo, maxOvertakes, untilDeath } from "./history.js"

const event =
  (type: LockEvent["type"]) =>
  (process: string, fence: number, at: bigint | number, more: Partial<LockEvent> = {}): LockEvent => ({
    type,
    key: "k",
    process,
    fence,
    at,
    ...more
  })
const enter = event("enter")
const leave = event("leave")
const write = event("write")

const rules = (violations: ReadonlyArray<Violation>) => violations.map(({ rule }) => rule)

describe("checkMutualExclusion", () => {
  it("accepts holds that follow each other, and the end of one may be the start of the next", () => {
    const history = [enter("a", 1, 0), write("a", 1, 3), leave("a", 1, 5), enter("b", 2, 5), leave("b", 2, 9)]
    assert.deepStrictEqual(checkMutualExclusion(history), [])
  })

  it("finds an overlap of the smallest length", () => {
    const history = [enter("a", 1, 0), enter("b", 2, 4.999), leave("a", 1, 5), leave("b", 2, 9)]
    const violations = checkMutualExclusion(history)
    assert.deepStrictEqual(rules(violations), ["overlap"])
    assert.match(violations[0]!.message, /a \(fence 1\) \[0, 5\), b \(fence 2\) \[4\.999, 9\)/)
  })

  it("takes the events in any order, and bigint stamps beside numbers", () => {
    const history = [leave("b", 2, 9n), enter("b", 2, 4n), leave("a", 1, 5), enter("a", 1, 0)]
    assert.deepStrictEqual(rules(checkMutualExclusion(history)), ["overlap"])
  })

  it("finds a short hold inside a long one", () => {
    const history = [enter("a", 1, 0), enter("b", 2, 1), leave("b", 2, 2), enter("c", 3, 3), leave("c", 3, 4)]
    assert.deepStrictEqual(rules(checkMutualExclusion([...history, leave("a", 1, 5)])), ["overlap", "overlap"])
  })

  it("lets a hold that nobody ended overlap all later ones", () => {
    assert.deepStrictEqual(rules(checkMutualExclusion([enter("a", 1, 0), enter("b", 2, 1_000_000)])), ["overlap"])
  })

  it("keeps keys apart", () => {
    assert.deepStrictEqual(checkMutualExclusion([enter("a", 1, 0), enter("b", 1, 0, { key: "other" })]), [])
  })

  it("keeps holds of one process with the same fence apart by token", () => {
    const [one, two] = [{ token: "one" }, { token: "two" }]
    const history = [enter("a", 1, 0, one), enter("a", 1, 1, two), leave("a", 1, 2, one), leave("a", 1, 3, two)]
    assert.deepStrictEqual(rules(checkMutualExclusion(history)), ["overlap"])
    assert.deepStrictEqual(checkMutualExclusion(history, 2), [])
  })

  it("counts weights against the limit", () => {
    const history = [
      enter("a", 1, 0, { weight: 2 }),
      enter("b", 2, 1),
      leave("a", 1, 2),
      enter("c", 3, 2, { weight: 2 })
    ]
    assert.deepStrictEqual(checkMutualExclusion(history, 3), [])
    assert.deepStrictEqual(rules(checkMutualExclusion(history, 2)), ["overlap", "overlap"])
  })

  it("finds the one that is too many for the capacity, and none before or after it", () => {
    const inside = ["a", "b", "c", "d"]
    const full = inside.map((process, i) => enter(process, i, i))
    const fifth = [enter("e", 9, 5), leave("a", 0, 5.001), leave("e", 9, 6), enter("a", 10, 7)]
    const violations = checkMutualExclusion([...full, ...fifth], 4)
    assert.deepStrictEqual(rules(violations), ["overlap"])
    assert.match(violations[0]!.message, /5 held, limit 4: .*e \(fence 9\)/)
    const inTime = [leave("a", 0, 5), enter("e", 9, 5), leave("e", 9, 6), enter("a", 10, 7)]
    assert.deepStrictEqual(checkMutualExclusion([...full, ...inTime], 4), [])
  })

  it("finds a write after the end of the hold, and one without a hold", () => {
    const history = [enter("a", 1, 0), leave("a", 1, 5), write("a", 1, 6), write("b", 2, 7)]
    assert.deepStrictEqual(rules(checkMutualExclusion(history)), ["outside", "outside"])
  })

  it("takes a hold of no length for no overlap", () => {
    const history = [enter("a", 1, 0), enter("b", 2, 3), leave("b", 2, 3), leave("a", 1, 5)]
    assert.deepStrictEqual(checkMutualExclusion(history), [])
  })

  it("finds a hold entered twice, and a leave without an enter", () => {
    const history = [enter("a", 1, 0), enter("a", 1, 1), leave("a", 1, 2), leave("a", 1, 3)]
    assert.deepStrictEqual(rules(checkMutualExclusion(history)), ["malformed", "malformed"])
  })

  it("judges a hundred thousand holds", () => {
    const history = Array.from({ length: 100_000 }, (_, i) => [enter("a", i, 2 * i), leave("a", i, 2 * i + 2)]).flat()
    assert.deepStrictEqual(checkMutualExclusion(history), [])
    assert.deepStrictEqual(checkFencing(history), [])
  })
})

describe("checkFencing", () => {
  it("accepts fences that grow, with gaps", () => {
    const history = [enter("a", 1, 0), leave("a", 1, 5), enter("b", 7, 5), leave("b", 7, 9)]
    assert.deepStrictEqual(checkFencing(history), [])
  })

  it("finds a fence that stays, and one that falls", () => {
    const history = [enter("a", 2, 0), leave("a", 2, 1), enter("b", 2, 2), leave("b", 2, 3), enter("c", 1, 4)]
    assert.deepStrictEqual(rules(checkFencing(history)), ["fence", "fence"])
  })

  it("compares with all earlier holds, not with the last only", () => {
    const history = [enter("a", 9, 0), leave("a", 9, 1), enter("b", 10, 2), leave("b", 10, 20), enter("c", 8, 5)]
    const violations = checkFencing(history)
    assert.deepStrictEqual(rules(violations), ["fence"])
    assert.match(violations[0]!.message, /from a \(fence 9\).* to c \(fence 8\)/)
  })

  it("asks nothing of holds that overlap", () => {
    assert.deepStrictEqual(checkFencing([enter("a", 5, 0), enter("b", 4, 1), leave("a", 5, 2), leave("b", 4, 3)]), [])
  })

  it("does not compare a hold of no length with itself", () => {
    assert.deepStrictEqual(checkFencing([enter("a", 1, 0), leave("a", 1, 0), enter("b", 2, 1), leave("b", 2, 1)]), [])
    assert.deepStrictEqual(rules(checkFencing([enter("a", 2, 0), leave("a", 2, 0), enter("b", 1, 1)])), ["fence"])
  })

  it("finds a write accepted after one with a higher fence", () => {
    const history = [enter("a", 1, 0), enter("b", 2, 3), write("b", 2, 4), write("a", 1, 5), write("b", 2, 6)]
    assert.deepStrictEqual(rules(checkFencing(history)), ["stale"])
  })
})

describe("holdsOf", () => {
  it("gives the holds by start, each with its end", () => {
    const history = [enter("b", 2, 6), enter("a", 1, 0), leave("a", 1, 5)]
    const spans = holdsOf(history).map(({ end, process, start }) => [process, start, end])
    assert.deepStrictEqual(spans, [["a", 0, 5], ["b", 6, Infinity]])
  })
})

describe("maxOvertakes", () => {
  it("is 0 for FIFO, also when waiters gave up", () => {
    assert.strictEqual(maxOvertakes([], []), 0)
    assert.strictEqual(maxOvertakes(["a", "b", "c"], ["a", "b", "c"]), 0)
    assert.strictEqual(maxOvertakes(["a", "dead", "b", "c"], ["a", "b", "c"]), 0)
  })

  it("is the most any one waiter was overtaken", () => {
    assert.strictEqual(maxOvertakes(["a", "b", "c"], ["b", "a", "c"]), 1)
    assert.strictEqual(maxOvertakes(["a", "b", "c", "d"], ["d", "c", "b", "a"]), 3)
    assert.strictEqual(maxOvertakes(["a", "b", "c", "d"], ["b", "a", "d", "c"]), 1)
  })

  it("refuses lists that cannot be judged", () => {
    assert.throws(() => maxOvertakes(["a", "a"], ["a"]), /arrive once/)
    assert.throws(() => maxOvertakes(["a"], ["a", "a"]), /arrive once/)
    assert.throws(() => maxOvertakes(["a"], ["stranger"]), /arrive once/)
  })
})

describe("untilDeath", () => {
  const history = [enter("a", 1, 0), enter("b", 2, 3), leave("a", 1, 5), write("b", 2, 6), leave("b", 2, 7)]

  it("ends what the dead held when they died, and drops what came later", () => {
    const lived = untilDeath(history, new Map([["b", 4]]))
    assert.deepStrictEqual(holdsOf(lived).map(({ end, process }) => [process, end]), [["a", 5], ["b", 4]])
    assert.deepStrictEqual(rules(checkMutualExclusion(lived)), ["overlap"])
    assert.deepStrictEqual(rules(checkMutualExclusion(untilDeath(history, new Map([["b", 2]])))), [])
  })

  it("leaves the holds of the living, and those that had ended, as they are", () => {
    assert.deepStrictEqual(untilDeath(history, new Map([["a", 6]])), history)
    assert.deepStrictEqual(untilDeath(history, new Map()), history)
  })
})

describe("latenessOverFifo", () => {
  const turn = (process: string, askedAt: number, enteredAt: number, leftAt: number): Turn => ({
    process,
    askedAt,
    enteredAt,
    leftAt
  })
  const late = (capacity: number, turns: ReadonlyArray<Turn>) =>
    latenessOverFifo(turns, capacity).map(({ micros, turn }) => [turn.process, micros])

  it("is 0 when all enter in order as soon as there is room", () => {
    const turns = [turn("a", 0, 0, 10), turn("b", 1, 1, 5), turn("c", 2, 5, 9), turn("d", 3, 9, 12)]
    assert.deepStrictEqual(late(2, turns), [["a", 0], ["b", 0], ["c", 0], ["d", 0]])
  })

  it("is the time for which a place was free or went to one that came later", () => {
    const idle = [turn("a", 0, 0, 10), turn("b", 1, 25, 30)]
    assert.deepStrictEqual(late(1, idle), [["a", 0], ["b", 15]])
    const overtaken = [turn("a", 0, 0, 10), turn("b", 1, 30, 31), turn("c", 2, 10, 30)]
    assert.deepStrictEqual(late(1, overtaken), [["a", 0], ["b", 20], ["c", -1]])
  })

  it("does not blame one for what another stayed inside", () => {
    assert.deepStrictEqual(late(1, [turn("a", 0, 0, 1_000), turn("b", 1, 1_000, 1_001)]), [["a", 0], ["b", 0]])
  })
})
