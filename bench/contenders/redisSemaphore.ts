/** redis-semaphore 5.8. */
import type { Contender } from "../contender.js"
import { counted } from "../support/counting.js"
import { contentions, cycles } from "../support/loops.js"
import type { PeerRedis, PeerRedisClass } from "../support/peers.js"
import { loadPeer } from "../support/peers.js"

interface Lock {
  readonly acquire: () => Promise<void>
  readonly release: () => Promise<void>
}

interface Options {
  readonly lockTimeout?: number
  readonly acquireTimeout?: number
}

interface RedisSemaphore {
  readonly Mutex: new(client: PeerRedis, key: string, options?: Options) => Lock
  readonly Semaphore: new(client: PeerRedis, key: string, limit: number, options?: Options) => Lock
}

const take = async (lock: Lock) => {
  await lock.acquire()
  return () => lock.release()
}

export const redisSemaphore: Contender = {
  name: "redis-semaphore",
  options:
    "5.8.0, ioredis 5; a new `Mutex` or `Semaphore` each time, as its README does; defaults (polls every 10 ms), "
    + "but `acquireTimeout` of a minute, as 10 s would fail waiters",
  open: async (url) => {
    const { Redis } = await loadPeer<{ readonly Redis: PeerRedisClass }>("ioredis")
    const { Mutex, Semaphore } = await loadPeer<RedisSemaphore>("redis-semaphore")
    const client = new (counted(Redis))(url)
    const options = { acquireTimeout: 60_000 }
    const mutex = (key: string) => take(new Mutex(client, key, options))
    return {
      cycle: cycles(mutex),
      contend: contentions(mutex),
      semaphore: (work) => contentions((key) => take(new Semaphore(client, key, work.permits, options)))(work),
      hold: async (keys, ttlMillis) => {
        const releases = await Promise.all(
          keys.map((key) => take(new Mutex(client, key, { ...options, lockTimeout: ttlMillis })))
        )
        return () => Promise.all(releases.map((release) => release()))
      }
    }
  }
}
