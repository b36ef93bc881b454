/** Four permits and many who want one, in four processes: how fast they go round, and at what cost. */
import { checkMutualExclusion } from "../../test/support/history.js"
import type { Scenario } from "../scenario.js"
import { contend, historyOf, waitMillis } from "../support/contenders.js"
import { quantile } from "../support/stats.js"

const key = "semaphore"
const permits = 4
const waiters = 32
const holdMillis = 1

export const semaphore: Scenario = async ({ quick, url }) => {
  const millis = quick ? 1_500 : 3_000
  const { commands, heartbeats, messages, pings, seconds, turns } = await contend({
    url,
    key,
    waiters,
    holdMillis,
    millis,
    permits
  })
  const waits = turns.map(waitMillis)
  const name = `${permits} permits, ${waiters} contenders, held for ${holdMillis} ms`
  return [
    { name: `${name}: acquisitions`, measured: turns.length / seconds, unit: "/s" },
    { name: `${name}: wait, p50`, measured: quantile(waits, 0.5), unit: "ms" },
    { name: `${name}: wait, max`, measured: quantile(waits, 1), unit: "ms" },
    {
      name: `${name}: commands per acquisition`,
      measured: commands / turns.length,
      unit: "",
      note: `and ${heartbeats} heartbeats and ${pings} pings in all`,
      atMost: 2,
      atLeast: 2
    },
    { name: `${name}: messages per acquisition`, measured: messages / turns.length, unit: "", atMost: 1 },
    {
      name: `${name}: more inside than there are permits`,
      measured: checkMutualExclusion(historyOf(key, turns), permits).length,
      unit: `in ${turns.length} holds`,
      atMost: 0
    }
  ]
}
