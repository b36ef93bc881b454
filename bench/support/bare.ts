/** What one would write by hand: a lock without queue, renewal, fencing or loss. The yardstick of the bench. */
import { Redis } from "ioredis"
import { createHash, randomUUID } from "node:crypto"

const compareAndDelete = `if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end return 0`
const sha = createHash("sha1").update(compareAndDelete).digest("hex")

export interface Bare {
  /** Takes the free lock and gives it back. */
  readonly lockOnce: (key: string) => Promise<void>
  readonly close: () => void
}

export const connectBare = async (url: string): Promise<Bare> => {
  const client = new Redis(url)
  await client.script("LOAD", compareAndDelete)
  return {
    lockOnce: async (key) => {
      const token = randomUUID()
      if (await client.set(key, token, "PX", 10_000, "NX") !== "OK") throw new Error(`${key} is not free`)
      if (await client.evalsha(sha, 1, key, token) !== 1) throw new Error(`${key} was lost`)
    },
    close: () => client.disconnect()
  }
}
