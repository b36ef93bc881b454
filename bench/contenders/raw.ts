/** What one would write by hand with ioredis: no queue, no renewal, no fencing, nobody is told of a loss. */
import * as Effect from "effect/Effect"
import { Redis } from "ioredis"
import { randomUUID } from "node:crypto"
import type { Contender } from "../contender.js"
import { counted } from "../support/counting.js"
import { cycles, effectCycles, multis } from "../support/loops.js"
import { compareAndDelete, compareAndDeleteAll, load, setAll } from "../support/scripts.js"

const ttlMillis = 10_000

const connect = async (url: string, enableAutoPipelining: boolean) => {
  const client = new (counted(Redis))(url, { enableAutoPipelining })
  const [release, acquireAll, releaseAll] = await Promise.all([
    load(client, compareAndDelete),
    load(client, setAll),
    load(client, compareAndDeleteAll)
  ])
  const take = async (key: string, token: string) => {
    if (await client.set(key, token, "PX", ttlMillis, "NX") !== "OK") throw new Error(`${key} is not free`)
  }
  const give = async (key: string, token: string) => {
    if (await release([key], token) !== 1) throw new Error(`${key} was lost`)
  }
  const takeAll = async (keys: ReadonlyArray<string>, token: string) => {
    if (await acquireAll(keys, token, ttlMillis) !== keys.length) throw new Error(`${keys} are not all free`)
  }
  const giveAll = async (keys: ReadonlyArray<string>, token: string) => {
    if (await releaseAll(keys, token) !== keys.length) throw new Error(`${keys} were not all held`)
  }
  return { take, give, takeAll, giveAll }
}

const open = async (url: string, enableAutoPipelining = false) => {
  const { give, giveAll, take, takeAll } = await connect(url, enableAutoPipelining)
  return {
    cycle: cycles(async (key) => {
      const token = randomUUID()
      await take(key, token)
      return () => give(key, token)
    }),
    multi: multis(async (keys) => {
      const token = randomUUID()
      await takeAll(keys, token)
      return () => giveAll(keys, token)
    })
  }
}

export const raw: Contender = {
  name: "raw",
  options: "ioredis 6, `SET key token NX PX ttl` and a script that compares and deletes, with `await`. "
    + "For several keys: two scripts.",
  open: (url) => open(url)
}

export const rawPipelined: Contender = {
  name: "floor: raw, auto-pipelining",
  options: "raw with `enableAutoPipelining`",
  open: async (url) => {
    const { cycle } = await open(url, true)
    return { cycle }
  }
}

const inScope = (take: (token: string) => Promise<void>, give: (token: string) => Promise<void>) =>
  Effect.suspend(() => {
    const token = randomUUID()
    return Effect.acquireRelease(Effect.promise(() => take(token)), () => Effect.promise(() => give(token)))
  })

export const rawEffect: Contender = {
  name: "raw in Effect.scoped",
  options:
    "the two commands of raw, or its two scripts, in the plainest `Effect.acquireRelease`: what Effect costs with no library",
  open: async (url) => {
    const { give, giveAll, take, takeAll } = await connect(url, false)
    const cycle = effectCycles(
      Effect,
      (key: string) => inScope((token) => take(key, token), (token) => give(key, token))
    )
    return {
      cycle: (work) => Effect.runPromise(cycle(work)),
      multi: ({ body, keys, times }) => {
        const all = inScope((token) => takeAll(keys, token), (token) => giveAll(keys, token))
        return Effect.runPromise(Effect.repeat(Effect.scoped(Effect.map(all, body)), { times: times - 1 }))
      }
    }
  }
}

export const rawEffect3: Contender = { ...rawEffect, name: "raw in Effect 3's scope", edition: 3 }
