/** What a store says of its subscription, and when. */
import { assert, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import { randomUUID } from "node:crypto"
import { inject } from "vitest"
import * as RedisStore from "../../src/internal/redis/store.js"
import { startProxy } from "../support/proxy.js"
import { waitFor } from "../support/redisSpy.js"
import { open } from "./backends.js"

const url = inject("redisUrl")

it.live("messages are said to arrive once SUBSCRIBE is acknowledged, and not before (R25)", () =>
  Effect.gen(function*() {
    const proxy = yield* Effect.acquireRelease(
      Effect.promise(() => startProxy(Number(new URL(url).port))),
      (proxy) => Effect.promise(() => proxy.close())
    )
    const inboxId = randomUUID()
    const redis = yield* open(url)
    const subscribers = proxy.onlySubscribers()
    subscribers.stallUp()
    const store = yield* RedisStore.make({
      redis,
      pubSub: yield* open(proxy.url),
      prefix: "test",
      commandTimeout: Duration.seconds(30),
      inboxId
    })
    const listeners = Effect.promise(() => redis.client.pubsub("NUMSUB", `test:inbox:${inboxId}`))
    const untilAsked = Effect.promise(() => waitFor(() => subscribers.connections() === 1))

    for (const before of [0, 1]) {
      yield* untilAsked
      assert.deepStrictEqual(yield* Queue.clear(store.inbox), [])
      assert.strictEqual((yield* listeners)[1], 0)
      subscribers.heal({ deliver: true })
      assert.deepStrictEqual(yield* Queue.take(store.inbox), { _tag: "Subscribed" })
      assert.strictEqual((yield* listeners)[1], 1)
      if (before > 0) return
      subscribers.stallUp()
      subscribers.killAll()
      assert.deepStrictEqual(yield* Queue.take(store.inbox), { _tag: "Unsubscribed" })
    }
  }))
