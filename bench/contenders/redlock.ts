/** redlock 5, as its maintained fork publishes it: @sesamecare-oss/redlock 1.4. */
import type { Contender } from "../contender.js"
import { counted } from "../support/counting.js"
import { contentions, cycles, multis } from "../support/loops.js"
import type { PeerRedis, PeerRedisClass } from "../support/peers.js"
import { loadPeer } from "../support/peers.js"

interface Redlock {
  readonly acquire: (
    keys: ReadonlyArray<string>,
    ttlMillis: number
  ) => Promise<{ readonly release: () => Promise<unknown> }>
  readonly using: (keys: ReadonlyArray<string>, ttlMillis: number, body: () => Promise<void>) => Promise<void>
  readonly on: (event: "error", listener: () => void) => void
}

interface Settings {
  readonly retryCount: number
  readonly retryDelay: number
  readonly retryJitter: number
}

interface RedlockModule {
  readonly Redlock: new(clients: ReadonlyArray<PeerRedis>, settings: Settings) => Redlock
}

export const redlock: Contender = {
  name: "redlock 5",
  options: "@sesamecare-oss/redlock 1.4.0, ioredis 5, one server; `retryCount: -1`, `retryDelay: 10`, `retryJitter: 5` "
    + "(the defaults of 200 ms wait longer), `using` to hold with renewal",
  open: async (url) => {
    const { Redis } = await loadPeer<{ readonly Redis: PeerRedisClass }>("ioredis")
    const { Redlock } = await loadPeer<RedlockModule>("@sesamecare-oss/redlock")
    const redlock = new Redlock([new (counted(Redis))(url)], { retryCount: -1, retryDelay: 10, retryJitter: 5 })
    // It emits one for every try that finds the lock taken.
    redlock.on("error", () => {})
    const take = async (keys: ReadonlyArray<string>) => {
      const lock = await redlock.acquire([...keys], 10_000)
      return () => lock.release()
    }
    return {
      cycle: cycles((key) => take([key])),
      multi: multis(take),
      contend: contentions((key) => take([key])),
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
          using = keys.map((key) => redlock.using([key], ttlMillis, body))
        })
        return () => {
          end()
          return Promise.all(using)
        }
      }
    }
  }
}
