/** `npm run simulate` runs more of them, and docs/testing.md says how to read a trace. */
import { assert, describe, it } from "@effect/vitest"
import { setImmediate } from "node:timers/promises"
import { troubles } from "./nemesis.js"
import { report, run, runBoth } from "./simulation.js"

const seeds = 60

const flightEvents = [
  "flights led",
  "flights taken over",
  "jobs that run alone",
  "pushes led",
  "jobs stopped",
  "jobs beside one that has lost its lease",
  "joins too late",
  "outcomes sent",
  "outcomes read again",
  "outcomes fetched",
  "outcomes kept",
  "outcomes of the same process",
  "outcomes of another process",
  "outcomes refused",
  "outcomes that came too late"
]

describe("a simulated world", () => {
  it(
    "keeps every invariant, whatever goes wrong in it, and has the same history on the memory store and on Redis' Lua",
    async () => {
      const counts = new Map<string, number>()
      for (let seed = 1; seed <= seeds; seed++) {
        const outcome = runBoth(seed)
        if (outcome.violation) assert.fail(report(outcome))
        for (const [what, count] of outcome.counts) counts.set(what, (counts.get(what) ?? 0) + count)
        // A seed is one piece of work without a pause. The test runner has to be heard from time to time.
        await setImmediate()
      }
      // Or it shows nothing.
      const events = [
        "calls of scripts refused",
        "holds",
        "late copies",
        "acquires too late",
        "messages lost",
        "messages doubled",
        "messages late"
      ]
      const leases = [
        "Asked",
        "Revoked",
        "lowers",
        "lowers while others wait",
        "readers",
        "writers",
        "multis at once",
        "multis that wait, at once",
        "multis one after the other",
        "multis that started again",
        "singletons",
        "singletons with hold",
        "told LockAcquisitionError Held",
        "told LockAcquisitionError Timeout",
        "told LockAcquisitionError OverLimit"
      ]
      for (const what of [...Object.keys(troubles), ...events, ...leases, ...flightEvents]) {
        assert.isAbove(counts.get(what) ?? 0, 0, what)
      }
    },
    300_000
  )

  it("is the same each time, to the last letter", () => {
    for (const store of ["memory", "lua"] as const) {
      for (const seed of [7, 77, 777]) {
        const first = run(seed, { store, isTraced: true })
        assert.isAbove(first.trace.length, 100)
        assert.deepStrictEqual(run(seed, { store, isTraced: true }).trace, first.trace)
      }
    }
  })

  it("is another one for another seed", () => {
    assert.notDeepEqual(run(1, { isTraced: true }).trace, run(2, { isTraced: true }).trace)
  })
})
