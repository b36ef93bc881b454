/** What one would write by hand: locks without queue, renewal, fencing or loss. The yardstick of the bench. */
import * as Effect from "effect/Effect"
import { Redis } from "ioredis"
import { createHash, randomUUID } from "node:crypto"

const compareAndDelete = `if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end return 0`
const setAll = `
for _, key in ipairs(KEYS) do if redis.call("EXISTS", key) == 1 then return 0 end end
for _, key in ipairs(KEYS) do redis.call("SET", key, ARGV[1], "NX", "PX", ARGV[2]) end
return #KEYS`
const compareAndDeleteAll = `
local deleted = 0
for _, key in ipairs(KEYS) do
  if redis.call("GET", key) == ARGV[1] then deleted = deleted + redis.call("DEL", key) end
end
return deleted`
const shaOf = (script: string): string => createHash("sha1").update(script).digest("hex")
const sha = shaOf(compareAndDelete)
const setAllSha = shaOf(setAll)
const compareAndDeleteAllSha = shaOf(compareAndDeleteAll)

export interface Bare {
  /** Takes the free lock and gives it back. */
  readonly lockOnce: (key: string) => Promise<void>
  /** The same two commands in the plainest of Effects: what the runtime and a scope cost with no library at all. */
  readonly lockScoped: (key: string) => Effect.Effect<void>
  /** Takes all the free locks by one script and gives them back by another. */
  readonly lockAll: (keys: ReadonlyArray<string>) => Promise<void>
  readonly close: () => void
}

export const connectBare = async (url: string): Promise<Bare> => {
  const client = new Redis(url)
  for (const script of [compareAndDelete, setAll, compareAndDeleteAll]) await client.script("LOAD", script)
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
    lockAll: async (keys) => {
      const token = randomUUID()
      const taken = await client.evalsha(setAllSha, keys.length, ...keys, token, 10_000)
      if (taken !== keys.length) throw new Error(`${keys} are not all free`)
      const deleted = await client.evalsha(compareAndDeleteAllSha, keys.length, ...keys, token)
      if (deleted !== keys.length) throw new Error(`${keys} were not all held`)
    },
    close: () => client.disconnect()
  }
}
