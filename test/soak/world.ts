/** Two servers, of which one is the primary, and processes that reach it through proxies of their own. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { Redis as Client } from "ioredis"
import type { Random } from "../simulation/random.js"
import type { Proxy } from "../support/proxy.js"
import { startProxy } from "../support/proxy.js"
import type { RedisServer } from "../support/redisServer.js"
import { redisWith } from "../support/redisServer.js"
import { waitFor } from "../support/redisSpy.js"
import type { Worker } from "../support/workers.js"
import { monotonicMicros, spawnWorker } from "../support/workers.js"
import type { Fault, Heard, Loss, Span } from "./record.js"

export const ttl = 1_000
export const commandTimeout = 400
export const permits = 3
const key = "k"

/** What docs/operations.md says that an application needs. */
export const rights = [
  ...["on", ">pass", "resetkeys", "~dlock:*", "resetchannels", "&dlock:inbox:*", "-@all"],
  ..."+eval +evalsha +time +info +ping +subscribe +unsubscribe +publish +pubsub|numsub".split(" "),
  ..."+get +set +del +exists +pexpireat +hget +hmget +hset +hdel +hlen".split(" "),
  ..."+zadd +zrem +zcard +zcount +zscore +zrank +zrange +zrangebyscore".split(" ")
]

export interface Process {
  readonly name: string
  readonly worker: Worker
  readonly proxy: Proxy
  readonly stops: Array<Span>
  /** Neither starting, nor stopped, nor dead, nor behind a network that fails. */
  isWell: boolean
  hasExited: boolean
  diedAt: number | undefined
  closed: string | undefined
}

export interface World {
  primary: RedisServer
  replica: RedisServer
  readonly processes: Array<Process>
  readonly faults: Array<Fault>
  readonly losses: Array<Loss>
  readonly random: Random
}

/** Asks the primary, as somebody who may do anything. */
export const asAdmin = <A>(server: RedisServer, use: (client: Client) => Promise<A>): Effect.Effect<A> =>
  Effect.promise(async () => {
    const client = new Client(server.url, { lazyConnect: true, retryStrategy: () => null })
    client.on("error", () => {})
    try {
      await client.connect()
      return await use(client)
    } finally {
      client.disconnect()
    }
  })

const server = redisWith({
  args: ["--appendonly,yes,--appendfsync,always,--repl-diskless-sync-delay,0".split(","), ["--user", "app"], rights]
    .flat()
})

/** Until the replica has all that the primary has. */
export const follows = ({ primary, replica }: World): Effect.Effect<void> =>
  asAdmin(replica, async (client) => {
    await client.replicaof("127.0.0.1", primary.port)
    await waitFor(async () => /master_link_status:up/.test(await client.info("replication")), 20_000)
  })

/** A process that contends until it is told to stop. */
export const start = (world: World, name: string): Effect.Effect<Process, never, Scope.Scope> =>
  Effect.gen(function*() {
    const proxy = yield* Effect.acquireRelease(
      Effect.promise(() => startProxy(world.primary.port)),
      (proxy) => Effect.promise(() => proxy.close())
    )
    const url = proxy.url.replace("//", "//app:pass@")
    const options = { url, key, ttl, commandTimeout, count: 4, jobMillis: 30, cold: true }
    const worker = yield* Effect.acquireRelease(
      Effect.sync(() =>
        spawnWorker(new URL("../faults/worker.ts", import.meta.url), { args: ["all", JSON.stringify(options)] })
      ),
      (worker) => Effect.promise(() => worker.kill())
    )
    const process: Process = {
      name,
      worker,
      proxy,
      stops: [],
      isWell: false,
      hasExited: false,
      diedAt: undefined,
      closed: undefined
    }
    void worker.exited.then(() => {
      process.hasExited = true
    })
    world.processes.push(process)
    yield* Effect.promise(() => worker.next(({ type }) => type === "ready", 30_000))
    process.isWell = true
    return process
  })

export const make = (random: Random, processes: number): Effect.Effect<World, never, Scope.Scope> =>
  Effect.gen(function*() {
    const [primary, replica] = yield* Effect.all([server, server], { concurrency: 2 })
    const world: World = { primary, replica, processes: [], faults: [], losses: [], random }
    yield* follows(world)
    const names = Array.from({ length: processes }, (_, i) => String.fromCharCode(97 + i))
    yield* Effect.forEach(names, (name) => start(world, name), { concurrency: 2 })
    return world
  })

/** Writes down that the fault was there while the effect ran. */
export const during = <A>(
  world: World,
  kind: string,
  effect: Effect.Effect<A, never, Scope.Scope>,
  process?: string
): Effect.Effect<A, never, Scope.Scope> =>
  Effect.suspend(() => {
    const from = monotonicMicros()
    return Effect.ensuring(
      effect,
      Effect.sync(() => void world.faults.push({ kind, process, from, to: monotonicMicros() }))
    )
  })

/** Writes down that what Redis was told while the effect ran, and before, may be forgotten. */
export const forgetting = <A>(world: World, effect: Effect.Effect<A, never, Scope.Scope>) =>
  Effect.suspend(() => {
    const from = monotonicMicros()
    return Effect.ensuring(
      effect,
      Effect.sync(() => void world.losses.push({ from, to: monotonicMicros(), fence: 1_000 * (Date.now() + 1) }))
    )
  })

/** How long a process may take to exit once its layer has closed. */
const exitMillis = 3_000

const end = async ({ hasExited, worker }: Process): Promise<string> => {
  try {
    if (!hasExited) worker.send("stop")
    const { exit } = await worker.next(({ type }) => type === "closed", 30_000)
    await waitFor(() => Promise.race([worker.exited, undefined]), exitMillis)
    const { code, signal } = await worker.exited
    return code === 0 ? exit : `exit ${code ?? signal}: ${worker.output()}`
  } catch (error) {
    return String(error).slice(0, 2_000)
  }
}

/** Each process that lives ends by itself when it has given back what it holds. */
export const stop = ({ processes }: World): Effect.Effect<void> =>
  Effect.forEach(processes.filter(({ diedAt }) => diedAt === undefined), (process) =>
    Effect.promise(async () => {
      process.closed = await end(process)
    }), { concurrency: "unbounded", discard: true })

export const heard = ({ closed, diedAt, name, stops, worker }: Process): Heard => ({
  closed,
  diedAt,
  name,
  stops,
  messages: worker.messages
})
