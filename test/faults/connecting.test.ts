/** How a connection comes about, or does not: where it leads, what a person is told, and what others do to a client. */
import * as TestEdition from "#test-edition"
import { assert, describe } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { RedisOptions } from "ioredis"
import { Redis as Redis6 } from "ioredis"
import { Redis as Redis5 } from "ioredis5"
import type { BackendError } from "../../src/DlockError.js"
import { Dlock, PubSubLayer, RedisLayer } from "../../src/index.js"
import { freePort } from "../support/redisServer.js"
import { allKeys } from "../support/redisSpy.js"
import {
  atMost,
  clientOf,
  nothingUnhandled,
  redis,
  redisWith,
  serve,
  serveClients,
  slack,
  test,
  timed,
  ttl,
  until,
  untilOnlyFences,
  untilWaiting
} from "./support.js"

/** Longer than a machine with two busy cores takes to connect. */
const patience = 3_000

type Build = (
  url: string,
  options?: RedisOptions
) => Effect.Effect<{ readonly dlock: Dlock.Service; readonly client: Redis6 }, never, Scope.Scope>

/** Connections of the library's own. */
const own: Build = (url, options) =>
  Dlock.layerOptions({ ttl, commandTimeout: patience }).pipe(
    Layer.provide(PubSubLayer.layer),
    Layer.provideMerge(RedisLayer.layer({ url, ...options })),
    Layer.build,
    Effect.orDie,
    Effect.map((context) => ({
      dlock: Context.get(context, Dlock.Dlock),
      client: Context.get(context, RedisLayer.Redis).client
    })),
    TestEdition.silent
  )

/** Clients of the caller's. */
const theirs = (connect: (url: string, options: RedisOptions) => Redis6): Build => (url, options) =>
  Effect.gen(function*() {
    const open = Effect.acquireRelease(
      Effect.sync(() => connect(url, { retryStrategy: () => 100, autoResubscribe: false, ...options })),
      (client) => Effect.sync(() => client.disconnect())
    )
    const [client, messages] = [yield* open, yield* open]
    for (const one of [client, messages]) one.on("error", () => {})
    const { dlock } = yield* serveClients(client, messages, { commandTimeout: patience })
    return { dlock, client }
  })

const ways: ReadonlyArray<readonly [string, Build]> = [
  ["connections of the library's own", own],
  // SAFETY: of 5 and 6 this library uses what is the same in both.
  [
    "clients of the caller's, ioredis 5",
    theirs((url, options) => new Redis5(url, options as object) as unknown as Redis6)
  ],
  ["clients of the caller's, ioredis 6", theirs((url, options) => new Redis6(url, options as object))]
]

/** What a call fails with, which must be a BackendError. */
const failureOf = (dlock: Dlock.Service): Effect.Effect<BackendError> =>
  Effect.flatMap(Effect.exit(Effect.scoped(dlock.once("k"))), (exit) => {
    const failure = Exit.isFailure(exit) ? Cause.findErrorOption(exit.cause) : undefined
    return failure?._tag === "Some" && failure.value._tag === "BackendError"
      ? Effect.succeed(failure.value)
      : Effect.die(new Error(String(exit)))
  })

describe.concurrent.each(ways)("%s,", (_, build) => {
  test("whose user may not SELECT are never used in database 0, and work in the right one when it may", () =>
    Effect.gen(function*() {
      yield* nothingUnhandled
      const { port } = yield* redis
      const admin = yield* clientOf(`redis://127.0.0.1:${port}`)
      const setUser = (rule: string) =>
        Effect.promise(() => admin.acl("SETUSER", "app", "on", ">pass", "~*", "&*", "+@all", rule))
      yield* setUser("-select")
      for (const options of [{}, { enableReadyCheck: false, disableClientInfo: true }]) {
        const { dlock } = yield* build(`redis://app:pass@127.0.0.1:${port}/1`, options)
        for (const _ of [1, 2]) {
          const error = yield* failureOf(dlock)
          assert.deepInclude({ ...error }, { reason: "Refused", outcome: "NotApplied" })
          assert.include(error.message, "cannot use database 1: NOPERM")
        }
        assert.strictEqual(yield* Effect.promise(() => admin.dbsize()), 0)
        yield* setUser("+select")
        yield* Effect.scoped(dlock.once("k"))
        assert.strictEqual(yield* Effect.promise(() => admin.dbsize()), 0)
        assert.match(yield* Effect.promise(() => admin.info("keyspace")), /db1:keys=/)
        yield* setUser("-select")
      }
    }))

  test("without an offline queue work from the first call on, and through a restart of Redis", () =>
    Effect.gen(function*() {
      yield* nothingUnhandled
      const server = yield* redis
      const { dlock } = yield* build(server.url, { enableOfflineQueue: false })
      yield* Effect.scoped(dlock.once("k"))
      yield* Effect.promise(() => server.restart())
      yield* Effect.retry(Effect.scoped(dlock.once("k")), { times: 10 })
    }))

  test("with a transaction of somebody else open fail, and leave nothing when it is over", () =>
    Effect.gen(function*() {
      yield* nothingUnhandled
      const { url } = yield* redis
      for (const isFirst of [true, false]) {
        const { client, dlock } = yield* build(url)
        if (!isFirst) yield* Effect.scoped(dlock.once("k"))
        yield* until(() => client.status === "ready")
        yield* Effect.promise(() => client.multi({ pipeline: false }) as unknown as Promise<unknown>)
        const error = yield* failureOf(dlock)
        assert.deepInclude({ ...error }, { reason: "RefusedForNow", outcome: "Unknown" })
        assert.include(error.message, "transaction")
        yield* Effect.promise(() => client.exec())
        yield* untilOnlyFences(url, ttl + slack)
        yield* Effect.retry(Effect.scoped(dlock.once("k")), { times: 10 })
      }
    }))

  test("whose replies are not what Redis answers fail, without repeating them", () =>
    Effect.gen(function*() {
      yield* nothingUnhandled
      const { url } = yield* redis
      for (const reply of ["a secret", ["a secret"], null, 1, { secret: 1 }, undefined]) {
        const { client, dlock } = yield* build(url)
        yield* Effect.scoped(dlock.once("k"))
        Object.assign(client, { evalsha: () => Promise.resolve(reply) })
        const error = yield* failureOf(dlock)
        assert.deepInclude({ ...error }, { reason: "Refused", outcome: "Unknown" })
        assert.include(error.message, "reply")
        assert.notInclude(error.message + String(error.cause), "secret")
        Reflect.deleteProperty(client, "evalsha")
      }
    }))
})

describe("a client of the caller's", () => {
  test("may serve a dozen layers without a warning of its listeners", () =>
    Effect.gen(function*() {
      const warnings: Array<string> = []
      const listen = ({ message }: Error) => void warnings.push(message)
      yield* Effect.acquireRelease(
        Effect.sync(() => process.on("warning", listen)),
        () => Effect.sync(() => process.off("warning", listen))
      )
      const { url } = yield* redis
      const [commands, messages] = [yield* clientOf(url), yield* clientOf(url)]
      const services = yield* Effect.forEach(Array.from({ length: 12 }), () => serveClients(commands, messages))
      yield* Effect.forEach(services, ({ dlock }) => dlock.withLock(Effect.void, "k"))
      // A warning is given in the next turn.
      yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
      assert.deepStrictEqual(warnings, [])
    }))

  test("cannot be both connections at once", () =>
    Effect.gen(function*() {
      const client = yield* clientOf((yield* redis).url)
      const layer = Dlock.layer.pipe(
        Layer.provide(PubSubLayer.layerClient(client)),
        Layer.provide(RedisLayer.layerClient(client))
      )
      const exit = yield* Effect.exit(Layer.build(layer))
      assert(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
      assert.match(Cause.pretty(exit.cause), /PubSubLayer.layerClient.*RedisLayer.layerClient.*client.duplicate/s)
    }))
})

class One extends Context.Service<One, Dlock.Service>()("One") {}
class Two extends Context.Service<Two, Dlock.Service>()("Two") {}

describe("two services in one graph of layers", () => {
  /** Each has the waiters of a second process. */
  const handsOver = (layerAt: (url: string) => Layer.Layer<Dlock.Dlock, BackendError>) =>
    Effect.gen(function*() {
      yield* nothingUnhandled
      const servers = [yield* redis, yield* redis] as const
      const [layerOne, layerTwo] = [layerAt(servers[0].url), layerAt(servers[1].url)] as const
      const context = yield* Layer.build(Layer.merge(
        Layer.provide(Layer.effect(One, Dlock.Dlock), layerOne),
        Layer.provide(Layer.effect(Two, Dlock.Dlock), layerTwo)
      ))
      for (const [index, dlock] of [Context.get(context, One), Context.get(context, Two)].entries()) {
        const { dlock: other } = yield* serve(servers[index]!.url)
        const admin = yield* clientOf(servers[index]!.url)
        yield* until(() => admin.pubsub("CHANNELS", "dlock:inbox:*"), 5_000, (inboxes) => inboxes.length === 2)
        const lock = yield* other.once("k")
        const waiter = yield* Effect.forkChild(Effect.scoped(dlock.lock("k")))
        yield* untilWaiting(other, "k", 1)
        const [, took] = yield* timed(Effect.andThen(lock.release, Fiber.join(waiter)))
        atMost("two servers in one graph: hand-over", took, 100)
        assert.isAbove((yield* Effect.promise(() => allKeys(servers[index]!.url))).length, 0)
      }
    })

  test("have a subscriber each: layerRedis", () => handsOver((url) => Dlock.layerRedis({ url })))

  const connected = (layer: Layer.Layer<Dlock.Dlock, never, RedisLayer.Redis | PubSubLayer.PubSub>) => (url: string) =>
    layer.pipe(Layer.provide(PubSubLayer.layer), Layer.provide(RedisLayer.layer({ url })))

  test("have a server each: layer", () => handsOver(connected(Dlock.layer)))

  test("have a server each: one layerOptions", () => handsOver(connected(Dlock.layerOptions({ ttl: 10_000 }))))
})

test("a layer that is used twice in one graph makes one service and one connection of each kind, which go with the last", () =>
  Effect.gen(function*() {
    const { url } = yield* redis
    const admin = yield* clientOf(url)
    const clients = Effect.promise(async () => (await admin.client("LIST") as string).trim().split("\n").length)
    const before = yield* clients
    const both = Layer.merge(
      Layer.provide(Layer.effect(One, Dlock.Dlock), Dlock.layer),
      Layer.provide(Layer.effect(Two, Dlock.Dlock), Dlock.layer)
    ).pipe(
      Layer.provideMerge(Dlock.layer),
      Layer.provideMerge(PubSubLayer.layer),
      Layer.provideMerge(RedisLayer.layer({ url }))
    )
    yield* Effect.scoped(Effect.gen(function*() {
      const context = yield* Layer.build(both)
      const dlock = Context.get(context, Dlock.Dlock)
      assert.isTrue(dlock === Context.get(context, One) && dlock === Context.get(context, Two))
      yield* dlock.withLock(Effect.void, "k")
      yield* until(() => admin.pubsub("CHANNELS", "dlock:inbox:*"), 5_000, (inboxes) => inboxes.length === 1)
      assert.strictEqual(yield* clients, before + 2)
    }))
    yield* until(() => Effect.runPromise(clients), 5_000, (count) => count === before)
    yield* Effect.scoped(Layer.build(both))
  }))

describe("a Redis that is known to be away", () => {
  test("is not waited for by a job that may run alone, and is used again when it is back", () =>
    Effect.gen(function*() {
      yield* nothingUnhandled
      const port = yield* Effect.promise(freePort)
      const { dlock } = yield* own(`redis://127.0.0.1:${port}`)
      const request = (id: string) =>
        dlock.fanout(id, Effect.as(Effect.sleep("20 millis"), id), { onBackendError: "run" })
      for (const id of ["a", "b", "c"]) {
        const [value, took] = yield* timed(request(id))
        assert.strictEqual(value, id)
        atMost(`away: fanout that may run alone (${id})`, took, id === "a" ? 100 : 50)
      }
      // Who has no alternative waits.
      const from = performance.now()
      yield* Effect.flip(dlock.fanout("d", Effect.void))
      assert.isAtLeast(performance.now() - from, patience - 50)
      const { url } = yield* redisWith({ port })
      yield* Effect.retry(dlock.inspect("k"), { times: 100 })
      yield* request("e")
      assert.isTrue((yield* Effect.promise(() => allKeys(url))).some((key) => key.includes(":flight:")))
    }))
})
