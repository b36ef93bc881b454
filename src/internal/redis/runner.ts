/** Runs scripts on a link, and learns the server's time from every reply. */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type { BackendError } from "../../DlockError.js"
import { monotonic } from "../alarm.js"
import * as ServerClock from "../serverClock.js"
import type { Link } from "./link.js"
import type { Script } from "./script.js"

export interface Runner {
  /**
   * `input` is asked for when the command is sent; `read` is called with the reply in the driver's callback. A server that
   * does not know the script is sent its text, if that `isWanted` still (R47).
   */
  readonly run: <In, Reply extends readonly [serverMillis: number, ...rest: ReadonlyArray<unknown>], A>(
    script: Script<In, Reply>,
    input: () => In,
    read: (reply: Reply) => Effect.Effect<A, BackendError>,
    isWanted?: () => boolean
  ) => Effect.Effect<A, BackendError>
  /** Whether a reply has told the server's time before. */
  readonly synchronized: () => boolean
  /** Asks the server for its time. */
  readonly synchronize: Effect.Effect<void, BackendError>
  /** What the server's clock shows at most now. */
  readonly serverMillis: () => number
  /** What it showed at most at an earlier local time. */
  readonly serverMillisAt: (localMillis: number) => number
}

export const make = (link: Link): Effect.Effect<Runner> =>
  Effect.map(Effect.clock, (clock) => {
    const serverClock = ServerClock.make()

    const run: Runner["run"] = (script, input, read, isWanted = () => true) =>
      link.exchange(script.name, () => {
        const given = input()
        const keys = script.keys(given)
        const args = script.args(given)
        return {
          // By hash, not by `defineCommand`: that would add a method to a client that may be the caller's own.
          send: (client) => client.evalsha(script.sha, keys.length, ...keys, ...args),
          instead: (client, error) =>
            error instanceof Error && error.message.startsWith("NOSCRIPT") && isWanted()
              ? client.eval(script.lua, keys.length, ...keys, ...args)
              : undefined,
          receive: (raw: unknown, sentAt) => {
            const reply = script.decode(raw)
            // Our own script cannot answer that.
            if (Either.isLeft(reply)) return Effect.die(reply.left)
            serverClock.learn(reply.right[0], sentAt, monotonic(clock))
            return read(reply.right)
          }
        }
      })

    const synchronize = link.exchange("time", () => ({
      send: (client) => client.time(),
      receive: ([seconds, micros], sentAt) => {
        serverClock.learn(Number(seconds) * 1000 + Math.floor(Number(micros) / 1000), sentAt, monotonic(clock))
        return Effect.void
      }
    }))

    return {
      run,
      synchronize,
      synchronized: serverClock.synchronized,
      serverMillis: () => serverClock.atMost(monotonic(clock)),
      serverMillisAt: serverClock.atMost
    }
  })
