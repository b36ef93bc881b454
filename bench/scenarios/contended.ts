/** One lock and many who want it, in four processes: how fast it goes from hand to hand, how fairly, and at what cost. */
import type { LockEvent } from "../../test/support/history.js"
import { checkFencing, checkMutualExclusion } from "../../test/support/history.js"
import type { Counts } from "../../test/support/redisSpy.js"
import { commandCounts } from "../../test/support/redisSpy.js"
import { spawnWorker } from "../../test/support/workers.js"
import type { ContenderOptions, ContenderResult, Turn } from "../contender.js"
import type { Scenario } from "../scenario.js"
import type { Figure } from "../support/figure.js"
import { format } from "../support/figure.js"
import { jain, quantile, sum } from "../support/stats.js"

const processes = 4

const key = "contended"

/** Starts the processes, lets them run together, and counts what the server saw meanwhile. */
const run = async (url: string, waiters: number, holdMillis: number, millis: number) => {
  const options: ContenderOptions = { url, key, waiters: waiters / processes, holdMillis, millis }
  const workers = Array.from(
    { length: processes },
    () => spawnWorker(new URL("../contender.ts", import.meta.url), { args: [JSON.stringify(options)] })
  )
  try {
    await Promise.all(workers.map((worker) => worker.next(({ type }) => type === "ready", 20_000)))
    const before = await commandCounts(url)
    for (const worker of workers) worker.send("go")
    const done = await Promise.all(
      workers.map((worker): Promise<{ readonly result: ContenderResult }> =>
        worker.next(({ type }) => type === "done", millis + 30_000)
      )
    )
    return { results: done.map(({ result }) => result), before, after: await commandCounts(url) }
  } finally {
    await Promise.all(workers.map((worker) => worker.kill()))
  }
}

/** Commands of clients: of those that scripts call too, only TIME can be one, and each script calls that once. */
const issued = (counts: Counts): number => {
  const count = (name: string) => counts[name] ?? 0
  const scripts = count("evalsha") + count("eval")
  return scripts + count("ping") + count("subscribe") + count("time") - scripts
}

const historyOf = (turns: ReadonlyArray<Turn>): ReadonlyArray<LockEvent> =>
  turns.flatMap(({ enteredAt, fence, leftAt, waiter }): ReadonlyArray<LockEvent> => [
    { type: "enter", key, process: `waiter ${waiter}`, fence, at: enteredAt },
    { type: "leave", key, process: `waiter ${waiter}`, fence, at: leftAt }
  ])

const measure = async (url: string, waiters: number, holdMillis: number, millis: number) => {
  const { after, before, results } = await run(url, waiters, holdMillis, millis)
  const perProcess = waiters / processes
  const turns = results.flatMap((result, index) =>
    result.turns.map((turn) => ({ ...turn, waiter: index * perProcess + turn.waiter }))
  )
  const shares = Array.from({ length: waiters }, () => 0)
  for (const { waiter } of turns) shares[waiter]!++
  const seconds = (Math.max(...turns.map((turn) => turn.leftAt)) - Math.min(...turns.map((turn) => turn.askedAt))) / 1e6
  const waits = turns.map(({ askedAt, enteredAt }) => (enteredAt - askedAt) / 1000)
  const history = historyOf(turns)
  const messages = (after["publish"] ?? 0) - (before["publish"] ?? 0)
  const refreshes = sum(results.map((result) => result.refreshes))
  const commands = issued(after) - issued(before)
  const pings = (after["ping"] ?? 0) - (before["ping"] ?? 0)

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
      measured: (commands - refreshes - pings) / turns.length,
      unit: "",
      note: `and ${refreshes} heartbeats and ${pings} pings in all`,
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
