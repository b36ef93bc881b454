/**
 * This library's own scripts, sent by hand: no timeouts, no state, nothing that acts when an answer or a message is lost. What
 * this costs beyond the floors is the protocol's; what the library costs beyond this is its own.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { Redis } from "ioredis"
import { randomUUID } from "node:crypto"
import { setTimeout as sleep } from "node:timers/promises"
import { acquire } from "../../src/internal/redis/acquire.js"
import { finish, join } from "../../src/internal/redis/flights.js"
import type { LockKeys, Script } from "../../src/internal/redis/script.js"
import { leave, refresh } from "../../src/internal/redis/scripts.js"
import * as Wire from "../../src/internal/redis/wire.js"
import { maxBatch } from "../../src/internal/store.js"
import type { Contender, Session } from "../contender.js"
import { counted } from "../support/counting.js"
import {
  contentions,
  cycles,
  effectContentions,
  effectCycles,
  effectFlown,
  flown,
  multis,
  sharing
} from "../support/loops.js"

const defaultTtlMillis = 10_000
const livenessMillis = 30_000

/** When every command here has long been answered. The server's clock is this machine's. */
const soon = () => Date.now() + 5_000

const lockKeys = (key: string): LockKeys => [
  `{${key}}:fence`,
  `{${key}}:state`,
  `{${key}}:held`,
  `{${key}}:queue`,
  `{${key}}:alive`
]

const connect = async (url: string) => {
  const client = new (counted(Redis))(url)
  const subscriber = new (counted(Redis))(url)
  const inbox = `inbox:${randomUUID()}`
  const waiting = new Map<string, (payload: string) => void>()
  await subscriber.subscribe(inbox)
  subscriber.on("message", (_channel: string, message: string) => {
    for (const event of Option.getOrThrow(Wire.decode(message))) {
      waiting.get(event.token)?.(event._tag === "Outcome" ? event.payload : "")
      waiting.delete(event.token)
    }
  })
  for (const { lua } of [acquire, leave, refresh, join, finish]) await client.script("LOAD", lua)
  /** What each of the scripts says second is what happened. */
  const send = async <In>(script: Script<In, ReadonlyArray<unknown>>, input: In): Promise<unknown> => {
    const keys = script.keys(input)
    const reply: unknown = await client.evalsha(script.sha, keys.length, ...keys, ...script.args(input))
    return Array.isArray(reply) ? reply[1] : undefined
  }
  return {
    inbox,
    send,
    told: (token: string) => new Promise<string>((resolve) => waiting.set(token, resolve)),
    forget: (token: string) => waiting.delete(token)
  }
}
type Connected = Awaited<ReturnType<typeof connect>>

/** A place in a queue, or all of several locks at once. */
const take = async (
  { forget, inbox, send, told }: Connected,
  keys: ReadonlyArray<string>,
  limit: number,
  ttlMillis = defaultTtlMillis
) => {
  const token = randomUUID()
  const mine = told(token)
  const locks = keys.map(lockKeys)
  const what = await send(acquire, {
    ...{ token, locks, inbox, ttlMillis, livenessMillis, metadata: "", notAfter: soon(), subscribed: true },
    claims: keys.map((key) => ({ kind: "lock" as const, key, permits: 1, limit })),
    wait: keys.length === 1
  })
  if (what === "waiting") await mine
  else forget(token)
  return {
    token,
    give: () => send(leave, { locks, items: locks.map((_, lock) => ({ lock, token, time: 0 })) })
  }
}

const holder = (connected: Connected): Session["hold"] => async (keys, ttlMillis) => {
  const taken: Array<{ readonly key: string; readonly token: string; readonly give: () => unknown }> = []
  for (let from = 0; from < keys.length; from += maxBatch) {
    const some = keys.slice(from, from + maxBatch)
    taken.push(...await Promise.all(some.map(async (key) => ({ key, ...await take(connected, [key], 1, ttlMillis) }))))
  }
  let isHeld = true
  const startedAt = performance.now()
  const renewing = (async () => {
    for (let period = 1; isHeld; period++) {
      await sleep(Math.max(0, startedAt + period * ttlMillis / 3 - performance.now()))
      for (let from = 0; from < taken.length; from += maxBatch) {
        const batch = taken.slice(from, from + maxBatch)
        await connected.send(refresh, {
          locks: batch.map(({ key }) => lockKeys(key)),
          items: batch.map(({ token }, lock) => ({ lock, token, ttlMillis, livenessMillis })),
          subscribed: true
        })
      }
    }
  })()
  return async () => {
    isHeld = false
    await renewing
    await Promise.all(taken.map(({ give }) => give()))
  }
}

/** The flights of a process: those who ask while one is under way share its promise. */
const flightsOf = ({ forget, inbox, send, told }: Connected) => {
  const fly = async (id: string, job: () => Promise<string>): Promise<string> => {
    const token = randomUUID()
    const mine = told(token)
    const flight = [`{${id}}:state`, `{${id}}:followers`, `{${id}}:marks`, `{${id}}:outcomes`] as const
    const request = { flight, token, ttlMillis: defaultTtlMillis, notAfter: soon(), inbox, gaveUp: "", keepMillis: 0 }
    if (await send(join, request) === "follows") return JSON.parse(await mine)[1]
    forget(token)
    const result = await job()
    const payload = JSON.stringify(["success", result])
    await send(finish, { flight, token, payload, notAfter: soon(), retentionMillis: 15_000, keepMillis: 0 })
    return result
  }
  return sharing(fly)
}

export const protocol: Contender = {
  name: "its scripts by hand",
  options: "the scripts of effect-dlock, sent from plain promises, with nothing around them",
  open: async (url) => {
    const connected = await connect(url)
    const takeOf = (limit: number) => async (key: string) => (await take(connected, [key], limit)).give
    return {
      cycle: cycles(takeOf(1)),
      multi: multis(async (keys) => (await take(connected, keys, 1)).give),
      contend: contentions(takeOf(1)),
      semaphore: (work) => contentions(takeOf(work.permits))(work),
      fanout: flown(flightsOf(connected)),
      hold: holder(connected)
    }
  }
}

export const protocolFibers: Contender = {
  name: "the same scripts, in fibers",
  options:
    "as its scripts by hand, but in fibers of one Effect program: the plainest `Effect.acquireRelease`, and a caller "
    + "of a flight that is one fiber. With these scripts no library in Effect can cost less.",
  open: async (url) => {
    const connected = await connect(url)
    const inScope = (keys: ReadonlyArray<string>, limit: number) =>
      Effect.as(
        Effect.acquireRelease(
          Effect.promise(() => take(connected, keys, limit)),
          ({ give }) => Effect.promise(give)
        ),
        { fence: undefined }
      )
    const takeOf = (limit: number) => (key: string) => inScope([key], limit)
    return {
      cycle: (work) => Effect.runPromise(effectCycles(Effect, takeOf(1))(work)),
      multi: ({ body, keys, times }) =>
        Effect.runPromise(Effect.repeat(Effect.scoped(Effect.map(inScope(keys, 1), body)), { times: times - 1 })),
      contend: (work) => Effect.runPromise(effectContentions(Effect, takeOf(1))(work)),
      semaphore: (work) => Effect.runPromise(effectContentions(Effect, takeOf(work.permits))(work)),
      fanout: effectFlown(Effect, flightsOf(connected))
    }
  }
}
