/**
 * A process that plays one contender. Its argument is JSON, see `WorkerOptions`. It says "open", and then obeys each
 * `Order`: to "prepare" it answers "ready", to "go" it answers "done", to "report" it answers "report".
 */
import { monitorEventLoopDelay } from "node:perf_hooks"
import { setTimeout as sleep } from "node:timers/promises"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { monotonicMicros } from "../test/support/workers.js"
import type { Turn } from "./contender.js"
import type { ContenderId } from "./contenders/index.js"
import { contenders } from "./contenders/index.js"
import { sentSoFar } from "./support/counting.js"
import type {
  ContendWork,
  CycleWork,
  Done,
  FanoutWork,
  HoldWork,
  Order,
  Run,
  Work,
  WorkerOptions
} from "./support/work.js"

const options: WorkerOptions = JSON.parse(process.argv[2]!)
const session = await (await contenders[options.contender as ContenderId]()).open(options.url)

// The same as the flag --expose-gc, which a parent would have to know of.
setFlagsFromString("--expose-gc")
const collectGarbage: () => void = runInNewContext("gc")

const can = <A>(ability: A | undefined): A => {
  if (ability === undefined) throw new Error(`${options.contender} cannot do this`)
  return ability
}

type Report = Partial<Pick<Done, "executions" | "landed" | "turns" | "runs">>

const cycle = async (work: CycleWork): Promise<Report> => {
  let executions = 0
  await can(session[work.kind])({ keys: work.keys, times: work.times, body: () => executions++ })
  return { executions }
}

const contend = async ({ millis, ...work }: ContendWork): Promise<Report> => {
  const turns: Array<Turn> = []
  const until = monotonicMicros() + millis * 1000
  await can(session[work.kind])({
    ...work,
    again: () => millis > 0 && monotonicMicros() < until,
    record: (turn) => turns.push(turn)
  })
  return { turns, executions: turns.length }
}

const fanout = async ({ callers, ids, jobMillis, payloadBytes }: FanoutWork): Promise<Report> => {
  const runs: Array<Run> = []
  let landed = 0
  await can(session.fanout)({
    ids,
    callers,
    job: async (id) => {
      const startedAt = monotonicMicros()
      await sleep(jobMillis)
      runs.push({ id, startedAt, endedAt: monotonicMicros() })
      return "x".repeat(payloadBytes)
    },
    landed: (result) => {
      if (result.length === payloadBytes) landed++
    }
  })
  return { executions: runs.length, landed, runs }
}

/** After a moment, so that what has just ended is garbage already. */
const memory = async () => {
  for (let i = 0; i < 3; i++) {
    await sleep(50)
    collectGarbage()
  }
  const { heapUsed, rss } = process.memoryUsage()
  return { heap: heapUsed, rss }
}

let before = { heap: 0, rss: 0 }
let locks = 0
const delay = monitorEventLoopDelay({ resolution: 1 })

const hold = async ({ keys, ttlMillis }: HoldWork): Promise<Report> => {
  locks = keys.length
  await can(session.hold)(keys, ttlMillis)
  return { executions: keys.length }
}

const prepare = async (work: Work, isFirst: boolean) => {
  if (work.kind === "hold") {
    const release = await can(session.hold)(work.keys.slice(0, 100).map((key) => `warm ${key}`), work.ttlMillis)
    await release()
    before = await memory()
    return
  }
  await session.prepare?.({
    kind: "key" in work ? "contend" : work.kind,
    keys: "key" in work ? [work.key] : work.kind === "fanout" ? work.ids : work.keys,
    permits: "key" in work ? work.permits : 1,
    waiters: "key" in work ? work.waiters : 1,
    isFirst
  })
}

const play = (work: Work): Promise<Report> =>
  work.kind === "hold"
    ? hold(work)
    : work.kind === "fanout"
    ? fanout(work)
    : "key" in work
    ? contend(work)
    : cycle(work)

const measured = async (work: Work): Promise<Done> => {
  const earlier = sentSoFar()
  const cpu = process.cpuUsage()
  const startedAt = monotonicMicros()
  const report = await play(work)
  const endedAt = monotonicMicros()
  const { system, user } = process.cpuUsage(cpu)
  const sent = Object.entries(sentSoFar()).map(([name, count]) => [name, count - (earlier[name] ?? 0)] as const)
  return {
    ...{ executions: 0, landed: 0, turns: [], runs: [], ...report },
    startedAt,
    endedAt,
    cpuMicros: user + system,
    sent: Object.fromEntries(sent)
  }
}

let work: Work | undefined

const obey = async (order: Order) => {
  if (order.type === "prepare") {
    work = order.work
    await prepare(work, order.isFirst)
    process.send!({ type: "ready" })
  } else if (order.type === "go") {
    await sleep(Math.max(0, (order.startAt - monotonicMicros()) / 1000))
    const done = await measured(work!)
    process.send!({ type: "done", done })
  } else {
    const at = monotonicMicros()
    const sent = sentSoFar()
    const delayP99 = delay.percentile(99) / 1e6
    delay.disable()
    const { heap, rss } = await memory()
    const held = { rssBytes: (rss - before.rss) / locks, heapBytes: (heap - before.heap) / locks, delayP99 }
    process.send!({ type: "report", held, sent, at })
    // From one report to the next.
    delay.reset()
    delay.enable()
  }
}

process.on("message", (order: Order) => {
  obey(order).catch((error: unknown) => process.send!({ type: "failed", message: String(error) }))
})
process.send!({ type: "open" })
