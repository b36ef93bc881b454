/**
 * `npm run simulate -- --seeds 10000 [--from 1] [--store memory|lua|both] [--bail]` runs many seeds; `-- --seed 7` runs one
 * and prints what happened.
 */
import { parseArgs } from "node:util"
import { report, run, runBoth } from "./simulation.js"

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "1000" },
    from: { type: "string", default: "1" },
    seed: { type: "string" },
    store: { type: "string", default: "both" },
    bail: { type: "boolean", default: false }
  }
})

const { store } = values
if (store !== "memory" && store !== "lua" && store !== "both") {
  throw new Error(`--store is memory, lua or both, not ${store}`)
}

if (values.seed !== undefined) {
  const seed = Number(values.seed)
  const both = store === "both" ? runBoth(seed) : undefined
  const outcome = both?.violation ? both : run(seed, { store: store === "both" ? "lua" : store, isTraced: true })
  console.log(
    outcome.violation ? report(outcome) : [...outcome.trace, "", `Seed ${values.seed} keeps every invariant`].join("\n")
  )
  process.exitCode = outcome.violation ? 1 : 0
} else {
  const startedAt = performance.now()
  const counts = new Map<string, number>()
  const from = Number(values.from)
  const seeds = Number(values.seeds)
  const failed: Array<string> = []
  let steps = 0
  let virtualMillis = 0
  for (let seed = from; seed < from + seeds && !(values.bail && failed.length > 0); seed++) {
    const outcome = store === "both" ? runBoth(seed) : run(seed, { store })
    steps += outcome.steps
    virtualMillis += outcome.virtualMillis
    for (const [what, count] of outcome.counts) counts.set(what, (counts.get(what) ?? 0) + count)
    if (outcome.violation) failed.push(`seed ${seed}: ${outcome.violation.invariant}: ${outcome.violation.what}`)
  }
  const seconds = (performance.now() - startedAt) / 1000
  for (const [what, count] of [...counts].sort(([a], [b]) => a < b ? -1 : 1)) {
    console.log(`${String(count).padStart(9)} ${what}`)
  }
  for (const failure of failed) console.log(failure)
  console.log(
    `${seeds} seeds from ${from}: ${failed.length} failed. ${steps} steps, ${
      (virtualMillis / 3_600_000).toFixed(1)
    } virtual hours, ` +
      `${seconds.toFixed(1)} s`
  )
  process.exitCode = failed.length > 0 ? 1 : 0
}
// What was killed while it waited for ever has left a timer of the host, which is how Effect.never waits.
process.exit()
