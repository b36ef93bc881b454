/** The link on a client that says nothing, so that every state of a connection can be played. */
import { assert, it } from "@effect/vitest"
import { Context, Duration, Effect, Exit, Fiber, Layer, Scope, TestClock } from "effect"
import { Redis } from "ioredis"
import { EventEmitter } from "node:events"
import { inject } from "vitest"
import { PubSubLayer, RedisLayer } from "../../src/index.js"
import type { Client } from "../../src/internal/redis/driver.js"
import * as Link from "../../src/internal/redis/link.js"

const commandTimeout = Duration.seconds(5)

/** A client in that state, which never answers. */
const silent = (status: string) => {
  let destroyed = 0
  const client = Object.assign(new EventEmitter(), { status, stream: { destroy: () => void destroyed++ } })
  // SAFETY: all that the link reads of a client.
  return { connection: { client: client as unknown as Client, owned: true }, destroyed: () => destroyed }
}

const never = () => new Promise<never>(() => {})

it.scoped("a connection that dies is destroyed, in whatever state it was found", () =>
  Effect.gen(function*() {
    for (const status of ["ready", "connect"]) {
      const { connection, destroyed } = silent(status)
      const link = yield* Link.make(connection, commandTimeout)
      const call = yield* Effect.fork(Effect.flip(link.run("test", never)))
      yield* TestClock.adjust(commandTimeout)
      assert.strictEqual((yield* Fiber.join(call)).operation, "test")
      assert.strictEqual(destroyed(), 1, status)
    }
  }))

it.scoped("one that is only being opened is not: it has let nobody wait yet", () =>
  Effect.gen(function*() {
    const { connection, destroyed } = silent("connecting")
    const link = yield* Link.make(connection, commandTimeout)
    const call = yield* Effect.fork(Effect.flip(link.run("test", never)))
    yield* TestClock.adjust(commandTimeout)
    yield* Fiber.join(call)
    assert.strictEqual(destroyed(), 0)
  }))

it.effect("closing settles what is under way, and what is asked afterwards", () =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const link = yield* Scope.extend(Link.make(silent("ready").connection, commandTimeout), scope)
    const before = yield* Effect.fork(Effect.flip(link.run("before", never)))
    yield* Effect.yieldNow()
    yield* Scope.close(scope, Exit.void)
    assert.deepInclude({ ...(yield* Fiber.join(before)) }, { reason: "Unreachable", outcome: "Unknown" })
    const after = yield* Effect.flip(link.run("after", never))
    assert.deepInclude({ ...after }, { reason: "Unreachable", outcome: "NotApplied" })
  }))

it.scopedLive("the driver's own time limit is not used: it would fail commands and keep a dead connection", () =>
  Effect.gen(function*() {
    // SAFETY: the type does not have it, but a program may say it all the same.
    const options = { url: inject("redisUrl"), commandTimeout: 1 } as RedisLayer.Options
    const theirs = yield* Effect.acquireRelease(
      Effect.sync(() => new Redis(inject("redisUrl"), { commandTimeout: 1, lazyConnect: true })),
      (client) => Effect.sync(() => client.disconnect())
    )
    for (const layer of [RedisLayer.layer(options), RedisLayer.layerClient(theirs)]) {
      const context = yield* Layer.build(Layer.provideMerge(PubSubLayer.layer, layer))
      const commands = Context.get(context, RedisLayer.Redis).client
      const messages = Context.get(context, PubSubLayer.PubSub).client
      assert.strictEqual(commands.options.commandTimeout, commands === theirs ? 1 : undefined)
      assert.isUndefined(messages.options.commandTimeout)
    }
  }))
