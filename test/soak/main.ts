/** `npm run soak -- --minutes 30 [--seed 1] [--processes 4] [--report FILE]`: rounds of a minute, each with servers of its own. */
import * as Effect from "effect/Effect"
import { writeFileSync } from "node:fs"
import { parseArgs } from "node:util"
import { ensureRedisServer } from "../support/redisServer.js"
import { report } from "./report.js"
import type { Round } from "./round.js"
import { runRound } from "./round.js"

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "1" },
    seed: { type: "string", default: String(Math.floor(1_000_000 * Math.random())) },
    processes: { type: "string", default: "4" },
    report: { type: "string" }
  }
})

const roundMillis = 60_000

const main = async () => {
  ensureRedisServer()
  const seed = Number(values.seed)
  const processes = Number(values.processes)
  const startedAt = performance.now()
  const endsAt = startedAt + 60_000 * Number(values.minutes)
  const rounds: Array<Round> = []
  console.log(`Seed ${seed}`)
  let broken = 0
  while (performance.now() < endsAt) {
    const millis = Math.max(10_000, Math.min(roundMillis, endsAt - performance.now()))
    const roundSeed = seed + rounds.length + broken
    const round = await Effect.runPromise(runRound({ seed: roundSeed, millis, processes })).catch((error: unknown) => {
      console.error(`The round with seed ${roundSeed} broke off:`, error)
    })
    if (round === undefined) {
      if (++broken > 3) break
      continue
    }
    rounds.push(round)
    const { acquisitions, "fanout answers": answers } = round.counts
    const figures = `${acquisitions} acquisitions, ${answers} answers, ${round.faults.length} faults`
    console.log(`Round ${rounds.length}, seed ${round.seed}: ${figures}, ${round.violations.length} violations`)
    for (const violation of round.violations.slice(0, 10)) console.log(`  ${violation.slice(0, 500)}`)
  }
  if (broken > 0) console.log(`${broken} rounds broke off`)
  const text = report(rounds, seed, (performance.now() - startedAt) / 1_000)
  console.log(`\n${text}`)
  if (values.report !== undefined) writeFileSync(values.report, text)
  process.exit(broken > 0 || rounds.some(({ violations }) => violations.length > 0) ? 1 : 0)
}

void main()
