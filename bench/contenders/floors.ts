/** What the protocols cost with no library around them: no crash safety, no timeouts, no cancelling. */
import * as Effect from "effect/Effect"
import { Redis } from "ioredis"
import { randomUUID } from "node:crypto"
import { setTimeout as sleep } from "node:timers/promises"
import type { Contender, Session } from "../contender.js"
import { counted } from "../support/counting.js"
import { contentions, cycles, effectContentions, effectFlown, flown, sharing } from "../support/loops.js"
import { enter, finish, join, leave, load, renewAll } from "../support/scripts.js"

export const tokenList: Contender = {
  name: "floor: token list",
  options: "`BLPOP` of a token, `RPUSH` of it; one connection a waiter",
  open: async (url) => {
    const client = new (counted(Redis))(url)
    const connections: Array<Redis> = []
    const prepare: Session["prepare"] = async ({ isFirst, keys, kind, permits, waiters }) => {
      while (kind === "contend" && connections.length < waiters) connections.push(new Redis(url))
      await Promise.all(connections.map((connection) => connection.ping()))
      if (isFirst) {
        for (const key of keys) {
          await client.rpush(
            key,
            ...Array.from({ length: permits }, () => "token")
          )
        }
      }
    }
    const takeBy = (connectionOf: (waiter: number) => Redis) => async (key: string, waiter: number) => {
      const connection = connectionOf(waiter)
      await connection.blpop(key, 0)
      return () => connection.rpush(key, "token")
    }
    const contend = contentions(takeBy((waiter) => connections[waiter]!))
    return { prepare, cycle: cycles(takeBy(() => client)), contend, semaphore: contend }
  }
}

/** A connection for messages to this process: by the name of what is waited for. */
const subscribe = async (url: string) => {
  const subscriber = new (counted(Redis))(url)
  const channel = randomUUID()
  const waiting = new Map<string, (message: string) => void>()
  await subscriber.subscribe(channel)
  subscriber.on("message", (_channel: string, message: string) => {
    const end = message.indexOf("\n")
    const name = end === -1 ? message : message.slice(0, end)
    const wake = waiting.get(name)
    waiting.delete(name)
    wake?.(end === -1 ? "" : message.slice(end + 1))
  })
  return { channel, told: (name: string) => new Promise<string>((resolve) => waiting.set(name, resolve)) }
}

const renewedAtOnce = 500

/** Locks that are renewed by few scripts, every third of their ttl. */
const holder = async (client: Redis): Promise<Session["hold"]> => {
  const renew = await load(client, renewAll)
  return async (keys, ttlMillis) => {
    const token = randomUUID()
    const batches = Array.from(
      { length: Math.ceil(keys.length / renewedAtOnce) },
      (_, i) => keys.slice(i * renewedAtOnce, (i + 1) * renewedAtOnce)
    )
    for (const batch of batches) await Promise.all(batch.map((key) => client.set(key, token, "PX", ttlMillis, "NX")))
    let isHeld = true
    const renewing = (async () => {
      while (isHeld) {
        await sleep(ttlMillis / 3)
        for (const batch of batches) {
          if (await renew(batch, token, ttlMillis) !== batch.length) throw new Error("lost")
        }
      }
    })()
    return async () => {
      isHeld = false
      await renewing
      for (const batch of batches) await client.del(...batch)
    }
  }
}

/** The flights of a process by two scripts: those who ask while one is under way share its promise. */
const flightsOf = async (client: Redis, { channel, told }: Awaited<ReturnType<typeof subscribe>>) => {
  const [joins, finishes] = await Promise.all([load(client, join), load(client, finish)])
  const fly = async (id: string, job: () => Promise<string>) => {
    const mine = told(id)
    if (await joins([id, `${id}:followers`], channel) === 0) return mine
    const result = await job()
    await finishes([id, `${id}:followers`], `${id}\n${result}`)
    return result
  }
  return sharing(fly)
}

/** Places in queues, by two scripts. */
const queueOf = async (client: Redis, { channel, told }: Awaited<ReturnType<typeof subscribe>>) => {
  const [enters, leaves] = await Promise.all([load(client, enter), load(client, leave)])
  let names = 0
  return (permits: number) => async (key: string) => {
    const name = String(names++)
    const mine = told(name)
    if (await enters([key, `${key}:queue`], permits, channel, name) === 0) await mine
    return () => leaves([key, `${key}:queue`])
  }
}

export const luaQueue: Contender = {
  name: "floor: Lua FIFO",
  options: "a list as queue, one script to enter and one to leave, which wakes the next by `PUBLISH` to its process",
  open: async (url) => {
    const client = new (counted(Redis))(url)
    const subscription = await subscribe(url)
    const [takeOf, ask] = await Promise.all([queueOf(client, subscription), flightsOf(client, subscription)])
    return {
      cycle: cycles(takeOf(1)),
      contend: contentions(takeOf(1)),
      semaphore: (work) => contentions(takeOf(work.permits))(work),
      fanout: flown(ask),
      hold: await holder(client)
    }
  }
}

export const luaQueueFibers: Contender = {
  name: "the same floor, in fibers",
  options: "as the floor, but what waits is a fiber of one Effect program, as with effect-dlock: the plainest "
    + "`Effect.acquireRelease` of a place, and a caller of a flight that is one fiber. Nothing else differs.",
  open: async (url) => {
    const client = new (counted(Redis))(url)
    const subscription = await subscribe(url)
    const [takeOf, ask] = await Promise.all([queueOf(client, subscription), flightsOf(client, subscription)])
    const contendFor = (permits: number) => {
      const take = takeOf(permits)
      return effectContentions(Effect, (key: string) =>
        Effect.as(
          Effect.acquireRelease(Effect.promise(() => take(key)), (give) => Effect.promise(give)),
          { fence: undefined }
        ))
    }
    return {
      contend: (work) => Effect.runPromise(contendFor(1)(work)),
      semaphore: (work) => Effect.runPromise(contendFor(work.permits)(work)),
      fanout: effectFlown(Effect, ask)
    }
  }
}
