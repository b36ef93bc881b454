/** dlock 12, of which this library is the successor. */
import type { Contender } from "../contender.js"
import { counted } from "../support/counting.js"
import { contentions, cycles, multis } from "../support/loops.js"
import type { PeerRedis, PeerRedisClass } from "../support/peers.js"
import { loadPeer } from "../support/peers.js"

interface Lock {
  readonly release: () => PromiseLike<unknown>
}

interface Semaphore {
  readonly take: (disposer: false) => PromiseLike<unknown>
  readonly leave: () => void
}

interface Queue {
  readonly once: (key: string) => PromiseLike<Lock>
  readonly multi: (keys: ReadonlyArray<string>) => PromiseLike<Lock>
  readonly semaphore: (key: string) => Semaphore
  readonly fanout: (id: string, timeoutMillis: number, job: () => Promise<string>) => PromiseLike<string>
}

interface Options {
  readonly client: PeerRedis
  readonly pubsub: PeerRedis
  readonly pubsubChannel: string
  readonly lock: { readonly timeout: number; readonly retries: number; readonly delay: number }
  readonly log: false
}

const take = async (locked: PromiseLike<Lock>) => {
  const lock = await locked
  return () => lock.release()
}

export const dlock12: Contender = {
  name: "dlock 12",
  options: "12.1.1, ioredis 4; defaults, but `delay: 10` between its two retries, so that it polls as often as others",
  open: async (url) => {
    const { default: DlockQueue } = await loadPeer<{ readonly default: new(options: Options) => Queue }>(
      "dlock",
      "dlock12"
    )
    const { default: Redis } = await loadPeer<{ readonly default: PeerRedisClass }>("ioredis", "dlock12")
    const client = new (counted(Redis))(url)
    const pubsub = client.duplicate()
    const queue = new DlockQueue({
      client,
      pubsub,
      pubsubChannel: "{dlock12}",
      lock: { timeout: 10_000, retries: 2, delay: 10 },
      log: false
    })
    const semaphores = new Map<string, Semaphore>()
    const semaphoreOf = (key: string) => {
      const semaphore = semaphores.get(key) ?? queue.semaphore(key)
      semaphores.set(key, semaphore)
      return semaphore
    }
    await client.ping()
    return {
      cycle: cycles((key) => take(queue.once(key))),
      multi: multis((keys) => take(queue.multi(keys))),
      contend: contentions(async (key) => {
        const semaphore = semaphoreOf(key)
        await semaphore.take(false)
        return () => semaphore.leave()
      }),
      fanout: ({ callers, ids, job, landed }) =>
        Promise.all(
          ids.flatMap((id) =>
            Array.from({ length: callers }, () => queue.fanout(id, 15_000, () => job(id)).then(landed))
          )
        )
    }
  }
}
