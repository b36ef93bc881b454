/** Clients that belong to the caller: used, but never closed, never reconfigured, and given back as they were. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import { Redis as Redis6 } from "ioredis"
import { Redis as Redis5 } from "ioredis5"
import type { Proxy } from "../support/proxy.js"
import { startProxy } from "../support/proxy.js"
import {
  atMost,
  commandTimeout,
  nothingUnhandled,
  onlyFences,
  redis,
  serve,
  serveClients,
  settles,
  slack,
  test,
  timed,
  until,
  untilWaiting
} from "./support.js"

type Connect = (url: string, options?: { readonly retryStrategy?: () => number }) => Redis6

const versions: ReadonlyArray<readonly [string, Connect]> = [
  // SAFETY: of 5 and 6 this library uses what is the same in both.
  ["ioredis 5", (url, options = {}) => new Redis5(url, options) as unknown as Redis6],
  ["ioredis 6", (url, options = {}) => new Redis6(url, options)],
  ["ioredis 6 with RESP2", (url, options = {}) => new Redis6(url, { ...options, protocol: 2 })]
]

/** All that a caller could notice of a client: its options, its own properties and methods, its listeners. */
const shape = (client: Redis6) => ({
  status: client.status,
  options: { ...client.options },
  properties: Reflect.ownKeys(client).map(String).sort(),
  methods: Reflect.ownKeys(Object.getPrototypeOf(client)).length,
  scripts: Object.keys(client.scriptsSet ?? {}),
  listeners: Object.fromEntries(client.eventNames().map((name) => [String(name), client.listenerCount(name)]))
})

const open = (connect: Connect, url: string, options?: { readonly retryStrategy?: () => number }) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const client = connect(url, options)
      client.on("error", () => {})
      await client.ping()
      return client
    }),
    (client) => Effect.sync(() => client.disconnect())
  )

describe.concurrent.each(versions)("clients of the caller's own, %s,", (name, connect) => {
  test("work, hear of their grants at once, and are as they were when the layer has closed", () =>
    Effect.gen(function*() {
      yield* nothingUnhandled
      const { url } = yield* redis
      const commands = yield* open(connect, url)
      const messages = yield* open(connect, url)
      const heard: Array<string> = []
      messages.on("message", (channel, message) => void heard.push(`${channel} ${message}`))
      yield* Effect.promise(() => messages.subscribe("mine"))
      const before = [shape(commands), shape(messages)]

      const { close, dlock } = yield* serveClients(commands, messages, { ttl: 60_000 })
      const other = yield* serve(url, { ttl: 60_000 })
      yield* until(() => commands.pubsub("CHANNELS", "dlock:inbox:*"), 2_000, (inboxes) => inboxes.length === 2)
      for (let round = 0; round < 3; round++) {
        const scope = yield* Scope.make()
        yield* Scope.provide(other.dlock.once("k"), scope)
        const waiter = yield* Effect.forkChild(Effect.scoped(dlock.lock("k")))
        yield* untilWaiting(dlock, "k", 1)
        const [, took] = yield* timed(Effect.andThen(Scope.close(scope, Exit.void), Fiber.join(waiter)))
        atMost(`${name}: hand-over by message`, took, slack)
      }
      yield* dlock.once("left to the layer")
      yield* close
      assert.isTrue(yield* onlyFences(url))

      assert.deepStrictEqual([shape(commands), shape(messages)], before)
      assert.strictEqual(yield* Effect.promise(() => commands.ping()), "PONG")
      const inboxes = yield* Effect.promise(() => commands.pubsub("CHANNELS", "dlock:inbox:*"))
      assert.lengthOf(inboxes as Array<string>, 1, "only the other process is subscribed")
      yield* Effect.promise(() => commands.publish("mine", "still here"))
      yield* until(() => heard.includes("mine still here"))
    }))

  test("that are silent are not touched: calls and the close of the layer settle all the same", () =>
    Effect.gen(function*() {
      yield* nothingUnhandled
      const { port } = yield* redis
      const proxy: Proxy = yield* Effect.acquireRelease(
        Effect.promise(() => startProxy(port)),
        (proxy) => Effect.promise(() => proxy.close())
      )
      const commands = yield* open(connect, proxy.url)
      const messages = yield* open(connect, proxy.url)
      const { close, dlock } = yield* serveClients(commands, messages)
      const patient = yield* serveClients(commands, messages, { commandTimeout: 5_000 })
      yield* dlock.once("held")
      yield* patient.dlock.once("held too")
      yield* until(() => commands.pubsub("CHANNELS", "dlock:inbox:*"), 2_000, (inboxes) => inboxes.length === 2)
      const streams = [commands.stream, messages.stream]
      proxy.stall()
      const call = dlock.inspect("k")
      assert.strictEqual(yield* settles(`${name} silent`, commandTimeout + slack, call), "BackendError")
      assert.strictEqual(yield* settles(`${name} silent`, commandTimeout + slack, call), "BackendError")
      const closed = yield* Effect.all([timed(close), timed(patient.close)], { concurrency: 2 })
      // A second for the locks, and one more for the subscription.
      for (const [, took] of closed) atMost(`${name} silent: layer closed`, took, 2_000 + slack)
      assert.deepStrictEqual([commands.status, messages.status], ["ready", "ready"])
      assert.isTrue(commands.stream === streams[0] && messages.stream === streams[1])
      // What it did not hear in time it hears late: nothing of it harms the caller.
      proxy.heal({ deliver: true })
      assert.strictEqual(yield* Effect.promise(() => commands.ping()), "PONG")
      yield* until(() => commands.pubsub("CHANNELS", "*"), 2_000, (inboxes) => inboxes.length === 0)
    }))

  test("that reconnect go on working, and are subscribed again", () =>
    Effect.gen(function*() {
      yield* nothingUnhandled
      const server = yield* redis
      const retryStrategy = () => 50
      const commands = yield* open(connect, server.url, { retryStrategy })
      const messages = yield* open(connect, server.url, { retryStrategy })
      const { dlock } = yield* serveClients(commands, messages, { ttl: 60_000 })
      yield* dlock.withLock(Effect.void, "k")
      yield* Effect.promise(() => server.restart())
      yield* Effect.retry(dlock.inspect("k"), { times: 100 })
      yield* until(() => commands.pubsub("CHANNELS", "dlock:inbox:*"), 3_000, (inboxes) => inboxes.length === 1)
      const lock = yield* dlock.once("k")
      const waiter = yield* Effect.forkChild(dlock.lock("k", { reentrant: "wait" }))
      yield* untilWaiting(dlock, "k", 1)
      const [, took] = yield* timed(Effect.andThen(lock.release, Fiber.join(waiter)))
      atMost(`${name} reconnected: hand-over by message`, took, slack)
    }))
})
