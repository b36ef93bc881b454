/** The processes of one contender, with a Redis server of their own: what they leave behind disturbs nobody else. */
import { Redis } from "ioredis"
import type { RedisServer } from "../../test/support/redisServer.js"
import { startRedis } from "../../test/support/redisServer.js"
import type { Worker } from "../../test/support/workers.js"
import { monotonicMicros, spawnWorker } from "../../test/support/workers.js"
import type { ContenderId } from "../contenders/index.js"
import { contenders } from "../contenders/index.js"
import { workerFiles } from "./bundle.js"
import { sum } from "./stats.js"
import type { Done, Held, Order, Work } from "./work.js"

/** What all processes of one contender did together. */
export interface Outcome {
  readonly processes: ReadonlyArray<Done>
  /** From the start of the first to the end of the last. */
  readonly seconds: number
  readonly executions: number
  readonly landed: number
  /** Commands that clients sent. Those that scripts called are not among them. */
  readonly commands: number
  /** The same by name. */
  readonly sent: ReadonlyMap<string, number>
  /** What the server took for them, in microseconds, with what their scripts called. */
  readonly redisMicros: number
  readonly bytesOut: number
  /** Processor time of the clients. */
  readonly cpuMicros: number
}

export interface Group {
  readonly id: ContenderId
  readonly name: string
  readonly options: string
  /** Rejects when it is not done in time, or cannot be. It is started anew for what comes then. */
  readonly run: (processes: number, work: Work, timeoutMillis?: number) => Promise<Outcome>
  /** Holds the locks for that long. Ends its processes, as nothing is to be measured in them afterwards. */
  readonly hold: (work: Work, millis: number) => Promise<Kept>
  readonly stop: () => Promise<void>
}

export interface Kept extends Held {
  readonly commandsPerSecond: number
  /** What the server still knows: a lock has at least one. */
  readonly keys: number
}

interface Stats {
  readonly calls: ReadonlyMap<string, { readonly calls: number; readonly micros: number }>
  readonly bytesOut: number
}

const read = async (admin: Redis): Promise<Stats & { readonly ownBytes: number }> => {
  const info = await admin.info("all")
  const stats = [...info.matchAll(/^cmdstat_([^:\r\n]+):calls=(\d+),usec=(\d+)/gm)]
  return {
    calls: new Map(stats.map(([, name, calls, micros]) => [name!, { calls: Number(calls), micros: Number(micros) }])),
    bytesOut: Number(/total_net_output_bytes:(\d+)/.exec(info)?.[1]),
    ownBytes: Buffer.byteLength(info)
  }
}

/** A command that scripts call, too, is counted by its share. */
const redisMicros = (sent: ReadonlyMap<string, number>, before: Stats, after: Stats): number =>
  sum([...sent].map(([name, count]) => {
    const calls = (after.calls.get(name)?.calls ?? 0) - (before.calls.get(name)?.calls ?? 0)
    const micros = (after.calls.get(name)?.micros ?? 0) - (before.calls.get(name)?.micros ?? 0)
    return calls === 0 ? 0 : micros * Math.min(1, count / calls)
  }))

const sentBy = (processes: ReadonlyArray<Pick<Done, "sent">>): ReadonlyMap<string, number> => {
  const total = new Map<string, number>()
  for (const { sent } of processes) {
    for (const [name, count] of Object.entries(sent)) total.set(name, (total.get(name) ?? 0) + count)
  }
  return total
}

interface Members {
  readonly server: RedisServer
  readonly admin: Redis
  readonly workers: Array<Worker>
}

const answer = async <A>(worker: Worker, type: string, timeoutMillis: number): Promise<A> => {
  const message = await worker.next((message) => message.type === type || message.type === "failed", timeoutMillis)
  if (message.type === "failed") throw new Error(message.message)
  return message
}

const spawn = async (id: ContenderId, url: string): Promise<Worker> => {
  const { edition = 4 } = await contenders[id]()
  const worker = spawnWorker(workerFiles[edition], {
    args: [JSON.stringify({ contender: id, url })]
  })
  await answer(worker, "open", 60_000)
  return worker
}

const order = (worker: Worker, message: Order) => worker.send(message)

const open = async (): Promise<Members> => {
  const server = await startRedis()
  return { server, admin: new Redis(server.url), workers: [] }
}

const close = async ({ admin, server, workers }: Members) => {
  await Promise.all(workers.map((worker) => worker.kill()))
  admin.disconnect()
  await server.stop()
}

const play = async ({ admin, workers }: Members, work: Work, timeoutMillis: number): Promise<Outcome> => {
  for (const [index, worker] of workers.entries()) order(worker, { type: "prepare", work, isFirst: index === 0 })
  await Promise.all(workers.map((worker) => answer(worker, "ready", 60_000)))
  const before = await read(admin)
  const startAt = monotonicMicros() + (workers.length === 1 ? 0 : 20_000)
  for (const worker of workers) order(worker, { type: "go", startAt })
  const answers = await Promise.all(
    workers.map((worker) => answer<{ readonly done: Done }>(worker, "done", timeoutMillis))
  )
  const after = await read(admin)
  const processes = answers.map(({ done }) => done)
  const sent = sentBy(processes)
  const endedAt = Math.max(...processes.map((done) => done.endedAt))
  return {
    processes,
    seconds: (endedAt - Math.min(...processes.map((done) => done.startedAt))) / 1e6,
    executions: sum(processes.map((done) => done.executions)),
    landed: sum(processes.map((done) => done.landed)),
    commands: sum([...sent.values()]),
    sent,
    cpuMicros: sum(processes.map((done) => done.cpuMicros)),
    redisMicros: redisMicros(sent, before, after),
    bytesOut: after.bytesOut - before.bytesOut - before.ownBytes
  }
}

export const makeGroup = async (id: ContenderId): Promise<Group> => {
  const { name, options } = await contenders[id]()
  let members: Members | undefined
  const stop = async () => {
    const stopped = members
    members = undefined
    if (stopped !== undefined) await close(stopped)
  }
  /** The first so many of them, started if there are less. */
  const some = async (count: number): Promise<Members> => {
    const all = members ??= await open()
    while (all.workers.length < count) {
      const missing = Array.from({ length: count - all.workers.length }, () => spawn(id, all.server.url))
      all.workers.push(...await Promise.all(missing))
    }
    return { ...all, workers: all.workers.slice(0, count) }
  }
  const orStop = async <A>(body: () => Promise<A>): Promise<A> => {
    try {
      return await body()
    } catch (error) {
      await stop()
      throw error
    }
  }
  return {
    id,
    name,
    options,
    stop,
    run: (processes, work, timeoutMillis = 20_000) =>
      orStop(async () => play(await some(processes), work, timeoutMillis)),
    hold: (work, millis) =>
      orStop(async () => {
        await stop()
        const alone = await some(1)
        await play(alone, work, 60_000)
        const earlier = await reportOf(alone.workers[0]!)
        await new Promise((resolve) => setTimeout(resolve, millis))
        const { at, held, sent } = await reportOf(alone.workers[0]!)
        const keys = await alone.admin.dbsize()
        await stop()
        const commands = sum(Object.values(sent)) - sum(Object.values(earlier.sent))
        return { ...held, keys, commandsPerSecond: commands / (at - earlier.at) * 1e6 }
      })
  }
}

interface Report {
  readonly held: Held
  readonly sent: Readonly<Record<string, number>>
  readonly at: number
}

const reportOf = (worker: Worker): Promise<Report> => {
  order(worker, { type: "report" })
  return answer(worker, "report", 20_000)
}
