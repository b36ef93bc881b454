/**
 * `npm run demo`: four processes, one Redis. A thousand callers ask for one answer. Then there is one lock: one holder is
 * killed, one is frozen, and at the end the history is judged. Without a Redis much the same happens in one process, on the
 * store in memory.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as References from "effect/References"
import { randomUUID } from "node:crypto"
import pc from "picocolors"
import { Dlock } from "../../src/index.js"
import { findRedisServer, redis } from "../../test/support/redisServer.js"
import { monotonicMicros } from "../../test/support/workers.js"
import { askInMemory, askTogether } from "./asking.js"
import { printChart } from "./chart.js"
import { lockKey, ttlMillis } from "./contender.js"
import { makeFiber, startProcess } from "./contenders.js"
import { DemoError, layer as ledgerLayer, Ledger } from "./ledger.js"
import * as Story from "./story.js"
import { heading, print, width, wrap } from "./style.js"
import * as Timeline from "./timeline.js"
import { printVerdict } from "./verdict.js"

const fact = (name: string, text: string) =>
  Effect.sync(() => {
    wrap(text, width() - 14).forEach((line, i) => print(`  ${pc.dim((i === 0 ? name : "").padEnd(10))}${line}`))
  })

/** Plays the story, then shows what came of it. Succeeds with whether the lock kept its promises. */
const play = <E, R>(names: ReadonlyArray<string>, story: Effect.Effect<void, E, R | Timeline.Timeline>) =>
  Effect.gen(function*() {
    const { entries } = yield* Ledger
    const startedAt = monotonicMicros()
    const exit = yield* Effect.exit(Effect.provide(story, Timeline.layer(names, startedAt)))
    printChart(entries, names, startedAt)
    const isKept = printVerdict(entries, names)
    return yield* Effect.as(exit, isKept)
  })

const playWithRedis = (url: string, serverPid?: number) =>
  Effect.gen(function*() {
    const prefix = `dlock-demo-${randomUUID().slice(0, 8)}`
    const start = (who: number) => startProcess({ who, url, prefix, serverPid })
    const dlock = yield* Layer.build(Dlock.layerRedis({ url, prefix, commandTimeout: "3 seconds" }))
    yield* Dlock.inspect(lockKey).pipe(
      Effect.provide(dlock),
      Effect.mapError(({ message }) => new DemoError({ message: `There is no Redis to use here. ${message}` }))
    )
    const isShared = yield* Effect.scoped(askTogether(url, prefix))

    heading("One lock, four contenders")
    const four = yield* Effect.all([start(0), start(1), start(2), start(3)], { concurrency: "unbounded" })
    for (const { send } of four) send({ type: "peers", pids: four.map(({ pid }) => pid) })
    yield* fact("workers", `four processes, ${four.map(({ pid }) => pid).join(", ")}`)
    if (serverPid === undefined) yield* fact("keys", `begin with ${prefix}, and are gone after a day`)
    yield* fact("lease", `lasts ${ttlMillis / 1000} s (its ttl), renewed every ${ttlMillis / 3000} s`)
    const isKept = yield* Effect.provide(play(four.map(({ name }) => name), Story.withProcesses(four)), dlock)
    return isShared && isKept
  })

const playInMemory = Effect.gen(function*() {
  const four = yield* Effect.all([makeFiber(0), makeFiber(1), makeFiber(2), makeFiber(3)])
  yield* fact("left out", "a holder that is killed, and one that is frozen: that takes processes")
  const isShared = yield* askInMemory
  heading("One lock, four contenders")
  const isKept = yield* play(four.map(({ name }) => name), Story.withFibers(four))
  return isShared && isKept
}).pipe(Effect.provide(Dlock.layerMemory))

const startOwnServer = redis.pipe(
  Effect.catchDefect((defect) => new DemoError({ message: defect instanceof Error ? defect.message : String(defect) }))
)

const main = Effect.gen(function*() {
  const url = process.env["REDIS_URL"] ?? ""
  const binary = findRedisServer()
  print(`\n  ${pc.bold("effect-dlock")}\n`)
  if (process.platform === "win32") {
    yield* fact("Redis", "none: Windows cannot freeze a process, so this is one process, on Dlock.layerMemory")
    return yield* playInMemory
  }
  if (url !== "") {
    const { host } = yield* Effect.try({
      try: () => new URL(url),
      catch: () => new DemoError({ message: "REDIS_URL is no url. It should look like redis://localhost:6379" })
    })
    yield* fact("Redis", `${host} (REDIS_URL)`)
    return yield* playWithRedis(url)
  }
  if (binary !== undefined) {
    const server = yield* startOwnServer
    yield* fact("Redis", `${binary} on 127.0.0.1:${server.port}, stopped at the end`)
    return yield* playWithRedis(server.url, server.pid)
  }
  yield* fact(
    "Redis",
    "none found: REDIS_URL is not set, and there is no redis-server or valkey-server on the PATH or at REDIS_SERVER. " +
      "So this is one process, on Dlock.layerMemory."
  )
  return yield* playInMemory
})

const fiber = Effect.runFork(
  Effect.scoped(main).pipe(
    Effect.provide(ledgerLayer),
    Effect.provideService(References.MinimumLogLevel, "None") // the demo shows failures itself
  )
)

fiber.addObserver((exit) => {
  if (Exit.isSuccess(exit)) {
    process.exitCode = exit.value ? 0 : 1
  } else if (Cause.hasInterruptsOnly(exit.cause)) {
    print("\n  Stopped. All processes of the demo have ended.")
  } else {
    const why = Cause.prettyErrors(exit.cause).map(({ message }) => message).join(" ")
    print(pc.bold(pc.red(`\n  ✘ ${wrap(why, width() - 4).join("\n    ")}`)))
    process.exitCode = 1
  }
  // All is closed. But a connection that had been lost before keeps a timer of its driver for two seconds.
  process.stdout.write("", () => process.exit())
})

// Closes the scope, and with it the processes and the server. A second signal does not wait for that.
for (const [signal, code] of [["SIGINT", 130], ["SIGTERM", 143], ["SIGHUP", 129]] as const) {
  process.on(signal, () => {
    if (process.exitCode === code) process.exit()
    process.exitCode = code
    Effect.runFork(Fiber.interrupt(fiber))
  })
}

// `npm run demo | head`: nobody reads on.
process.stdout.on("error", () => process.exit(1))
