/** A short round of the soak. `npm run soak -- --minutes 30` is the long one. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { runRound } from "../soak/round.js"
import { note, test } from "./support.js"

const seed = Number(process.env["SOAK_SEED"] ?? 1)

test(
  "processes contend for everything while all kinds of faults come over them, and all that is promised holds",
  () =>
    Effect.gen(function*() {
      const { counts, faults, longest, violations } = yield* runRound({ seed, millis: 7_000, processes: 3 })
      assert.deepStrictEqual(violations, [], `seed ${seed}`)
      for (const [what, value] of Object.entries({ ...counts, ...longest })) note(`soak: ${what}`, value)
      note("soak: faults", faults.length)
      assert.isAtLeast(faults.length, 10)
      assert.isAbove(counts["acquisitions"]!, 100)
      assert.isAbove(counts["fanout answers"]!, 100)
    }),
  60_000
)
