/** What a flight asks of Redis: one command a process and one more, however many callers. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as ManagedRuntime from "effect/ManagedRuntime"
import { Redis } from "ioredis"
import { setTimeout as sleep } from "node:timers/promises"
import { Dlock } from "../../src/index.js"
import { startRedis } from "../support/redisServer.js"
import { waitFor } from "../support/redisSpy.js"
import { watchAsked } from "./asked.js"

type Service = ManagedRuntime.ManagedRuntime<Dlock.Dlock, unknown>

/** Services with connections of their own, as several processes would have them, all of them used before. */
const withServices = async (
  count: number,
  use: (admin: Redis, url: string, services: ReadonlyArray<Service>) => Promise<void>
) => {
  const server = await startRedis()
  const admin = new Redis(server.url)
  const services = Array.from(
    { length: count },
    (): Service => ManagedRuntime.make(Dlock.layerRedis({ url: server.url }))
  )
  try {
    for (const service of services) await service.runPromise(Dlock.fanout("first use", Effect.void))
    await waitFor(async () => (await admin.pubsub("CHANNELS")).length === count)
    await use(admin, server.url, services)
  } finally {
    await Promise.all(services.map((service) => service.dispose()))
    admin.disconnect()
    await server.stop()
  }
}

const callers = Array.from({ length: 1_000 })

/** All callers of all services at once. The job ends when every process takes part, and certainly after every call. */
const flight = (admin: Redis, services: ReadonlyArray<Service>, id: string, result: string) => {
  let asked = 0
  const followers = `dlock:flight:{${id}}:followers`
  const isComplete = async () =>
    asked === services.length * callers.length && await admin.zcard(followers) === services.length - 1
  // By the server's clock a call may have come some milliseconds later than it did.
  const job = Effect.promise(() => waitFor(isComplete).then(() => sleep(20)).then(() => result))
  const ask = Effect.suspend(() => {
    asked++
    return Dlock.fanout(id, job)
  })
  const all = services.map((service) =>
    service.runPromise(Effect.forEach(callers, () => ask, { concurrency: "unbounded" }))
  )
  return Promise.all(all)
}

const others = ({ ping: _ping, zcard: _zcard, info: _info, ...asked }: Partial<Record<string, number>>) => asked

describe("a flight", () => {
  for (const processes of [1, 4]) {
    it(`of ${processes} processes with 1,000 callers each costs P + 1 commands and P - 1 messages`, () =>
      withServices(processes, async (admin, url, services) => {
        // The scripts are known by now.
        const startedAt = performance.now()
        const { asked, value } = await watchAsked(url, () => flight(admin, services, "counted", "result"))
        const took = performance.now() - startedAt
        assert.deepStrictEqual(value.flat(), Array.from({ length: processes * 1_000 }, () => "result"))
        const { message = 0, ...commands } = others(asked)
        assert.deepStrictEqual(commands, { join: processes, finish: 1 })
        assert.strictEqual(message, processes - 1)
        assert.isBelow(took, 10_000)
      }))
  }

  it("with a result over 64 KB costs one more for each follower, and sends it to none unasked", () =>
    withServices(4, async (admin, url, services) => {
      const large = () => flight(admin, services, "large", "x".repeat(100_000))
      // The script that fetches is known from then on.
      await large()
      const { asked, value } = await watchAsked(url, large)
      assert.isTrue(value.flat().every((result) => result.length === 100_000))
      const { message = 0, ...commands } = others(asked)
      assert.deepStrictEqual(commands, { join: 4, finish: 1, fetch: 3 })
      assert.strictEqual(message, 3)
    }))

  it("back to back costs two commands a run of one process, and leaves nothing that stays", () =>
    withServices(1, async (_, url, [service]) => {
      const { asked } = await watchAsked(
        url,
        () => service!.runPromise(Effect.repeat(Dlock.fanout("again", Effect.succeed(1)), { times: 99 }))
      )
      assert.deepStrictEqual(others(asked), { join: 100, finish: 100 })
    }))
})
