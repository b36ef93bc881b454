/** One lock and many who want it, in four processes: how fast it goes from hand to hand, how fairly, and at what cost. */
import { checkFencing, checkMutualExclusion } from "../../test/support/history.js"
import type { Scenario } from "../scenario.js"
import { contend, historyOf, waitMillis } from "../support/contenders.js"
import type { Figure } from "../support/figure.js"
import { format } from "../support/figure.js"
import { jain, quantile } from "../support/stats.js"

const key = "contended"

const measure = async (url: string, waiters: number, holdMillis: number, millis: number) => {
  const { commands, heartbeats, messages, pings, seconds, turns } = await contend({
    url,
    key,
    waiters,
    holdMillis,
    millis
  })
  const shares = Array.from({ length: waiters }, () => 0)
  for (const { waiter } of turns) shares[waiter]!++
  const waits = turns.map(waitMillis)
  const history = historyOf(key, turns)

  const fairest = jain(shares.map((_, waiter) => Math.floor((turns.length + waiter) / waiters)))

  const name = `${waiters} waiters, held for ${holdMillis} ms`
  return [
    { name: `${name}: acquisitions`, measured: turns.length / seconds, unit: "/s" },
    { name: `${name}: wait, p50`, measured: quantile(waits, 0.5), unit: "ms" },
    { name: `${name}: wait, p99`, measured: quantile(waits, 0.99), unit: "ms" },
    {
      name: `${name}: fairness (Jain)`,
      measured: jain(shares),
      unit: "",
      note: `${format(fairest)} is the most that whole turns allow`,
      atLeast: 0.99 * fairest
    },
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
      name: `${name}: overlaps and wrong fences`,
      measured: checkMutualExclusion(history).length + checkFencing(history).length,
      unit: `in ${turns.length} holds`,
      atMost: 0
    }
  ] satisfies ReadonlyArray<Figure>
}

export const contended: Scenario = async ({ quick, url }) => {
  const millis = quick ? 1_500 : 3_000
  const figures: Array<Figure> = []
  for (const waiters of [32, 1_000]) {
    for (const holdMillis of [0, 1]) figures.push(...await measure(url, waiters, holdMillis, millis))
  }
  return figures
}
