/**
 * What the fault tests share: servers, proxies, services and worker processes that live as long as a test's scope, and
 * ways to measure. Nothing here sleeps to let something happen: what must have happened is asked for.
 */
import * as TestEdition from "#test-edition"
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { Redis as Client } from "ioredis"
import { appendFileSync } from "node:fs"
import { inject } from "vitest"
import type { Dlock } from "../../src/index.js"
import type { Proxy } from "../support/proxy.js"
import { startProxy } from "../support/proxy.js"
import type { RedisServer } from "../support/redisServer.js"
import { allKeys, waitFor } from "../support/redisSpy.js"
import type { Worker } from "../support/workers.js"
import { spawnWorker } from "../support/workers.js"
import { commandTimeout, tagOf, ttl } from "./services.js"

export { redis, redisWith } from "../support/redisServer.js"
export * from "./services.js"

/** A test on servers of its own, by the real clock. Its services and its own fibers log nothing. */
export const test = (name: string, body: () => Effect.Effect<void, unknown, Scope.Scope>, timeout?: number) =>
  it.live(name, () => TestEdition.silent(body()), timeout)

/** What a machine with two busy cores may be late by. */
export const slack = 200

/** For how long a soak test runs: `SOAK_SECONDS` when set, else a few seconds. */
export const soakMillis = (seconds: number): number => 1_000 * Number(process.env["SOAK_SECONDS"] ?? seconds)

/** A proxy in front of a server, or of what may become one. */
export const proxyTo = ({ port }: Pick<RedisServer, "port">): Effect.Effect<Proxy, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(() => startProxy(port)),
    (proxy) => Effect.promise(() => proxy.close())
  )

/** A client that looks at a server past the library. It gives up at once when there is none. */
export const clientOf = (url: string): Effect.Effect<Client, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const client = new Client(url, { lazyConnect: true, retryStrategy: () => null })
      client.on("error", () => {})
      await client.connect()
      return client
    }),
    (client) => Effect.sync(() => client.disconnect())
  )

/** A worker process of worker.ts that has started. It is killed with the scope. */
export const workerOf = (
  role: string,
  options: { readonly url: string; readonly [option: string]: string | number | boolean },
  file = inject("faultWorker")
): Effect.Effect<Worker, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const worker = spawnWorker(file, {
        args: [role, JSON.stringify({ ttl, commandTimeout, ...options })]
      })
      await worker.next(is("ready"), 25_000)
      return worker
    }),
    (worker) => Effect.promise(() => worker.kill())
  )

/** Fits the messages of a worker that are of this type. */
export const is = (type: string) => (message: any): boolean => message.type === type

/** Until the answer is accepted, truthy unless told. */
export const until = <A>(question: () => A | PromiseLike<A>, millis = 5_000, accepts?: (answer: A) => boolean) =>
  Effect.promise(() => waitFor(question, millis, accepts))

/** Until that many wait for the key. */
export const untilWaiting = (dlock: Dlock.Service, key: string, waiting: number) =>
  until(() => Effect.runPromise(dlock.inspect(key)), 5_000, (found) => found.waiting === waiting)

const areFences = (keys: ReadonlyArray<string>): boolean => keys.every((key) => key.endsWith(":fence"))

/** Whether nothing is left on the server but fencing tokens. */
export const onlyFences = (url: string) => Effect.map(Effect.promise(() => allKeys(url)), areFences)

/** Until nothing is left on the server but fencing tokens. Says after how many milliseconds. */
export const untilOnlyFences = (url: string, millis = 5_000) =>
  Effect.map(timed(until(() => allKeys(url), millis, areFences)), ([, took]) => took)

/** For how many milliseconds this process was not let run so far, give or take a few. */
let starved = 0
let lastTick = performance.now()
let lastUsage = process.cpuUsage()

/** Since the last tick: what has passed and was not used by this process, on its own work, either. */
const starving = (): number => {
  const gap = performance.now() - lastTick
  if (gap < 10) return 0
  const { system, user } = process.cpuUsage(lastUsage)
  return Math.max(0, gap - 5 - (system + user) / 1_000)
}

setInterval(() => {
  starved += starving()
  lastTick = performance.now()
  lastUsage = process.cpuUsage()
}, 5).unref()

/**
 * Milliseconds of a clock that never steps, and stands still while the machine does not let this process run: in that
 * time no library can do what is asked of it.
 */
export const now = (): number => performance.now() - starved - starving()

/** The result, and how many milliseconds it took. */
export const timed = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<readonly [A, number], E, R> =>
  Effect.suspend(() => {
    const from = now()
    return Effect.map(effect, (value) => [value, now() - from] as const)
  })

/** Messages that were dropped, as an exporter of metrics sees them. */
export const unexpected = Effect.zipWith(
  TestEdition.counter("dlock_messages_late_total"),
  TestEdition.counter("dlock_messages_malformed_total"),
  (late, malformed) => ({ late, malformed })
)

/** A figure worth knowing. `FAULT_FIGURES=file` collects them all. */
export const note = (what: string, value: number, limit: number | "" = ""): void => {
  const file = process.env["FAULT_FIGURES"]
  if (file !== undefined) appendFileSync(file, `${what}\t${value.toFixed(1)}\t${limit}\n`)
}

/** One that must not be above the limit. */
export const atMost = (what: string, millis: number, limit: number): void => {
  note(what, millis, limit)
  assert.isAtMost(millis, limit, what)
}

/** Settles within the limit, however that may be. Says how. */
export const settles = <A, E extends { readonly _tag: string }, R>(
  what: string,
  limit: number,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<string, never, R> =>
  Effect.map(timed(Effect.exit(effect)), ([exit, millis]) => {
    const tag = tagOf(exit)
    atMost(`${what}: ${tag}`, millis, limit)
    return tag
  })

/** Fails the test when a promise of the scope's time was rejected with nobody to hear it. */
export const nothingUnhandled: Effect.Effect<void, never, Scope.Scope> = Effect.asVoid(
  Effect.acquireRelease(
    Effect.sync(() => {
      const reasons: Array<unknown> = []
      const listen = (reason: unknown) => void reasons.push(reason)
      process.on("unhandledRejection", listen).on("uncaughtException", listen)
      return { listen, reasons }
    }),
    ({ listen, reasons }) =>
      // An unhandled rejection is reported when the microtasks are done.
      Effect.andThen(
        Effect.promise(() => new Promise((resolve) => setImmediate(resolve))),
        Effect.sync(() => {
          process.off("unhandledRejection", listen).off("uncaughtException", listen)
          assert.deepStrictEqual(reasons, [])
        })
      )
  )
)
