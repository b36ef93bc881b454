/**
 * The worlds that the suites of this folder run in: processes that share one lock server, and a way for time to pass.
 * Everything is observed through the public service.
 */
import { it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import { randomUUID } from "node:crypto"
import { inject } from "vitest"
import { BackendError } from "../../src/DlockError.js"
import { Dlock, PubSubLayer, RedisLayer } from "../../src/index.js"
import * as Assembly from "../../src/internal/dlock.js"
import type { Stores } from "../../src/internal/flightStore.js"
import type { LeaseKind } from "../../src/internal/key.js"
import * as Memory from "../../src/internal/memory/store.js"
import { keysOf } from "../store/backends.js"
import * as Separate from "../support/process.js"

/** One process of an application: its service, and its sudden death. */
export interface Process {
  readonly dlock: Dlock.Service
  /** From now on it sends nothing and hears nothing. */
  readonly crash: Effect.Effect<void>
  /** Its server loses all that it knows of the key. */
  readonly lose: (key: string, kind?: LeaseKind) => Effect.Effect<void>
}

export interface World {
  readonly name: string
  /** The ttl of every process's layer. */
  readonly ttlMillis: number
  readonly test: (name: string, run: () => Effect.Effect<void, unknown, Scope.Scope>) => void
  readonly makeServer: Effect.Effect<Effect.Effect<Process, never, Scope.Scope>>
  /** Lets that many ttls pass. */
  readonly elapse: (ttls: number) => Effect.Effect<void>
}

/** A store whose process can die: then no call gets through. */
const mortal = (store: Stores) => {
  let dead = false
  const unlessDead = <A>(call: Effect.Effect<A, BackendError>): Effect.Effect<A, BackendError> =>
    Effect.suspend(() =>
      dead
        ? new BackendError({ operation: "any", reason: "Unreachable", outcome: "Unknown", cause: new Error("crashed") })
        : call
    )
  const { flights } = store
  const mortalStore: Stores = {
    inbox: store.inbox,
    probe: store.probe,
    acquire: (request) => unlessDead(store.acquire(request)),
    refresh: (request) => unlessDead(store.refresh(request)),
    leave: (items) => unlessDead(store.leave(items)),
    lower: (target, token, permits) => unlessDead(store.lower(target, token, permits)),
    revoke: (target, fence, asks) => unlessDead(store.revoke(target, fence, asks)),
    inspect: (target) => unlessDead(store.inspect(target)),
    flights: {
      inbox: flights.inbox,
      probe: flights.probe,
      serverMillisAtMost: flights.serverMillisAtMost,
      join: (request) => unlessDead(flights.join(request)),
      refresh: (items) => unlessDead(flights.refresh(items)),
      finish: (request) => unlessDead(flights.finish(request)),
      refuse: (part) => unlessDead(flights.refuse(part)),
      leave: (part) => unlessDead(flights.leave(part)),
      fetch: (part) => unlessDead(flights.fetch(part))
    }
  }
  return {
    store: mortalStore,
    die: Effect.sync(() => {
      dead = true
    })
  }
}

const memoryTtlMillis = 10_000

export const memory: World = {
  name: "memory",
  ttlMillis: memoryTtlMillis,
  test: it.effect,
  makeServer: Effect.map(Memory.makeServer(), (server) =>
    Effect.gen(function*() {
      const connection = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
      const { die, store } = mortal(yield* Scope.provide(server.connect(randomUUID()), connection))
      const dlock = yield* Assembly.make(store, { ttl: memoryTtlMillis })
      return {
        dlock,
        crash: Effect.andThen(die, Scope.close(connection, Exit.void)),
        lose: (key, kind = "lock") => Effect.sync(() => server.locks.delete(`${kind}:${key}`))
      }
    })),
  // In steps, as time passes: a timer that is set at the end of one step must find its own time still ahead.
  elapse: (ttls) => TestClock.adjust(memoryTtlMillis / 20).pipe(Effect.repeat({ times: Math.ceil(ttls * 20) - 1 }))
}

const redisTtlMillis = 1_000

export const redis: World = {
  name: "Redis",
  ttlMillis: redisTtlMillis,
  test: it.live,
  makeServer: Effect.sync(() =>
    Effect.gen(function*() {
      const context = yield* Layer.build(
        Separate.layer({ ttl: redisTtlMillis }).pipe(
          Layer.provideMerge(PubSubLayer.layer),
          Layer.provideMerge(RedisLayer.layer({ url: inject("redisUrl") }))
        )
      ).pipe(Effect.orDie)
      const { client } = yield* Effect.provide(RedisLayer.Redis, context)
      const { client: subscriber } = yield* Effect.provide(PubSubLayer.PubSub, context)
      const dlock = yield* Effect.provide(Dlock.Dlock, context)
      return {
        dlock,
        crash: Effect.sync(() => {
          client.disconnect()
          subscriber.disconnect()
        }),
        lose: (key, kind = "lock") => Effect.promise(() => client.del(...keysOf({ kind, key }, "dlock")))
      }
    })
  ),
  elapse: (ttls) => Effect.sleep(ttls * redisTtlMillis)
}

export const newKey: Effect.Effect<string> = Effect.sync(() => `key-${randomUUID()}`)

/** Waits, without letting test time pass, until that many wait for the key. */
export const untilWaiting = (
  dlock: Dlock.Service,
  key: string,
  waiting: number,
  kind?: Dlock.Kind
): Effect.Effect<void> =>
  dlock.inspect(key, kind).pipe(
    Effect.orDie,
    Effect.tap(Effect.yieldNow),
    Effect.repeat({ until: (found) => found.waiting === waiting, times: 100_000 }),
    Effect.flatMap((found) =>
      found.waiting === waiting ? Effect.void : Effect.die(new Error(`${found.waiting} wait, not ${waiting}`))
    )
  )

/** Nothing of the lock is left but its last fencing token. */
export const isFree = (dlock: Dlock.Service, key: string, kind?: Dlock.Kind): Effect.Effect<boolean> =>
  Effect.map(Effect.orDie(dlock.inspect<Dlock.Kind>(key, kind)), (found) => {
    const held = found.kind === "readWriteLock" ? found.readers.length > 0 || found.writer : found.holders.length > 0
    return !held && found.waiting === 0
  })

export const untilFree = (dlock: Dlock.Service, key: string, kind?: Dlock.Kind): Effect.Effect<void> =>
  isFree(dlock, key, kind).pipe(
    Effect.tap(Effect.yieldNow),
    Effect.repeat({ until: (free) => free, times: 100_000 }),
    Effect.flatMap((free) => free ? Effect.void : Effect.die(new Error(`${key} is not free`)))
  )
