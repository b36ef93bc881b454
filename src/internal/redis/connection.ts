/** Opening and closing the connections that this library owns. What the caller opened is never touched. */
import * as Edition from "#edition"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { BackendError } from "../../DlockError.js"
import type { Client, ClientOptions } from "./driver.js"
import { addressOf } from "./driver.js"
import * as Failures from "./failure.js"
import type { Connection } from "./gate.js"

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
    const fiber = yield* Effect.withFiber<Edition.AnyFiber>((fiber) => Effect.succeed(fiber))
    const jitter = Edition.randomOf(fiber)
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
        catch: (cause) => new BackendError({ operation: "connect", ...Failures.classify(cause), outcome: "NotApplied" })
      }),
      (client) =>
        Effect.sync(() => {
          client.disconnect()
          // `disconnect` waits for the other side to close too; one that is gone never does.
          client.stream?.destroy()
        })
    )
    logStateChanges(client, name, Edition.starter<never>(fiber))
    return { client, owned: true }
  })

/** One line when the connection is lost and one when it is back, however many attempts lie between. */
const logStateChanges = (client: Client, name: string, log: (effect: Effect.Effect<void>) => unknown): void => {
  let worked = false
  let isDown = false
  const annotate = Effect.annotateLogs({ package: "effect-dlock", connection: name })
  const down = (why: string) => {
    if (isDown) return
    isDown = true
    const what = worked ? "Lost the connection to Redis" : "Cannot connect to Redis"
    log(Effect.logWarning(`${what} at ${addressOf(client)}: ${why}. Trying again until it works`).pipe(annotate))
  }
  client.on("error", (error) => down(Failures.explained(error)))
  client.on("reconnecting", () => down("it was closed"))
  client.on("ready", () => {
    if (isDown) log(Effect.logInfo(worked ? "Connected to Redis again" : "Connected to Redis").pipe(annotate))
    isDown = false
    worked = true
  })
}
