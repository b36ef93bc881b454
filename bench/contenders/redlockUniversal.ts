/** redlock-universal 0.8. */
import type { Contender } from "../contender.js"
import { counted } from "../support/counting.js"
import { contentions, cycles, multis } from "../support/loops.js"
import type { PeerRedis, PeerRedisClass } from "../support/peers.js"
import { loadPeer } from "../support/peers.js"

type Handle = object

interface Lock {
  readonly acquire: () => Promise<Handle>
  readonly release: (handle: Handle) => Promise<boolean>
  readonly using: (body: () => Promise<void>) => Promise<void>
}

interface Manager {
  readonly acquireBatch: (keys: ReadonlyArray<string>) => Promise<ReadonlyArray<Handle>>
  readonly releaseBatch: (handles: ReadonlyArray<Handle>) => Promise<unknown>
}

interface Universal {
  readonly IoredisAdapter: new(client: PeerRedis) => object
  readonly LockManager: new(config: { readonly nodes: ReadonlyArray<object>; readonly defaultTTL: number }) => Manager
  readonly createLock: (config: {
    readonly adapter: object
    readonly key: string
    readonly ttl: number
    readonly retryAttempts: number
    readonly retryDelay: number
    readonly performance: "lean"
  }) => Lock
}

export const redlockUniversal: Contender = {
  name: "redlock-universal",
  options:
    "0.8.5, ioredis 5; `performance: \"lean\"` and one lock object a key, which spares a PING before each acquire; "
    + "`retryDelay: 10`, `retryAttempts: 100,000`; `acquireBatch` for several keys, `using` to hold with renewal",
  open: async (url) => {
    const { Redis } = await loadPeer<{ readonly Redis: PeerRedisClass }>("ioredis")
    const { IoredisAdapter, LockManager, createLock } = await loadPeer<Universal>("redlock-universal")
    const adapter = new IoredisAdapter(new (counted(Redis))(url))
    const manager = new LockManager({ nodes: [adapter], defaultTTL: 10_000 })
    const lockOf = (key: string, ttl: number) =>
      createLock({ adapter, key, ttl, retryAttempts: 100_000, retryDelay: 10, performance: "lean" })
    const locks = new Map<string, Lock>()
    const take = async (key: string) => {
      const lock = locks.get(key) ?? lockOf(key, 10_000)
      locks.set(key, lock)
      const handle = await lock.acquire()
      return () => lock.release(handle)
    }
    return {
      cycle: cycles(take),
      multi: multis(async (keys) => {
        const handles = await manager.acquireBatch([...keys])
        return () => manager.releaseBatch(handles)
      }),
      contend: contentions(take),
      hold: async (keys, ttlMillis) => {
        let end = () => {}
        const ended = new Promise<void>((resolve) => end = resolve)
        let using: ReadonlyArray<Promise<void>> = []
        await new Promise<void>((resolve) => {
          let held = 0
          const body = () => {
            if (++held === keys.length) resolve()
            return ended
          }
          using = keys.map((key) => lockOf(key, ttlMillis).using(body))
        })
        return () => {
          end()
          return Promise.all(using)
        }
      }
    }
  }
}
