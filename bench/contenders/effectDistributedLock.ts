/** effect-distributed-lock 0.0.11, with the copy of Effect that it resolves. */
import type * as EffectModule from "effect/Effect"
import type * as ExitModule from "effect/Exit"
import type * as Layer from "effect/Layer"
import type * as ManagedRuntimeModule from "effect/ManagedRuntime"
import type * as ScopeModule from "effect/Scope"
import type { Contender } from "../contender.js"
import { counted } from "../support/counting.js"
import { effectContentions, effectCycles } from "../support/loops.js"
import type { PeerRedis, PeerRedisClass } from "../support/peers.js"
import { loadPeer } from "../support/peers.js"

interface Backing {
  readonly _: unique symbol
}

interface Semaphore {
  readonly take: (permits: number) => EffectModule.Effect<unknown, unknown, ScopeModule.Scope>
}

interface Library {
  readonly DistributedSemaphore: {
    readonly make: (
      key: string,
      config: { readonly limit: number; readonly ttl: number }
    ) => EffectModule.Effect<Semaphore, never, Backing>
  }
  readonly RedisBacking: { readonly layer: (client: PeerRedis) => Layer.Layer<Backing> }
}

export const effectDistributedLock: Contender = {
  name: "effect-distributed-lock",
  options:
    "0.0.11, ioredis 5, effect 3.22.4; defaults: pushed by pub/sub (a connection a waiter), polls every 100 ms beside",
  open: async (url) => {
    const { Redis } = await loadPeer<{ readonly Redis: PeerRedisClass }>("ioredis")
    const { DistributedSemaphore, RedisBacking } = await loadPeer<Library>("effect-distributed-lock")
    const Effect = await loadPeer<typeof EffectModule>("effect/Effect")
    const ManagedRuntime = await loadPeer<typeof ManagedRuntimeModule>("effect/ManagedRuntime")
    const Scope = await loadPeer<typeof ScopeModule>("effect/Scope")
    const Exit = await loadPeer<typeof ExitModule>("effect/Exit")
    const { parallel } = await loadPeer<{ readonly parallel: "parallel" }>("effect/ExecutionStrategy")
    const runtime = ManagedRuntime.make(RedisBacking.layer(new (counted(Redis))(url)))
    const takeOf = (limit: number, ttl = 10_000) => (key: string) =>
      Effect.flatMap(DistributedSemaphore.make(key, { limit, ttl }), (semaphore) => semaphore.take(1))
    const contendFor = (permits: number) =>
      effectContentions(Effect, (key: string) => Effect.as(takeOf(permits)(key), { fence: undefined }))
    const cycle = effectCycles(Effect, takeOf(1))
    return {
      cycle: (work) => runtime.runPromise(cycle(work)),
      contend: (work) => runtime.runPromise(contendFor(1)(work)),
      semaphore: (work) => runtime.runPromise(contendFor(work.permits)(work)),
      hold: async (keys, ttlMillis) => {
        const scope = Effect.runSync(Scope.make(parallel))
        await runtime.runPromise(
          Effect.forEach(keys, takeOf(1, ttlMillis), { concurrency: 256, discard: true }).pipe(Scope.provide(scope))
        )
        return () => runtime.runPromise(Scope.close(scope, Exit.void))
      }
    }
  }
}
