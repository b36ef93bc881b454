/** What the library asks of Redis and of its process, counted. No time is measured here: `npm run bench` does that. */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { Effect, ManagedRuntime } from "effect"
import { Redis } from "ioredis"
import { setTimeout as sleep } from "node:timers/promises"
import { Dlock } from "../../src/index.js"
import type { RedisServer } from "../support/redisServer.js"
import { startRedis } from "../support/redisServer.js"
import { countCommands, waitFor } from "../support/redisSpy.js"
import { spawnWorker } from "../support/workers.js"
import { watchAsked, withoutHeartbeats } from "./asked.js"
import type { HolderOptions, HolderReport } from "./holder.js"

let server: RedisServer
let admin: Redis

beforeAll(async () => {
  server = await startRedis()
  admin = new Redis(server.url)
  await admin.ping()
})

afterAll(async () => {
  admin.disconnect()
  await server.stop()
})

type Service = ManagedRuntime.ManagedRuntime<Dlock.Dlock, unknown>

const waitingFor = (service: Service, key: string): Promise<number> =>
  service.runPromise(Effect.map(Dlock.inspect(key), ({ waiting }) => waiting))

/** Services with connections of their own, as several processes would have them. */
const withServices = async (count: number, use: (services: ReadonlyArray<Service>) => Promise<void>) => {
  const services = Array.from(
    { length: count },
    (): Service => ManagedRuntime.make(Dlock.layerRedis({ url: server.url }))
  )
  try {
    // After the first use the connections are open, and the server's clock and the scripts are known.
    for (const service of services) {
      await service.runPromise(Dlock.withLock(Effect.void, "first use"))
      await waitingFor(service, "first use")
    }
    await waitFor(async () => (await admin.pubsub("CHANNELS")).length === count)
    await use(services)
  } finally {
    await Promise.all(services.map((service) => service.dispose()))
  }
}

describe("a free lock", () => {
  const ways: Record<string, Effect.Effect<unknown, unknown, Dlock.Dlock>> = {
    once: Effect.scoped(Dlock.once("free")),
    lock: Effect.scoped(Dlock.lock("free")),
    withLock: Dlock.withLock(Effect.void, "free")
  }
  for (const [name, way] of Object.entries(ways)) {
    it(`costs one command to acquire and one to release: ${name}`, () =>
      withServices(1, async ([service]) => {
        const { asked } = await watchAsked(server.url, () => service!.runPromise(Effect.repeatN(way, 99)))
        assert.deepStrictEqual(asked, { acquire: 100, leave: 100 })
      }))
  }
})

describe("a contended lock", () => {
  for (const [waiters, rounds] of [[32, 10], [1_000, 2]] as const) {
    it(`costs two commands and one message an acquisition with ${waiters} waiters`, () =>
      withServices(4, async (services) => {
        const key = `contended by ${waiters}`
        const holder = services[0]!
        const each = Array.from({ length: waiters / services.length }, () => undefined)
        const wait = Effect.repeatN(Dlock.withLock(Effect.void, key), rounds - 1)
        const waitAll = Effect.forEach(each, () => wait, { concurrency: "unbounded", discard: true })
        // All of them queue behind one holder. From then on the lock is never free until all have had all their turns.
        const { asked } = await watchAsked(server.url, () =>
          holder.runPromise(Effect.scoped(Effect.gen(function*() {
            const lock = yield* Dlock.lock(key)
            const all = services.map((service) => service.runPromise(waitAll))
            yield* Effect.promise(() => waitFor(async () => await waitingFor(holder, key) === waiters, 20_000))
            yield* lock.release
            yield* Effect.promise(() => Promise.all(all))
          }))))
        const { acquire, leave, message } = withoutHeartbeats(asked)
        const contended = waiters * rounds
        assert.deepStrictEqual(
          { acquire, leave, message },
          { acquire: contended + 1, leave: contended + 1, message: contended }
        )
      }))
  }

  it("takes two connections, however many wait", () =>
    withServices(1, async ([service]) => {
      const connections = async () => String(await admin.client("LIST")).trim().split("\n").length - 1
      assert.strictEqual(await connections(), 2)
      const abort = new AbortController()
      const key = "many wait"
      const all = Effect.forEach(Array.from({ length: 500 }), () => Dlock.withLock(Effect.never, key), {
        concurrency: "unbounded"
      })
      const waiting = service!.runPromiseExit(all, { signal: abort.signal })
      await waitFor(async () => await waitingFor(service!, key) === 499)
      assert.strictEqual(await connections(), 2)
      abort.abort()
      await waiting
    }))
})

describe("an idle service", () => {
  it("sends no command at all", () =>
    withServices(1, async () => {
      const { counts } = await countCommands(admin, () => sleep(2_000))
      assert.deepStrictEqual(counts, {})
    }))
})

describe("ten thousand held locks", () => {
  const locks = 10_000
  const ttlMillis = 9_000
  const periods = 3
  const batches = Math.ceil(locks / 256)

  it(
    "cost a command for 256 of them every third of the ttl, and no fiber and no timer each",
    async () => {
      const options: HolderOptions = { url: server.url, locks, ttlMillis }
      const holder = spawnWorker(new URL("./holder.ts", import.meta.url), { args: [JSON.stringify(options)] })
      try {
        await holder.next(({ type }) => type === "holding", 25_000)
        // They were acquired one after the other, and come to be due together within a period.
        await sleep(ttlMillis / 3)
        const { counts } = await countCommands(admin, () => sleep(periods * ttlMillis / 3))
        const renewals = counts["evalsha"] ?? 0
        assert.isAtLeast(renewals, periods * batches - batches)
        assert.isAtMost(renewals, periods * (batches + 1))
        assert.deepStrictEqual(Object.keys(counts).filter((name) => /eval|ping|publish/.test(name)), ["evalsha"])

        holder.send("report")
        const { report }: { report: HolderReport } = await holder.next(({ type }) => type === "report", 10_000)
        // The heap each is a figure of the benchmark: amid renewals it is not the same twice.
        assert.isAtMost(report.fibers, 2)
        assert.isAtMost(report.timers, 1)
      } finally {
        await holder.kill()
      }
    },
    60_000
  )
})
