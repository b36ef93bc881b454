/** What one would write by hand: a lock without queue, renewal, fencing or loss. The yardstick of the bench. */
import * as Effect from "effect/Effect"
import { Redis } from "ioredis"
import { createHash, randomUUID } from "node:crypto"

const compareAndDelete = `if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end return 0`
const sha = createHash("sha1").update(compareAndDelete).digest("hex")

export interface Bare {
  /** Takes the free lock and gives it back. */
  readonly lockOnce: (key: string) => Promise<void>
  /** The same two commands in the plainest of Effects: what the runtime and a scope cost with no library at all. */
  readonly lockScoped: (key: string) => Effect.Effect<void>
  readonly close: () => void
}

export const connectBare = async (url: string): Promise<Bare> => {
  const client = new Redis(url)
  await client.script("LOAD", compareAndDelete)
  const acquire = async (key: string, token: string) => {
    if (await client.set(key, token, "PX", 10_000, "NX") !== "OK") throw new Error(`${key} is not free`)
  }
  const release = async (key: string, token: string) => {
    if (await client.evalsha(sha, 1, key, token) !== 1) throw new Error(`${key} was lost`)
  }
  return {
    lockOnce: async (key) => {
      const token = randomUUID()
      await acquire(key, token)
      await release(key, token)
    },
    lockScoped: (key) =>
      Effect.scoped(Effect.suspend(() => {
        const token = randomUUID()
        return Effect.acquireRelease(
          Effect.promise(() => acquire(key, token)),
          () => Effect.promise(() => release(key, token))
        )
      })),
    close: () => client.disconnect()
  }
}
