/** Options of the layers: what they are by default, and those that can only be a mistake. */
import * as TestEdition from "#test-edition"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { inject } from "vitest"
import { Dlock, RedisLayer } from "../../src/index.js"
import * as Assembly from "../../src/internal/dlock.js"
import type { FinishRequest, Stores } from "../../src/internal/flightStore.js"
import * as Memory from "../../src/internal/memory/store.js"
import type { AcquireRequest } from "../../src/internal/store.js"

/** A service in memory, and what it asks of its store. */
const watched = (options: Dlock.Options = {}) =>
  Effect.gen(function*() {
    const server = yield* Memory.makeServer()
    const { flights, inbox, probe, ...store } = yield* server.connect("inbox")
    const acquires: Array<AcquireRequest> = []
    const finishes: Array<FinishRequest> = []
    const watching: Stores = {
      ...store,
      inbox,
      probe,
      acquire: (request) => {
        acquires.push(request)
        return store.acquire(request)
      },
      flights: {
        ...flights,
        finish: (request) => {
          finishes.push(request)
          return flights.finish(request)
        }
      }
    }
    return { dlock: yield* Assembly.make(watching, options), acquires, finishes }
  })

describe("by default", () => {
  it.effect("a lease and the liveness of a waiter last 10 seconds", () =>
    Effect.gen(function*() {
      const { acquires, dlock } = yield* watched()
      yield* dlock.once("k")
      assert.deepInclude({ ...acquires[0] }, { ttlMillis: 10_000, livenessMillis: 10_000 })
    }))

  for (const [retention, millis] of [[undefined, 15_000], [1_000, 15_000], [60_000, 60_000]] as const) {
    it.effect(`an outcome stays for 15 seconds, or fanout.retention when that is longer: ${retention}`, () =>
      Effect.gen(function*() {
        const { dlock, finishes } = yield* watched({ fanout: { retention } })
        yield* dlock.fanout("id", Effect.succeed(1))
        assert.strictEqual(finishes[0]?.retentionMillis, millis)
      }))
  }

  it.effect("an outcome of 1 MiB is shared, and one of a byte more is not", () =>
    Effect.gen(function*() {
      const { dlock, finishes } = yield* watched()
      const bytes = 2 ** 20
      yield* dlock.fanout("id", Effect.succeed(""))
      const fits = "x".repeat(bytes - (finishes[0]?.payload.length ?? 0))
      assert.strictEqual(yield* dlock.fanout("id", Effect.succeed(fits)), fits)
      assert.strictEqual(finishes[1]?.payload.length, bytes)
      const error = yield* Effect.flip(dlock.fanout("id", Effect.succeed(`${fits}x`)))
      assert.deepInclude({ ...error }, { _tag: "FanoutError", reason: "TooLarge" })
    }))
})

const mistakes: Record<string, ReadonlyArray<unknown>> = {
  prefix: ["\ud800", "a\udfff", 1],
  ttl: [0, -1, 1, NaN, Infinity, "soon", "366 days"],
  commandTimeout: [0, -1, 1, NaN, Infinity, "soon"]
}

describe("an option of a layer that can only be a mistake", () => {
  for (const [name, values] of Object.entries(mistakes)) {
    it.effect(`dies, and the message names it: ${name}`, () =>
      Effect.forEach(values, (value) =>
        Effect.gen(function*() {
          const options = { [name]: value } as Dlock.Options
          const exit = yield* Effect.exit(Layer.build(Dlock.layerRedis({ ...options, url: inject("redisUrl") })))
          assert(Exit.isFailure(exit))
          assert(Cause.hasDies(exit.cause))
          assert.include(String(Cause.squash(exit.cause)), `\`${name}\``)
        })))
  }

  const secret = "s3cret"

  for (
    const [what, url] of [
      ["that is empty", ""],
      ["of another protocol", `http://:${secret}@localhost:6379`],
      ["in capitals, which the driver would not encrypt", `REDISS://:${secret}@localhost`],
      ["without a protocol", `${secret}@localhost:6379`],
      ["without a host", "redis://"],
      ["without a host before its database", "redis:///1"],
      ["without a host before its port", "redis://:6379"],
      ["with a port that is none", `redis://:${secret}@localhost:port`],
      ["with a port too high", `redis://:${secret}@localhost:65536`],
      ["with the port 0", `redis://:${secret}@localhost:0`],
      ["with a database that is no number", `redis://:${secret}@localhost/one`],
      ["with such a database in its query", `redis://:${secret}@localhost?db=one`],
      ["whose password is not encoded", `redis://:${secret}/${secret}@localhost`],
      ["that is not a string", 6379]
    ] as const
  ) {
    it.effect(`dies, and the message names it and repeats nothing of it: a url ${what}`, () =>
      Effect.gen(function*() {
        for (const given of [url, Redacted.make(url)]) {
          // SAFETY: the type does not have all of them, but a program may say them all the same.
          const options = { url: given } as RedisLayer.Options
          for (
            const layer of [
              Layer.provide(Layer.empty, RedisLayer.layer(options)),
              Layer.provide(Layer.empty, Dlock.layerRedis(options))
            ]
          ) {
            const exit = yield* Effect.exit(Layer.build(layer))
            assert(Exit.isFailure(exit))
            assert(Cause.hasDies(exit.cause))
            const said = String(Cause.squash(exit.cause))
            assert.include(said, "`url`")
            assert.notInclude(said, secret)
            assert.notInclude(Cause.pretty(exit.cause), secret)
          }
        }
      }))
  }

  it.effect("dies, and the message names it: db and port", () =>
    Effect.gen(function*() {
      const options: ReadonlyArray<RedisLayer.Options> = [
        ...[NaN, -1, 1.5].map((db) => ({ db })),
        ...[NaN, 0, 1.5, 65_536].map((port) => ({ port }))
      ]
      for (const option of options) {
        const exit = yield* Effect.exit(Layer.build(RedisLayer.layer({ lazyConnect: true, ...option })))
        assert(Exit.isFailure(exit))
        assert(Cause.hasDies(exit.cause))
        assert.include(String(Cause.squash(exit.cause)), `\`${Object.keys(option)[0]}\``)
      }
    }))
})

describe("a url is taken", () => {
  for (
    const [url, wanted] of [
      ["redis://localhost", { host: "localhost", port: 6379, db: 0 }],
      ["redis://user:p%2Fss@redis.test:6380/2", { host: "redis.test", port: 6380, db: 2, password: "p/ss" }],
      ["rediss://[::1]:6380/", { host: "::1", port: 6380, db: 0, tls: true }],
      ["redis://localhost?db=3", { host: "localhost", db: 3 }]
    ] as const
  ) {
    it.effect(url, () =>
      Effect.gen(function*() {
        const context = yield* Layer.build(RedisLayer.layer({ url, lazyConnect: true }))
        const { options } = Context.get(context, RedisLayer.Redis).client
        for (const [name, value] of Object.entries(wanted)) assert.strictEqual(Reflect.get(options, name), value, name)
      }))
  }
})

describe("layers", () => {
  it.effect("layerMemoryOptions takes the options of the other layers", () =>
    Effect.gen(function*() {
      const { remaining } = yield* Dlock.once("k")
      assert.isAtMost(Duration.toMillis(yield* remaining), 1_000)
    }).pipe(Effect.scoped, Effect.provide(Dlock.layerMemoryOptions({ ttl: "1 second" }))))

  it.live("layerRedisConfig takes all options of layerRedis from Config, and says which is missing", () =>
    Effect.gen(function*() {
      const layer = Dlock.layerRedisConfig({
        url: Config.Redacted("REDIS_URL"),
        ttl: Config.Duration("TTL"),
        prefix: Config.String("PREFIX")
      })
      const configured = (entries: ReadonlyArray<readonly [string, string]>) =>
        Layer.provide(layer, TestEdition.configured(Object.fromEntries(entries)))
      const context = yield* Layer.build(
        configured([["REDIS_URL", inject("redisUrl")], ["TTL", "2 seconds"], ["PREFIX", "configured"]])
      )
      const lock = yield* Effect.provide(Dlock.once("layerRedisConfig"), context)
      assert.isAtMost(Duration.toMillis(yield* lock.remaining), 2_000)
      const error = yield* Effect.flip(Layer.build(configured([["REDIS_URL", inject("redisUrl")]])))
      assert.include(String(error), "TTL")
    }))
})
