/** effect-dlock, from its sources. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Scope from "effect/Scope"
import { Redis } from "ioredis"
import { Dlock } from "../../src/index.js"
import type { Contender, Session } from "../contender.js"
import { counted } from "../support/counting.js"
import { effectContentions, effectCycles, fiberEach } from "../support/loops.js"

const service = async (url: string, ttlMillis?: number) => {
  const runtime = ManagedRuntime.make(Dlock.layerRedis({ url, ...ttlMillis === undefined ? {} : { ttl: ttlMillis } }))
  // The first use opens the connections, and tells the server's clock and the scripts.
  await runtime.runPromise(Dlock.withLock(Effect.sleep(100), `first use by ${process.pid}`))
  return runtime
}

const contend = effectContentions(
  Effect,
  (key: string) => Effect.map(Dlock.lock(key), ({ fencingToken }) => ({ fence: fencingToken }))
)
const contendFor = (permits: number) =>
  effectContentions(Effect, (key: string) =>
    Dlock.semaphore(key, { permits }).pipe(
      Effect.flatMap((semaphore) => semaphore.take()),
      Effect.as({ fence: undefined })
    ))

/** A layer of its own, as the ttl is the layer's. */
const hold = async (url: string, keys: ReadonlyArray<string>, ttlMillis: number) => {
  const runtime = await service(url, ttlMillis)
  const scope = Effect.runSync(Scope.make("parallel"))
  await runtime.runPromise(
    Effect.forEach(keys, (key) => Dlock.lock(key), { concurrency: 256, discard: true }).pipe(Scope.provide(scope))
  )
  return async () => {
    await runtime.runPromise(Scope.close(scope, Exit.void))
    await runtime.dispose()
  }
}

const open = async (url: string): Promise<Session> => {
  counted(Redis)
  const runtime = await service(url)
  const cycle = effectCycles(Effect, (key: string) => Dlock.once(key))
  return {
    cycle: (work) => runtime.runPromise(cycle(work)),
    multi: ({ body, keys, times }) =>
      runtime.runPromise(Effect.repeat(Effect.scoped(Effect.map(Dlock.multi(keys), body)), { times: times - 1 })),
    contend: (work) => runtime.runPromise(contend(work)),
    semaphore: (work) => runtime.runPromise(contendFor(work.permits)(work)),
    fanout: async ({ callers, ids, job, landed }) => {
      const fork = runtime.runFork
      const ask = (id: string) => Effect.orDie(Effect.map(Dlock.fanout(id, Effect.promise(() => job(id))), landed))
      await fiberEach(fork, ids.flatMap((id) => Array.from({ length: callers }, () => ask(id))))
    },
    hold: (keys, ttlMillis) => hold(url, keys, ttlMillis)
  }
}

export const ours: Contender = {
  name: "effect-dlock",
  options:
    "on Effect 4; `Dlock.layerRedis({ url })`, all defaults; `once` for free locks, `lock` to wait, inside one Effect program",
  open
}

/** The same code: the worker that plays it is built with the edition for Effect 3. */
export const oursOnEffect3: Contender = { ...ours, name: "effect-dlock on Effect 3", edition: 3 }

export const oursByPromise: Contender = {
  name: "effect-dlock, runPromise each",
  options: "the same with one `runPromise` an operation",
  open: async (url) => {
    counted(Redis)
    const runtime = await service(url)
    return {
      cycle: ({ body, keys, times }) =>
        Promise.all(keys.map(async (key) => {
          const once = Effect.scoped(Effect.map(Dlock.once(key), body))
          for (let i = 0; i < times; i++) await runtime.runPromise(once)
        })),
      multi: async ({ body, keys, times }) => {
        const multi = Effect.scoped(Effect.map(Dlock.multi(keys), body))
        for (let i = 0; i < times; i++) await runtime.runPromise(multi)
      }
    }
  }
}

export const oursByFork: Contender = {
  name: "effect-dlock, runFork each",
  options: "the same with one `runFork` an operation",
  open: async (url) => {
    counted(Redis)
    const runtime = await service(url)
    return {
      cycle: async ({ body, keys, times }) => {
        await Promise.all(keys.map((key) => {
          const once = Effect.scoped(Effect.map(Dlock.once(key), body))
          return new Promise<void>((resolve, reject) => {
            const again = (left: number): void =>
              void runtime.runFork(once).addObserver((exit) => {
                if (Exit.isFailure(exit)) reject(Cause.squash(exit.cause))
                else if (left > 1) again(left - 1)
                else resolve()
              })
            again(times)
          })
        }))
      }
    }
  }
}

export const oursByForkOnEffect3: Contender = {
  ...oursByFork,
  name: "effect-dlock on Effect 3, runFork each",
  edition: 3
}
