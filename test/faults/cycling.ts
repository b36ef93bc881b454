/**
 * A process that does everything this library can do, over and over, on two services, and says what that has left in it.
 * Its argument is JSON: the `url` of Redis. Each message is a number of cycles to run. It answers "done", and
 * when it is at rest, or not after a while, "left" with a `Left`. It ends by itself after 0.
 */
import * as TestEdition from "#test-edition"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { once } from "node:events"
import { setTimeout as sleep } from "node:timers/promises"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import type { Dlock } from "../../src/index.js"
import type { Service } from "./services.js"
import { commandTimeout, serve, tagOf, ttl } from "./services.js"

/** What there is in the process when nothing is under way. */
export interface Left {
  /** Fibers; sockets, timers and the like, by kind; listeners on all clients. As JSON. */
  readonly alive: string
  /** Bytes after a garbage collection. */
  readonly heap: number
  /** How the cycles of this round ended. */
  readonly told: Record<string, number>
}

// The same as the flag --expose-gc, which a parent would have to know of.
setFlagsFromString("--expose-gc")
const collectGarbage: () => void = runInNewContext("gc")

const pause = Effect.suspend(() => Effect.sleep(Math.random() * 3))
const options = { wait: 100 }

type Cycle = (
  one: Dlock.Service,
  other: Dlock.Service,
  key: string
) => Effect.Effect<unknown, { readonly _tag: string }>

const lateJoiner = (dlock: Dlock.Service, key: string) =>
  Effect.ignore(Effect.timeout(dlock.fanout(key, Effect.as(pause, "other")), 20))

const cycles: ReadonlyArray<Cycle> = [
  (one, _, key) => Effect.scoped(Effect.andThen(one.once(key), pause)),
  (one, _, key) => Effect.scoped(Effect.andThen(one.lock(key, options), pause)),
  (one, _, key) => one.withLock(pause, key, options),
  (one, _, key) =>
    Effect.scoped(Effect.flatMap(one.lock(key, options), (lock) => lock.guard(Effect.andThen(lock.extend(), pause)))),
  (one, _, key) => Effect.scoped(Effect.andThen(one.multi([key, `${key}'`]), pause)),
  (one, _, key) => one.withMulti(pause, [`${key}'`, key], options),
  (one, _, key) =>
    Effect.flatMap(one.semaphore(key, { permits: 3, ...options }), (semaphore) => semaphore.withPermits(2)(pause)),
  (one, _, key) => Effect.flatMap(one.readWriteLock(key, options), (lock) => lock.withRead(pause)),
  (one, _, key) =>
    Effect.scoped(
      Effect.flatMap(one.readWriteLock(key, options), (lock) =>
        Effect.flatMap(lock.write, (held) => Effect.andThen(held.downgrade, pause)))
    ),
  (one, _, key) => one.singleton(key, pause, { hold: 10 }),
  (one, other, key) =>
    Effect.andThen(Effect.forkChild(lateJoiner(other, key)), one.fanout(key, Effect.as(pause, "value"))),
  (one, other, key) =>
    Effect.andThen(
      Effect.forkChild(lateJoiner(other, key)),
      one.fanout(key, Effect.andThen(pause, Effect.fail({ _tag: "Failed" })))
    ),
  // Longer than its caller waits, but not for ever: others may follow it.
  (one, _, key) => Effect.timeout(one.fanout(key, Effect.sleep(200)), Math.random() * 10),
  (one, _, key) =>
    Effect.scoped(
      Effect.flatMap(one.push<string, never, never>(key, () => Effect.void), ({ complete }) =>
        Effect.andThen(pause, complete(Exit.succeed("value"))))
    ),
  (one, _, key) => one.inspect(key),
  (one, _, key) => one.askRelease(key),
  (one, _, key) => one.forceRelease(key),
  // Refused before anything is sent: it would wait for itself.
  (one, _, key) => Effect.scoped(Effect.andThen(one.once(key), one.lock(key)))
]

const told = (exit: Exit.Exit<unknown, { readonly _tag: string }>): string =>
  Exit.hasInterrupts(exit)
    ? "interrupted"
    : Exit.isFailure(exit) && Cause.hasDies(exit.cause)
    ? `DEFECT ${exit.cause.toString()}`
    : tagOf(exit)

const cycle = (services: ReadonlyArray<Service>, i: number): Effect.Effect<string> =>
  Effect.gen(function*() {
    const [one, other] = i % 2 === 0 ? services : services.slice().reverse()
    const key = `k${Math.floor(Math.random() * 16)}`
    const fiber = yield* Effect.forkChild(cycles[i % cycles.length]!(one!.dlock, other!.dlock, key))
    if (Math.random() < 0.3) {
      yield* Effect.sleep(Math.random() * 5).pipe(Effect.andThen(TestEdition.interruptFork(fiber)))
    }
    return told(yield* Fiber.await(fiber))
  })

const crowd = TestEdition.crowd()

const countListeners = ({ commands, messages }: Service): number =>
  [commands, messages].reduce(
    (sum, client) => sum + client.eventNames().reduce((count, name) => count + client.listenerCount(name), 0),
    0
  )

const countEach = (names: ReadonlyArray<string>) =>
  names.reduce<Record<string, number>>((all, name) => ({ ...all, [name]: (all[name] ?? 0) + 1 }), {})

const alive = async (services: ReadonlyArray<Service>) => ({
  fibers: crowd.size(),
  resources: countEach(process.getActiveResourcesInfo()),
  listeners: services.reduce((sum, service) => sum + countListeners(service), 0)
})

/** Alarms sleep until the last call would have timed out, and what was interrupted gives back for a ttl at most. */
const restMillis = 2 * (ttl + commandTimeout)

/** What is alive when it is that much, or after a while. */
const untilAlive = async (services: ReadonlyArray<Service>, expected: string): Promise<string> => {
  const giveUpAt = performance.now() + 2 * restMillis
  for (;;) {
    const now = JSON.stringify(await alive(services))
    if (now === expected || performance.now() > giveUpAt) return now
    await sleep(20)
  }
}

const heap = async (): Promise<number> => {
  for (let i = 0; i < 4; i++) {
    collectGarbage()
    await sleep(20)
  }
  return process.memoryUsage().heapUsed
}

const { url }: { readonly url: string } = JSON.parse(process.argv[2]!)
const main = Effect.gen(function*() {
  const services = [yield* serve(url), yield* serve(url)]
  yield* Effect.forEach(services, ({ dlock }) => Effect.scoped(dlock.once("first use")))
  yield* Effect.sleep(restMillis)
  // Outside of the timer that has just rung, which counts as a resource.
  const atRest = JSON.stringify(yield* Effect.promise(() => sleep(1).then(() => alive(services))))
  process.send!({ type: "ready", atRest })
  for (;;) {
    const [count] = yield* Effect.promise(() => once(process, "message"))
    if (count === 0) return
    const indices = Array.from({ length: count }, (_, i) => i)
    const tolds = yield* Effect.forEach(indices, (i) => cycle(services, i), { concurrency: 120 })
    process.send!({ type: "done" })
    const left: Left = {
      alive: yield* Effect.promise(() => untilAlive(services, atRest)),
      heap: yield* Effect.promise(heap),
      told: countEach(tolds)
    }
    process.send!({ type: "left", left })
  }
})
await Effect.runPromise(crowd.watch(TestEdition.silent(Effect.scoped(main))))
process.disconnect()
