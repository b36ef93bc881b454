/**
 * A process of the scenarios "contended" and "semaphore": waiters that take one lock, or a permit each, in turns for as
 * long as they are told. Its argument is JSON, see `ContenderOptions`. It says `{ type: "ready" }`, is told "go", and says `{ type: "done", result }`.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import { once } from "node:events"
import { Dlock, PubSubLayer, RedisLayer } from "../src/index.js"
import * as Scripts from "../src/internal/redis/scripts.js"
import { monotonicMicros } from "../test/support/workers.js"

export interface ContenderOptions {
  readonly url: string
  readonly key: string
  readonly waiters: number
  readonly holdMillis: number
  readonly millis: number
  /** Those of a semaphore. A lock when absent. */
  readonly permits?: number | undefined
}

/** Three stamps of `monotonicMicros` for each time that the lock was held. */
export interface Turn {
  readonly waiter: number
  readonly fence: number
  readonly askedAt: number
  readonly enteredAt: number
  readonly leftAt: number
}

export interface ContenderResult {
  readonly turns: ReadonlyArray<Turn>
  /** Heartbeats that it sent, for its waiters and its leases. */
  readonly refreshes: number
}

const { holdMillis, key, millis, permits, url, waiters }: ContenderOptions = JSON.parse(process.argv[2]!)

const runtime = ManagedRuntime.make(
  Dlock.layer.pipe(Layer.provideMerge(PubSubLayer.layer), Layer.provideMerge(RedisLayer.layer({ url })))
)

let refreshes = 0
const countRefreshes = Effect.map(RedisLayer.Redis, ({ client }) => {
  const send = client.sendCommand.bind(client)
  client.sendCommand = (command, stream) => {
    if (command.args[0] === Scripts.refresh.sha) refreshes++
    return send(command, stream)
  }
})

const turns: Array<Turn> = []
const acquire = permits === undefined
  ? Dlock.lock(key)
  : Effect.flatMap(Dlock.semaphore(key, { permits }), (semaphore) => semaphore.take())
const hold = holdMillis === 0 ? Effect.void : Effect.sleep(holdMillis)
const takeTurn = (waiter: number) =>
  Effect.suspend(() => {
    const askedAt = monotonicMicros()
    return Effect.scoped(Effect.flatMap(acquire, ({ fencingToken: fence }) => {
      const enteredAt = monotonicMicros()
      return Effect.map(hold, () => turns.push({ waiter, fence, askedAt, enteredAt, leftAt: monotonicMicros() }))
    }))
  })

// The first use opens the connections, and tells the server's clock and the scripts.
await runtime.runPromise(Effect.zipRight(countRefreshes, Dlock.withLock(Effect.sleep(100), `${key}, ${process.pid}`)))
process.send!({ type: "ready" })
await once(process, "message")

const until = monotonicMicros() + millis * 1000
const takeTurns = (waiter: number) => Effect.repeat(takeTurn(waiter), { while: () => monotonicMicros() < until })
await runtime.runPromise(
  Effect.forEach(Array.from({ length: waiters }, (_, i) => i), takeTurns, { concurrency: "unbounded", discard: true })
)
const result: ContenderResult = { turns, refreshes }
process.send!({ type: "done", result })
await runtime.dispose()
process.disconnect()
