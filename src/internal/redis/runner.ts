/** Runs scripts on a link, and learns the server's time from every reply. */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type { BackendError } from "../../DlockError.js"
import { monotonic } from "../alarm.js"
import * as ServerClock from "../serverClock.js"
import type { Link } from "./link.js"
import type { Script } from "./script.js"

export interface Runner {
  readonly run: <In, Reply extends readonly [serverMillis: number, ...rest: ReadonlyArray<unknown>]>(
    script: Script<In, Reply>,
    input: In
  ) => Effect.Effect<Reply, BackendError>
  /** Asks the server for its time, unless a reply has told it before. */
  readonly synchronize: Effect.Effect<void, BackendError>
  /** What the server's clock shows at most now. */
  readonly serverMillis: () => number
}

export const make = (link: Link): Effect.Effect<Runner> =>
  Effect.map(Effect.clock, (clock) => {
    const serverClock = ServerClock.make()
    const now = () => monotonic(clock)

    const run: Runner["run"] = (script, input) =>
      Effect.suspend(() => {
        const sentAt = now()
        return Effect.flatMap(
          link.run(script.name, (client, isAwaited) => {
            const keys = script.keys(input)
            const args = script.args(input)
            // By hash, not by `defineCommand`: that would add a method to a client that may be the caller's own.
            // Not for a caller that has gone: its leave has run by now, and nothing would undo this (R15).
            return client.evalsha(script.sha, keys.length, ...keys, ...args).catch((error: unknown) =>
              error instanceof Error && error.message.startsWith("NOSCRIPT") && isAwaited()
                ? client.eval(script.lua, keys.length, ...keys, ...args)
                : Promise.reject(error)
            )
          }),
          (raw) => {
            const reply = script.decode(raw)
            // Our own script cannot answer that.
            if (Either.isLeft(reply)) return Effect.die(reply.left)
            serverClock.learn(reply.right[0], sentAt)
            return Effect.succeed(reply.right)
          }
        )
      })

    const synchronize = Effect.suspend(() => {
      if (serverClock.synchronized()) return Effect.void
      const sentAt = now()
      return Effect.map(
        link.run("time", (client) => client.time()),
        ([seconds, micros]) => serverClock.learn(Number(seconds) * 1000 + Number(micros) / 1000, sentAt)
      )
    })

    return { run, synchronize, serverMillis: () => serverClock.atMost(now()) }
  })
