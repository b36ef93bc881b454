/** Eight free keys at once, taken and given back, one after the other: beside a script that sets and one that deletes. */
import * as Effect from "effect/Effect"
import * as ManagedRuntime from "effect/ManagedRuntime"
import { Dlock } from "../../src/index.js"
import type { Scenario } from "../scenario.js"
import { connectBare } from "../support/bare.js"
import { race } from "../support/race.js"

const keys = Array.from({ length: 8 }, (_, i) => `multi:${i}`)

export const multi: Scenario = async ({ quick, url }) => {
  const bare = await connectBare(url)
  const runtime = ManagedRuntime.make(Dlock.layerRedis({ url }))
  const times = <A, E, R>(effect: Effect.Effect<A, E, R>, count: number) => Effect.repeatN(effect, count - 1)
  try {
    return await race(`${keys.length} free keys at once`, [
      {
        name: "bare ioredis",
        run: async (operations) => {
          for (let i = 0; i < operations; i++) await bare.lockAll(keys)
        }
      },
      {
        name: "multi",
        run: (operations) => runtime.runPromise(times(Effect.scoped(Dlock.multi(keys)), operations))
      },
      {
        name: "withMulti",
        run: (operations) => runtime.runPromise(times(Dlock.withMulti(Effect.void, keys), operations))
      }
    ], quick ? { operations: 300, rounds: 9 } : { operations: 1_000, rounds: 21 })
  } finally {
    await runtime.dispose()
    bare.close()
  }
}
