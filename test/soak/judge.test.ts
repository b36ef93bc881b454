/** The soak's judge: a round that was good, and the same with one thing wrong each. */
import { assert, describe, it } from "@effect/vitest"
import { judge } from "./judge.js"
import type { Heard, Record } from "./record.js"

const ms = (millis: number): number => 1_000 * millis

interface Leasing {
  readonly what?: string
  readonly key?: string
  readonly told?: string
}

let turns = 0

/** A lease that is entered and left at these milliseconds. */
const leased = (
  enteredAt: number,
  leftAt: number,
  fence: number,
  { key = "k", told = "success", what = "lock" }: Leasing = {}
) => {
  const turn = ++turns
  const [entered, left] = [ms(enteredAt), ms(leftAt)]
  return [
    { type: "asked", what, turn, at: entered - 1 },
    { type: "entered", turn, at: entered, fences: [[key, fence]], until: entered + ms(1_000) },
    { type: "left", turn, at: left, told, toldAt: left, writes: [entered + 1] }
  ]
}

const called = (enteredAt: number, leftAt: number) => ({
  type: "settled",
  keys: ["k"],
  askedAt: ms(enteredAt) - 1,
  enteredAt: ms(enteredAt),
  leftAt: ms(leftAt),
  at: ms(leftAt),
  told: "success"
})

const ran = (name: string, from: number, to: number) => [
  { type: "began", at: ms(from), name },
  { type: "ended", at: ms(to), name }
]

const answered = (name: string, askedAt: number, at: number) => ({
  type: "answered",
  askedAt: ms(askedAt),
  at: ms(at),
  told: "success",
  name
})

/** Has everything again after the last fault, which is over at 10,000. */
const recovered = (name: string, at: number) => [
  ...leased(at, at + 1, at),
  ...leased(at, at + 1, at, { what: "permit" }),
  called(at + 2, at + 3),
  ...ran(`${name}/last`, at, at + 5),
  answered(`${name}/last`, at, at + 6)
]

const heard = (name: string, messages: ReadonlyArray<object>, more: Partial<Heard> = {}): Heard => ({
  name,
  messages,
  stops: [],
  diedAt: undefined,
  closed: "success",
  ...more
})

const living = (name: string, at: number, ...messages: ReadonlyArray<object>) =>
  heard(name, [...messages, ...recovered(name, at)])

const recordOf = (processes: ReadonlyArray<Heard>, more: Partial<Record> = {}): Record => ({
  processes,
  faults: [],
  losses: [],
  healedAt: ms(10_000),
  permits: 2,
  ttl: 1_000,
  commandTimeout: 400,
  left: [],
  ...more
})

const judged = (a: ReadonlyArray<object>, b: ReadonlyArray<object>, more?: Partial<Record>) =>
  judge(recordOf([living("a", 11_000, ...a), living("b", 12_000, ...b)], more)).violations

const only = (violations: ReadonlyArray<string>, words: RegExp) => {
  assert.isNotEmpty(violations)
  for (const violation of violations) assert.match(violation, words)
}

/** From 100 to 200; the server's clock is the others', in the same milliseconds. */
const loss = { losses: [{ from: ms(100), to: ms(200), fence: 200 }] }

describe("a round of the soak", () => {
  it("is good when leases follow each other, with growing fences", () => {
    assert.deepStrictEqual(judged(leased(0, 10, 1), leased(10, 20, 2)), [])
  })

  it("is bad when two have a lock, or one has it while another holds it with other keys", () => {
    only(judged(leased(0, 10, 1), leased(9, 20, 2)), /overlap: lock k/)
    only(judged(leased(0, 10, 1), [called(9, 20)]), /overlap: lock k/)
    only(judged(leased(0, 10, 1), leased(9, 20, 2, { what: "multi" })), /overlap: lock k/)
  })

  it("is bad when more permits are out than there are, and not before", () => {
    const permit = { what: "permit" }
    const two = [...leased(0, 10, 1, permit), ...leased(1, 10, 2, permit)]
    assert.deepStrictEqual(judged(two, []), [])
    only(judged(two, leased(9, 20, 3, permit)), /overlap: permit k: 3 held, limit 2/)
  })

  it("is bad when a fence does not grow", () => {
    only(judged(leased(0, 10, 2), leased(10, 20, 2)), /fence: lock k/)
  })

  it("is bad when a lease that ended is used", () => {
    const [asked, entered, left] = leased(0, 10, 1)
    only(judged([asked!, entered!, { ...left, writes: [ms(11)] }], []), /outside: lock k/)
  })

  it("with a loss of data is bad for what came after it only", () => {
    // Granted before, and held on; granted before, and told late.
    assert.deepStrictEqual(judged(leased(90, 300, 90), leased(210, 400, 210), loss), [])
    assert.deepStrictEqual(judged(leased(205, 300, 90), leased(210, 400, 210), loss), [])
    only(judged(leased(210, 300, 205), leased(220, 400, 210), loss), /overlap: lock k/)
    only(judged(leased(80, 99, 80), leased(90, 99, 90), loss), /overlap: lock k/)
    // Fences grow all the same, and no grant is as late as that.
    only(judged(leased(10, 90, 90), leased(1_300, 1_400, 50), loss), /(fence|stale): lock k/)
    only(judged(leased(10, 90, 300), leased(210, 220, 250), loss), /(fence|stale): lock k/)
  })

  it("counts what the dead held until then, and not longer than they knew that it would last", () => {
    const cut = leased(0, 10, 1).slice(0, 2)
    const withDead = (diedAt: number, nextAt: number) =>
      judge(recordOf([heard("a", cut, { diedAt: ms(diedAt) }), living("b", 12_000, ...leased(nextAt, nextAt + 1, 2))]))
        .violations
    assert.deepStrictEqual(withDead(500, 500), [])
    only(withDead(500, 499), /overlap: lock k/)
    assert.deepStrictEqual(withDead(2_000, 1_001), [])
    only(withDead(2_000, 999), /overlap: lock k/)
  })

  it("is bad when runs of a job meet", () => {
    assert.deepStrictEqual(judged(ran("a/1", 0, 300), ran("b/1", 100, 400)), [])
    only(judged(ran("a/1", 0, 500), ran("b/1", 100, 600)), /runs meet: a\/1/)
    only(judged([...ran("a/1", 0, 900), ...ran("a/2", 10, 20)], ran("b/1", 400, 600)), /runs meet: a\/1/)
  })

  it("is bad when an answer is from before the call, or from nowhere", () => {
    const run = ran("a/1", 0, 100)
    assert.deepStrictEqual(judged(run, [answered("a/1", 300, 310)]), [])
    only(judged(run, [answered("a/1", 400, 410)]), /b asked at 400000 and was given a\/1, over at 100000/)
    only(judged(run, [answered("b/7", 0, 10)]), /which no job has made/)
  })

  it("lets an answer come from before while its finish may be under way, for a lease, in other processes", () => {
    const run = ran("a/1", 0, 100)
    const faults = [{ kind: "silent", process: "a", from: ms(90), to: ms(900) }]
    assert.deepStrictEqual(judged(run, [answered("a/1", 1_300, 1_310)], { faults }), [])
    only(judged(run, [answered("a/1", 1_400, 1_410)], { faults }), /b asked at/)
    only(judged([...run, answered("a/1", 400, 410)], [], { faults }), /a asked at/)
  })

  it("is bad when a call does not settle, or fails with anything else than it may", () => {
    only(judged(leased(0, 10, 1).slice(0, 1), []), /unsettled: a, lock/)
    only(judged(leased(0, 10, 1, { told: "TypeError: x" }), []), /a was told: TypeError: x/)
    assert.deepStrictEqual(judged(leased(0, 10, 1, { told: "LockLostError" }), []), [])
  })

  it("is bad when a wait is too long, without the time for which the process was stopped", () => {
    const [asked, ...rest] = leased(21_000, 21_001, 90_000)
    const wait = [{ ...asked, at: 0 }, ...rest]
    only(judged(wait, []), /a lock took 21000000 us/)
    const stopped = heard("a", [...recovered("a", 22_000), ...wait], { stops: [{ from: ms(100), to: ms(5_000) }] })
    assert.deepStrictEqual(
      judge(recordOf([stopped])).violations.filter((violation) => /took/.test(violation)),
      []
    )
  })

  it("is bad when a process ends by itself, something is left, or not all works again", () => {
    only(
      judge(recordOf([living("a", 11_000), heard("b", recovered("b", 12_000), { closed: "exit 1" })])).violations,
      /b did not end well: exit 1/
    )
    only(judged([], [], { left: ["dlock:lock:{k}:state"] }), /left in Redis.*dlock:lock:\{k\}:state/)
    only(judged([], [], { healedAt: ms(11_500) }), /no (lock|permit|keys|flight) after the last fault/)
  })
})
