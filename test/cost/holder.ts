/**
 * A process that holds many locks, and knows what that costs it. Its argument is JSON, see `HolderOptions`. It says
 * `{ type: "holding" }`, is told to "report", and says `{ type: "report" }` with a `HolderReport`.
 */
import * as TestEdition from "#test-edition"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Scope from "effect/Scope"
import { once } from "node:events"
import { monitorEventLoopDelay } from "node:perf_hooks"
import { setTimeout as sleep } from "node:timers/promises"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { Dlock } from "../../src/index.js"

export interface HolderOptions {
  readonly url: string
  readonly locks: number
  readonly ttlMillis: number
}

/** Differences to what there was before, when the service was warm and held nothing. */
export interface HolderReport {
  readonly heapBytesPerLock: number
  readonly fibers: number
  readonly timers: number
  /** Milliseconds by which the event loop was late, while the locks were held. */
  readonly delayP99: number
  readonly delayMax: number
}

const { locks, ttlMillis, url }: HolderOptions = JSON.parse(process.argv[2]!)

// The same as the flag --expose-gc, which a parent would have to know of.
setFlagsFromString("--expose-gc")
const collectGarbage: () => void = runInNewContext("gc")

const crowd = TestEdition.crowd()

/** After a moment, so that what has just ended is garbage already. */
const resources = async () => {
  await sleep(50)
  for (let i = 0; i < 3; i++) collectGarbage()
  return {
    heap: process.memoryUsage().heapUsed,
    fibers: crowd.size(),
    timers: process.getActiveResourcesInfo().filter((type) => type === "Timeout").length
  }
}

const runtime = ManagedRuntime.make(Layer.effect(
  Dlock.Dlock,
  crowd.watch(Effect.map(Layer.build(Dlock.layerRedis({ url, ttl: ttlMillis })), Context.get(Dlock.Dlock)))
))
const hold = (name: string, count: number, scope: Scope.Scope) =>
  Effect.forEach(Array.from({ length: count }, (_, i) => i), (i) => Dlock.lock(`${name}:${i}`), {
    concurrency: 256,
    discard: true
  }).pipe(Scope.provide(scope))
const makeScope = () => Effect.runSync(Scope.make("parallel"))

const warm = makeScope()
await runtime.runPromise(crowd.watch(hold("warm", 1_000, warm)))
await runtime.runPromise(Scope.close(warm, Exit.void))
const before = await resources()

const held = makeScope()
await runtime.runPromise(crowd.watch(hold("held", locks, held)))
process.send!({ type: "holding" })
const delay = monitorEventLoopDelay({ resolution: 1 })
await sleep(200)
delay.enable()
await once(process, "message")
delay.disable()
// Amid a renewal each command of it has a fiber. Ten thousand locks with one each would have them in every look.
const looks = [await resources()]
while (looks.length < 8) looks.push(await resources())
const after = {
  heap: looks[0]!.heap,
  fibers: Math.min(...looks.map(({ fibers }) => fibers)),
  timers: Math.min(...looks.map(({ timers }) => timers))
}
const report: HolderReport = {
  heapBytesPerLock: (after.heap - before.heap) / locks,
  fibers: after.fibers - before.fibers,
  timers: after.timers - before.timers,
  delayP99: delay.percentile(99) / 1e6,
  delayMax: delay.max / 1e6
}
process.send!({ type: "report", report })
process.exitCode = 0
await runtime.runPromise(Scope.close(held, Exit.void))
await runtime.dispose()
process.disconnect()
