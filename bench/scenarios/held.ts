/** Ten thousand locks, held by one process for three renewals: what they cost Redis and the process. */
import { setTimeout as sleep } from "node:timers/promises"
import type { HolderOptions, HolderReport } from "../../test/cost/holder.js"
import { commandCounts } from "../../test/support/redisSpy.js"
import { spawnWorker } from "../../test/support/workers.js"
import type { Scenario } from "../scenario.js"

const locks = 10_000
const periods = 3

export const held: Scenario = async ({ quick, url }) => {
  const options: HolderOptions = { url, locks, ttlMillis: quick ? 6_000 : 12_000 }
  const period = options.ttlMillis / 3
  const holder = spawnWorker(new URL("../../test/cost/holder.ts", import.meta.url), { args: [JSON.stringify(options)] })
  try {
    const startedAt = performance.now()
    await holder.next(({ type }) => type === "holding", 30_000)
    const seconds = (performance.now() - startedAt) / 1000
    // All are renewed once, and the count begins between two times when most are due.
    await sleep(1.5 * period)
    const before = await commandCounts(url)
    await sleep(periods * period)
    const after = await commandCounts(url)
    holder.send("report")
    const { report }: { readonly report: HolderReport } = await holder.next(({ type }) => type === "report", 10_000)
    const name = `${locks.toLocaleString("en-US")} held locks`
    const renewals = (after["evalsha"] ?? 0) - (before["evalsha"] ?? 0)
    return [
      { name: `${name}: acquired in`, measured: seconds, unit: "s" },
      {
        name: `${name}: renewal commands a period`,
        measured: renewals / periods,
        unit: "",
        atMost: Math.ceil(locks / 256) + 1
      },
      { name: `${name}: heap each`, measured: report.heapBytesPerLock, unit: "bytes", atMost: 1_536 },
      { name: `${name}: event loop late, p99`, measured: report.delayP99, unit: "ms" },
      { name: `${name}: event loop late, at most`, measured: report.delayMax, unit: "ms" },
      { name: `${name}: fibers added`, measured: report.fibers, unit: "", atMost: 2 },
      { name: `${name}: timers added`, measured: report.timers, unit: "", atMost: 1 }
    ]
  } finally {
    await holder.kill()
  }
}
