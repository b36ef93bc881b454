/**
 * The command connection to Redis.
 *
 * `layer` opens one and closes it with its scope. `layerClient` uses a client of yours, which is never closed and never
 * reconfigured. Opening does not wait for Redis: when it is down, the calls that need it fail with `BackendError`, and
 * work again as soon as it is back.
 *
 * @since 0.1.0
 */
import type * as Edition from "#edition"
import * as ConfigModule from "effect/Config"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type { BackendError } from "./DlockError.js"
import * as Address from "./internal/redis/address.js"
import * as internal from "./internal/redis/connection.js"
import * as Driver from "./internal/redis/driver.js"
import type { Connection } from "./internal/redis/gate.js"

/**
 * The command connection, as `Dlock.layer` needs it.
 *
 * @since 0.1.0
 * @category Tags
 */
export class Redis extends Context.Service<Redis, Connection>()("effect-dlock/Redis") {}

/**
 * Options of ioredis, and `url` (`redis://` or `rediss://`) in their place or before them. The parts of the url win
 * over the options. Pass a `Redacted` url when it carries a password. The time limit of a command is
 * `commandTimeout` of `Dlock.Options`; that of ioredis is not used. A `url`, `port` or `db` that can only be a mistake is a
 * defect (a `TypeError` that names it, and repeats nothing of the url).
 *
 * @since 0.1.0
 * @category Models
 */
export interface Options extends Driver.ClientOptions {
  readonly url?: string | Redacted.Redacted<string> | undefined
}

/**
 * Opens a connection and closes it with the scope of the layer. Fails only when the options cannot be used at all.
 *
 * Defaults differ from ioredis in `connectTimeout` (5 seconds), `keepAlive` (10 seconds) and `retryStrategy` (50 ms,
 * doubling up to 1 second, with jitter, for ever). A command that misses `commandTimeout` of `Dlock.Options` makes the
 * connection count as dead: it is destroyed and opened anew.
 *
 * @since 0.1.0
 * @category Layers
 */
export const layer = (options: Options = {}): Layer.Layer<Redis, BackendError> =>
  Layer.effect(
    Redis,
    Effect.suspend(() => {
      const { url: given, ...own } = options
      const url = Redacted.isRedacted(given) ? Redacted.value(given) : given
      const mistake = Address.mistake(url, own)
      return mistake === undefined
        ? internal.open("commands", (defaults) => Driver.connect(url, { ...defaults, ...own }))
        : Effect.die(mistake)
    })
  )

/**
 * `layer` with options from `Config`.
 *
 * @since 0.1.0
 * @category Layers
 */
export const layerConfig = (
  options: Edition.ConfigWrap<Options>
): Layer.Layer<Redis, BackendError | Edition.ConfigError> =>
  Layer.unwrap(Effect.map(ConfigModule.unwrap<Options>(options), layer))

/**
 * Uses a client of yours. It is never closed and never reconfigured: closing, timeouts and reconnecting stay your
 * business. Calls of this library still settle within `commandTimeout`; but a half-open connection heals only when the
 * client itself notices it, so give it a `socketTimeout`.
 *
 * The locks are in the database that the client is in when the layer is built. While somebody moves it to another one, or
 * has a transaction open on it, calls fail with `BackendError`, reason `RefusedForNow`.
 *
 * @since 0.1.0
 * @category Layers
 */
export const layerClient = (client: Driver.Client): Layer.Layer<Redis> =>
  Layer.sync(Redis, () => ({ client, owned: false }))
