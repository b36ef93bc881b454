/**
 * The subscriber connection to Redis: one for each process, however many locks it waits for.
 *
 * Messages only make things fast. Without them (a refused SUBSCRIBE, a lost connection) waiters learn of their grant by
 * heartbeat, within a second.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { BackendError } from "./DlockError.js"
import { lazy } from "./internal/lazy.js"
import * as internal from "./internal/redis/connection.js"
import * as Driver from "./internal/redis/driver.js"
import type { Connection } from "./internal/redis/gate.js"
import { Sharing } from "./internal/sharing.js"
import { Redis } from "./RedisLayer.js"

/**
 * The subscriber connection, as `Dlock.layer` needs it.
 *
 * @since 0.1.0
 * @category Tags
 */
export class PubSub extends Context.Service<PubSub, Connection>()("effect-dlock/PubSub") {}

/**
 * Opens a second connection with the options of the command connection, and closes it with the scope of the layer. Fails
 * only when it cannot be made at all. Within one graph of layers there is one for each command connection.
 *
 * @since 0.1.0
 * @category Layers
 */
export const layer: Layer.Layer<PubSub, BackendError, Redis> = Layer.fresh(Layer.effect(
  PubSub,
  Effect.flatMap(Redis, (redis) => sharing().of(redis, redis, subscriberOf(redis)))
))

const sharing = lazy(() => new Sharing<Connection, BackendError>())

const subscriberOf = ({ client }: Connection) =>
  internal.open(
    "messages",
    ({ retryStrategy }) =>
      Driver.duplicate(client, { retryStrategy, autoResubscribe: false, enableOfflineQueue: true, lazyConnect: false })
  )

/**
 * Uses a client of yours for subscribing. It is never closed and never reconfigured. It must be a connection of its own:
 * one that is subscribed can send nothing else. That of `RedisLayer.layerClient` is a defect.
 *
 * @since 0.1.0
 * @category Layers
 */
export const layerClient = (client: Driver.Client): Layer.Layer<PubSub> =>
  Layer.sync(PubSub, () => ({ client, owned: false }))
