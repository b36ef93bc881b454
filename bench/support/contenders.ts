/** Processes that contend for one key, and what the server saw meanwhile. */
import type { LockEvent } from "../../test/support/history.js"
import type { Counts } from "../../test/support/redisSpy.js"
import { commandCounts } from "../../test/support/redisSpy.js"
import { spawnWorker } from "../../test/support/workers.js"
import type { ContenderOptions, ContenderResult, Turn } from "../contender.js"
import { sum } from "./stats.js"

const processes = 4

export interface Contended {
  /** Waiters are numbered over all processes. */
  readonly turns: ReadonlyArray<Turn>
  /** From the first request to the last release. */
  readonly seconds: number
  /** Commands of clients, but for heartbeats and pings. */
  readonly commands: number
  readonly heartbeats: number
  readonly pings: number
  readonly messages: number
}

/** Starts the processes, lets them run together, and counts what the server saw meanwhile. */
const run = async (options: ContenderOptions) => {
  const { millis, url, waiters } = options
  const args = [JSON.stringify({ ...options, waiters: waiters / processes })]
  const workers = Array.from(
    { length: processes },
    () => spawnWorker(new URL("../contender.ts", import.meta.url), { args })
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

/** Lets that many waiters contend, the same number in each of four processes. */
export const contend = async (options: ContenderOptions): Promise<Contended> => {
  const { after, before, results } = await run(options)
  const perProcess = options.waiters / processes
  const turns = results.flatMap((result, index) =>
    result.turns.map((turn) => ({ ...turn, waiter: index * perProcess + turn.waiter }))
  )
  const first = turns.reduce((at, { askedAt }) => Math.min(at, askedAt), Infinity)
  const last = turns.reduce((at, { leftAt }) => Math.max(at, leftAt), -Infinity)
  const heartbeats = sum(results.map(({ refreshes }) => refreshes))
  const pings = (after["ping"] ?? 0) - (before["ping"] ?? 0)
  return {
    turns,
    seconds: (last - first) / 1e6,
    commands: issued(after) - issued(before) - heartbeats - pings,
    heartbeats,
    pings,
    messages: (after["publish"] ?? 0) - (before["publish"] ?? 0)
  }
}

export const waitMillis = ({ askedAt, enteredAt }: Turn): number => (enteredAt - askedAt) / 1000

export const historyOf = (key: string, turns: ReadonlyArray<Turn>): ReadonlyArray<LockEvent> =>
  turns.flatMap(({ enteredAt, fence, leftAt, waiter }): ReadonlyArray<LockEvent> => [
    { type: "enter", key, process: `waiter ${waiter}`, fence, at: enteredAt },
    { type: "leave", key, process: `waiter ${waiter}`, fence, at: leftAt }
  ])
