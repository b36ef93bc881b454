/** Runs scripts on a link, and learns the server's time from every reply. */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { BackendError } from "../../DlockError.js"
import { monotonic } from "../alarm.js"
import { lazy } from "../lazy.js"
import * as ServerClock from "../serverClock.js"
import * as Failures from "./failure.js"
import type { CallOptions, Link } from "./link.js"
import type { Script } from "./script.js"
import { Whole } from "./script.js"

export interface Runner {
  /**
   * `input` is asked for when the command is sent; `read` is called with the reply in the driver's callback. A server that
   * does not know the script is sent its text, if that is wanted still (R47).
   */
  readonly run: <In, Reply extends readonly [serverMillis: number, ...rest: ReadonlyArray<unknown>], A>(
    script: Script<In, Reply>,
    input: () => In,
    read: (reply: Reply) => Effect.Effect<A, BackendError>,
    options?: CallOptions
  ) => Effect.Effect<A, BackendError>
  /** Whether a reply has told the server's time before. */
  readonly synchronized: () => boolean
  /** Asks the server for its time, as the first step of an operation. */
  readonly synchronize: (operation: string, options?: CallOptions) => Effect.Effect<void, BackendError>
  /** What the server's clock shows at most now. */
  readonly serverMillis: () => number
  /** What it showed at most at an earlier local time. */
  readonly serverMillisAt: (localMillis: number) => number
}

const decodeTime = lazy(() => Schema.decodeUnknownResult(Schema.Tuple([Whole, Whole])))

/** Not what Redis answers, or not to this command: what became of it is not known. */
const unreadable = (operation: string, command: string, reply: unknown): Effect.Effect<never, BackendError> =>
  Effect.fail(new BackendError({ operation, ...Failures.unreadable(command, reply) }))

export const make = (link: Link): Effect.Effect<Runner> =>
  Effect.map(Effect.clockWith(Effect.succeed), (clock) => {
    const serverClock = ServerClock.make()

    const run: Runner["run"] = (script, input, read, options) =>
      link.exchange(script.name, () => {
        const given = input()
        const keys = script.keys(given)
        const args = script.args(given)
        return {
          // By hash, not by `defineCommand`: that would add a method to a client that may be the caller's own.
          send: (client) => client.evalsha(script.sha, keys.length, ...keys, ...args),
          instead: (client, error) =>
            error instanceof Error && error.message.startsWith("NOSCRIPT")
              ? client.eval(script.lua, keys.length, ...keys, ...args)
              : undefined,
          receive: (raw: unknown, sentAt) => {
            const reply = script.decode(raw)
            if (Result.isFailure(reply)) return unreadable(script.name, script.name, raw)
            serverClock.learn(reply.success[0], sentAt, monotonic(clock))
            return read(reply.success)
          }
        }
      }, options)

    const synchronize: Runner["synchronize"] = (operation, options) =>
      link.exchange(operation, () => ({
        send: (client) => client.time(),
        receive: (raw: unknown, sentAt) => {
          const time = decodeTime()(raw)
          if (Result.isFailure(time)) return unreadable(operation, "TIME", raw)
          const [seconds, micros] = time.success
          serverClock.learn(seconds * 1000 + Math.floor(micros / 1000), sentAt, monotonic(clock))
          return Effect.void
        }
      }), options)

    return {
      run,
      synchronize,
      synchronized: serverClock.synchronized,
      serverMillis: () => serverClock.atMost(monotonic(clock)),
      serverMillisAt: serverClock.atMost
    }
  })
