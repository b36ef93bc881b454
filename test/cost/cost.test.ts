/** What the library asks of Redis and of its process, counted. No time is measured here: `npm run bench` does that. */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as ManagedRuntime from "effect/ManagedRuntime"
import { Redis } from "ioredis"
import { Socket } from "node:net"
import { setTimeout as sleep } from "node:timers/promises"
import { vi } from "vitest"
import type { Singleton } from "../../src/index.js"
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

const waitingFor = (service: Service, key: string, kind?: Dlock.Kind): Promise<number> =>
  service.runPromise(Effect.map(Dlock.inspect(key, kind), ({ waiting }) => waiting))

const times = (count: number): ReadonlyArray<undefined> => Array.from({ length: count }, () => undefined)

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
        const { asked } = await watchAsked(server.url, () => service!.runPromise(Effect.repeat(way, { times: 99 })))
        assert.deepStrictEqual(asked, { acquire: 100, leave: 100 })
      }))
  }
})

describe("64 fibers that take free locks at once, each again and again", () => {
  it("send many commands in a write", () =>
    withServices(1, async ([service]) => {
      const cycles = Effect.forEach(times(64), (_, i) =>
        Effect.repeat(Effect.scoped(Dlock.once(`free ${i}`)), { times: 49 }), {
        concurrency: "unbounded",
        discard: true
      })
      await service!.runPromise(cycles)
      // A write of one piece, and one of several, which is how what was held back goes out.
      const writes = [vi.spyOn(Socket.prototype, "_write"), vi.spyOn(Socket.prototype, "_writev")]
      await service!.runPromise(cycles)
      const count = writes.reduce((sum, { mock }) =>
        sum + mock.calls.length, 0)
      writes.forEach((spy) =>
        spy.mockRestore()
      )
      assert.isBelow(count, 2 * 64 * 50 / 8)
    }))
})

describe("a singleton with hold", () => {
  const ways = [
    ["that its lease lasts for", { hold: 200 }, { acquire: 1, leave: 1, settle: 1 }],
    ["longer than its ttl", { ttl: 150, hold: 300 }, { acquire: 1, refresh: 1, leave: 1, settle: 1 }]
  ] as const
  for (const [name, options, expected] of ways) {
    it(`costs a command when its time is over, and one before its job when it is longer than its lease: ${name}`, () =>
      withServices(1, async ([service]) => {
        const runAndHold = async (key: string, holding: Singleton.Options) => {
          await service!.runPromise(Dlock.singleton(key, Effect.void, holding))
          await waitFor(() =>
            service!.runPromise(Effect.map(Dlock.inspect(key), ({ holders }) => holders.length === 0))
          )
          await sleep(100)
        }
        // Redis has all scripts after that.
        await runAndHold("first use", { ttl: 100, hold: 150 })
        const { asked } = await watchAsked(server.url, () => runAndHold(name, options))
        const { inspect: _inspect, ...rest } = asked
        assert.deepStrictEqual(rest, expected)
      }))
  }
})

describe("a contended lock", () => {
  for (const [waiters, rounds] of [[32, 10], [1_000, 2]] as const) {
    it(`costs two commands and one message an acquisition with ${waiters} waiters`, () =>
      withServices(4, async (services) => {
        const key = `contended by ${waiters}`
        const holder = services[0]!
        const each = times(waiters / services.length)
        const wait = Effect.repeat(Dlock.withLock(Effect.void, key), { times: rounds - 1 })
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

describe("a semaphore of 4 permits", () => {
  it("costs two commands and at most one message an acquisition with 32 contenders in 4 services", () =>
    withServices(4, async (services) => {
      const [key, contenders, rounds] = ["permits", 32, 10]
      const semaphore = Dlock.semaphore(key, { permits: 4 })
      const holder = services[0]!
      const each = times(contenders / services.length)
      const take = Effect.flatMap(
        semaphore,
        ({ withPermits }) => Effect.repeat(withPermits(1)(Effect.void), { times: rounds - 1 })
      )
      const takeAll = Effect.forEach(each, () => take, { concurrency: "unbounded", discard: true })
      const { asked } = await watchAsked(server.url, () =>
        holder.runPromise(Effect.scoped(Effect.gen(function*() {
          const lock = yield* (yield* semaphore).take(4)
          const all = services.map((service) => service.runPromise(takeAll))
          yield* Effect.promise(() =>
            waitFor(async () => await waitingFor(holder, key, "semaphore") === contenders, 20_000)
          )
          yield* lock.release
          yield* Effect.promise(() => Promise.all(all))
        }))))
      const { acquire, leave, message = 0 } = withoutHeartbeats(asked)
      assert.deepStrictEqual({ acquire, leave }, { acquire: contenders * rounds + 1, leave: contenders * rounds + 1 })
      assert.isAtMost(message, contenders * rounds)
      assert.isUndefined(asked["settle"])
    }))
})

describe("a read-write lock", () => {
  // One call lets in 64.
  it("lets in a thousand readers behind a writer by at most 16 calls", () =>
    withServices(4, async (services) => {
      const readers = 1_000
      /** What was asked between the release of the writer and the entry of the last reader. */
      const letIn = async (key: string) => {
        const lock = Dlock.readWriteLock(key)
        let inside = 0
        const allInside = Effect.runSync(Deferred.make<void>())
        const leave = Effect.runSync(Deferred.make<void>())
        const enter = Effect.suspend(() => ++inside === readers ? Deferred.succeed(allInside, undefined) : Effect.void)
        const read = Effect.flatMap(lock, ({ withRead }) => withRead(Effect.andThen(enter, Deferred.await(leave))))
        const readAll = Effect.forEach(times(readers / services.length), () => read, {
          concurrency: "unbounded",
          discard: true
        })
        const writer = services[0]!
        return writer.runPromise(Effect.scoped(Effect.gen(function*() {
          const { release } = yield* (yield* lock).write
          const all = services.map((service) => service.runPromise(readAll))
          yield* Effect.promise(() =>
            waitFor(async () => await waitingFor(writer, key, "readWriteLock") === readers, 20_000)
          )
          const { asked } = yield* Effect.promise(() =>
            watchAsked(server.url, Effect.andThen(release, Deferred.await(allInside)))
          )
          yield* Deferred.succeed(leave, undefined)
          yield* Effect.promise(() => Promise.all(all))
          return asked
        })))
      }
      // The first time tells the server the script.
      await letIn("readers, first use")
      const { leave = 0, settle = 0, ...rest } = withoutHeartbeats(await letIn("readers"))
      assert.isAtMost(leave + settle, Math.ceil(readers / 64))
      assert.deepStrictEqual(Object.keys(rest), ["message"])
    }))
})

describe("a multi-lock of 8 keys", () => {
  const keys = Array.from({ length: 8 }, (_, i) => `multi:${i}`)

  it("costs one command to acquire and one to release when all are free", () =>
    withServices(1, async ([service]) => {
      const way = Effect.scoped(Dlock.multi(keys))
      const { asked } = await watchAsked(server.url, () => service!.runPromise(Effect.repeat(way, { times: 99 })))
      assert.deepStrictEqual(asked, { acquire: 100, leave: 100 })
    }))

  const held: Record<string, ReadonlyArray<string>> = {
    "the first is": keys.slice(0, 1),
    "the last is": keys.slice(-1),
    "all are": keys
  }
  for (const [which, some] of Object.entries(held)) {
    it(`costs a command for each key and one more to acquire, and one to release, when ${which} held`, () =>
      withServices(2, async ([holder, waiter]) => {
        const { asked } = await watchAsked(server.url, () =>
          holder!.runPromise(Effect.scoped(Effect.gen(function*() {
            const { release } = yield* Dlock.multi(some)
            const done = waiter!.runPromise(Dlock.withMulti(Effect.void, keys))
            yield* Effect.promise(() => waitFor(async () => await waitingFor(holder!, some[0]!) === 1))
            yield* release
            yield* Effect.promise(() => done)
          }))))
        const { acquire = 0, leave = 0 } = withoutHeartbeats(asked)
        const ofHolder = 1
        assert.isAtMost(acquire - ofHolder, keys.length + 1)
        assert.strictEqual(leave - ofHolder, 1)
      }))
  }
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
