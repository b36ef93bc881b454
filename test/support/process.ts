/** What stands for one process of an application, in tests that have several of them in one. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { randomUUID } from "node:crypto"
import { Dlock, PubSubLayer, RedisLayer } from "../../src/index.js"
import * as Assembly from "../../src/internal/dlock.js"
import * as RedisStore from "../../src/internal/redis/store.js"

/** `Dlock.layerOptions` in a realm of its own: what one process holds is not around the calls of another. */
export const layer = (options: Dlock.Options) =>
  Layer.effect(
    Dlock.Dlock,
    Effect.gen(function*() {
      const store = yield* RedisStore.make({
        redis: yield* RedisLayer.Redis,
        pubSub: yield* PubSubLayer.PubSub,
        prefix: options.prefix ?? "dlock",
        commandTimeout: Duration.fromInputUnsafe(options.commandTimeout ?? "5 seconds"),
        inboxId: randomUUID()
      })
      return yield* Assembly.make(store, options)
    })
  )
