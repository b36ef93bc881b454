/** Many free locks at once, each on a key of its own: both sides send without waiting for one another's answers. */
import * as Effect from "effect/Effect"
import * as ManagedRuntime from "effect/ManagedRuntime"
import { Dlock } from "../../src/index.js"
import type { Scenario } from "../scenario.js"
import { connectBare } from "../support/bare.js"
import { race } from "../support/race.js"

const keys = Array.from({ length: 64 }, (_, i) => `many:${i}`)

export const many: Scenario = async ({ quick, url }) => {
  const bare = await connectBare(url)
  const runtime = ManagedRuntime.make(Dlock.layerRedis({ url }))
  const turns = (operations: number) => Math.ceil(operations / keys.length)
  try {
    return await race(`${keys.length} free locks at once`, [
      {
        name: "bare ioredis",
        run: (operations) =>
          Promise.all(keys.map(async (key) => {
            for (let i = 0; i < turns(operations); i++) await bare.lockOnce(key)
          }))
      },
      {
        name: "once",
        run: (operations) =>
          runtime.runPromise(Effect.forEach(
            keys,
            (key) => Effect.repeatN(Effect.scoped(Dlock.once(key)), turns(operations) - 1),
            { concurrency: "unbounded", discard: true }
          ))
      }
    ], quick ? { operations: 6_400, rounds: 9 } : { operations: 12_800, rounds: 21 })
  } finally {
    await runtime.dispose()
    bare.close()
  }
}
