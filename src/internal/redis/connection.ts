/** Opening and closing the connections that this library owns. What the caller opened is never touched. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Runtime from "effect/Runtime"
import type * as Scope from "effect/Scope"
import { BackendError } from "../../DlockError.js"
import type { Client, ClientOptions } from "./driver.js"
import { classify } from "./failure.js"
import type { Connection } from "./link.js"

const reconnectAfterAtMost = Duration.toMillis("1 second")

/**
 * Opens a client and keeps it open until the scope closes. It is not waited for: a Redis that is down now may be up when
 * it is needed, and a command says so by itself if not.
 */
export const open = (
  name: string,
  connect: (options: ClientOptions) => Client
): Effect.Effect<Connection, BackendError, Scope.Scope> =>
  Effect.gen(function*() {
    const runtime = yield* Effect.runtime<never>()
    const random = yield* Effect.random
    const jitter = () => Runtime.runSync(runtime)(random.next)
    const client = yield* Effect.acquireRelease(
      Effect.try({
        try: () =>
          connect({
            connectTimeout: Duration.toMillis("5 seconds"),
            keepAlive: Duration.toMillis("10 seconds"),
            // The release below destroys the socket at once; the driver's own timer for that would outlive it.
            disconnectTimeout: 1,
            retryStrategy: (times) => Math.min(50 * 2 ** (times - 1), reconnectAfterAtMost) * (0.75 + jitter() / 2)
          }),
        catch: (cause) => new BackendError({ operation: "connect", ...classify(cause), outcome: "NotApplied" })
      }),
      (client) =>
        Effect.sync(() => {
          client.disconnect()
          // `disconnect` waits for the other side to close too; one that is gone never does.
          client.stream?.destroy()
        })
    )
    logStateChanges(client, name, Runtime.runFork(runtime))
    return { client, owned: true }
  })

/** One line when the connection is lost and one when it is back, however many attempts lie between. */
const logStateChanges = (client: Client, name: string, log: (effect: Effect.Effect<void>) => unknown): void => {
  let up = true
  const annotate = Effect.annotateLogs({ package: "effect-dlock", connection: name })
  const down = (why: string) => {
    if (!up) return
    up = false
    log(Effect.logWarning(`Lost the connection to Redis: ${why}. Trying again until it works`).pipe(annotate))
  }
  client.on("error", (error) => down(error.message))
  client.on("reconnecting", () => down("it was closed"))
  client.on("ready", () => {
    if (up) return
    up = true
    log(Effect.logInfo("Connected to Redis again").pipe(annotate))
  })
}
