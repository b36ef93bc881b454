/** Workers that contend for everything, ended and judged. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { Verdict } from "../soak/judge.js"
import { judge } from "../soak/judge.js"
import type { Heard, Loss } from "../soak/record.js"
import { hasAll } from "../soak/record.js"
import type { Worker } from "../support/workers.js"
import { monotonicMicros } from "../support/workers.js"
import { is, slack, ttl, until, untilOnlyFences } from "./support.js"

export interface Contention {
  readonly workers: ReadonlyArray<Worker>
  readonly nameOf: (index: number) => string
  readonly url: string
  readonly commandTimeout: number
  readonly losses: ReadonlyArray<Loss>
}

/** Ends the contenders when each has had everything once more, and judges what they did: nothing was violated. */
export const judged = (
  { commandTimeout, losses, nameOf, url, workers }: Contention
): Effect.Effect<{ readonly found: Verdict; readonly processes: ReadonlyArray<Heard> }> =>
  Effect.gen(function*() {
    const healedAt = monotonicMicros()
    const heard = workers.map(({ messages }, i): Heard => ({
      name: nameOf(i),
      messages,
      stops: [],
      diedAt: undefined,
      closed: "success"
    }))
    yield* until(() => heard.every((process) => hasAll(process, healedAt)), 5_000)
    const processes = yield* Effect.forEach(workers, (worker, i) => {
      worker.send("stop")
      return Effect.promise(async () => ({ ...heard[i]!, closed: (await worker.next(is("closed"), 10_000)).exit }))
    }, { concurrency: "unbounded" })
    yield* untilOnlyFences(url, 2 * ttl + commandTimeout + slack)
    const found = judge({ processes, faults: [], losses, healedAt, permits: 3, ttl, commandTimeout, left: [] })
    assert.deepStrictEqual(found.violations, [])
    return { found, processes }
  })
