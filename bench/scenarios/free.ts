/** A free lock, taken and given back, one after the other: what the library costs beside the two commands. */
import * as Effect from "effect/Effect"
import * as ManagedRuntime from "effect/ManagedRuntime"
import { Dlock } from "../../src/index.js"
import type { Scenario } from "../scenario.js"
import { connectBare } from "../support/bare.js"
import { race } from "../support/race.js"

const key = "free"

export const free: Scenario = async ({ quick, url }) => {
  const bare = await connectBare(url)
  const runtime = ManagedRuntime.make(Dlock.layerRedis({ url }))
  const once = Effect.scoped(Dlock.once(key))
  const times = <A, E, R>(effect: Effect.Effect<A, E, R>, count: number) => Effect.repeatN(effect, count - 1)
  try {
    return await race("free lock", [
      {
        name: "bare ioredis",
        run: async (operations) => {
          for (let i = 0; i < operations; i++) await bare.lockOnce(key)
        }
      },
      {
        name: "bare ioredis, in Effect.scoped",
        run: (operations) => runtime.runPromise(times(bare.lockScoped(key), operations))
      },
      { name: "once, in one program", run: (operations) => runtime.runPromise(times(once, operations)), target: 0.75 },
      {
        name: "withLock, in one program",
        run: (operations) => runtime.runPromise(times(Dlock.withLock(Effect.void, key), operations))
      },
      {
        name: "once, each by runPromise",
        run: async (operations) => {
          for (let i = 0; i < operations; i++) await runtime.runPromise(once)
        }
      }
    ], quick ? { operations: 1_000, rounds: 9 } : { operations: 3_000, rounds: 21 })
  } finally {
    await runtime.dispose()
    bare.close()
  }
}
