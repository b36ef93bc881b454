/**
 * One process of an application, as the fault tests start, freeze and kill them. `argv` says its role and how to reach
 * Redis; it reports by messages, stamped by the clock that all processes of a machine share.
 */
import * as TestEdition from "#test-edition"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import * as Latch from "effect/Latch"
import * as HttpFanout from "../../src/HttpFanout.js"
import { Dlock, PubSubLayer, RedisLayer } from "../../src/index.js"
import { monotonicMicros } from "../support/workers.js"
import { askOn, contendForAll, takeKeys, takePermits } from "./contending.js"
import { askForAll } from "./outcomes.js"
import { layerAt, tagOf, untilConnected } from "./services.js"

const [role = "", json = "{}"] = process.argv.slice(2)
const { cold = false, count = 1, key = "", ...options } = JSON.parse(json)

const send = (type: string, message: object = {}) =>
  Effect.sync(() => void process.send!({ type, at: monotonicMicros(), ...message }))

/** Holds a lock until it is killed. */
const hold = Effect.gen(function*() {
  const { fencingToken } = yield* Dlock.lock(key)
  yield* send("held", { fence: fencingToken })
  return yield* Effect.never
})

/** A singleton whose job never ends. Its `hold` is that of the options. */
const single = Dlock.singleton(key, Effect.andThen(send("runs"), Effect.never), { hold: options.hold })

/** Stands in the queue, `count` times. */
const queue = Effect.forEach(Array.from({ length: count }), () => Dlock.lock(key), { concurrency: "unbounded" })

/** When told to: writes to a resource for as long as `withLock` lets it, then stands in line again. */
const write = Effect.gen(function*() {
  const dlock = yield* Dlock.Dlock
  const body = Effect.gen(function*() {
    yield* send("enter")
    // The fence is for the judge only: the resource does not look at it.
    const fence = (yield* dlock.inspect(key)).holders[0]?.fencingToken
    return yield* Effect.forever(Effect.andThen(send("write", { fence }), Effect.sleep(2)))
  })
  yield* Effect.callback<void>((go) => void process.once("message", () => go(Effect.void)))
  return yield* Effect.forever(Effect.ignore(dlock.withLock(Effect.ensuring(body, send("leave")), key)))
})

/** Asks all the time whether it still holds. */
const check = Effect.gen(function*() {
  const lock = yield* Dlock.once(key)
  yield* send("held", { fence: lock.fencingToken })
  return yield* Effect.sync(() => {
    const from = monotonicMicros()
    const exit = Effect.runSyncExit(lock.check)
    if (process.channel) process.send!({ type: "checked", from, holds: Exit.isSuccess(exit) })
  }).pipe(Effect.andThen(Effect.sleep(1)), Effect.forever)
})

/** Uses a lock once. What is left of the process must end by itself. */
const use = Effect.scoped(Effect.andThen(Dlock.once(key), send("used")))

/** Uses a lock until Redis does not answer any more, with one waiter beside it. */
const useUntilSilent = Effect.gen(function*() {
  yield* Dlock.once(key)
  yield* Effect.forkChild(Dlock.lock(key))
  yield* send("held")
  yield* Dlock.inspect(key).pipe(Effect.andThen(Effect.sleep(10)), Effect.forever, Effect.ignore)
}).pipe(Effect.scoped)

/** Leads a flight until it is killed. */
const lead = Dlock.fanout(key, Effect.andThen(send("leads"), Effect.never))

const told = (what: string) =>
  Effect.callback<void>((go) => {
    const listen = (message: unknown) => {
      if (message !== what) return
      process.off("message", listen)
      go(Effect.void)
    }
    process.on("message", listen)
  })

/** Each time it is told to: asks `count` times at once. The job ends when it is told so. */
const askAll = Effect.gen(function*() {
  let round = 0
  return yield* Effect.gen(function*() {
    yield* told("ask")
    const value = `${process.pid}/${++round}`
    const end = yield* Effect.forkChild(told("end"))
    const job = Effect.andThen(send("ran"), Effect.as(Fiber.join(end), value))
    const allHaveAsked = yield* Latch.make()
    let asked = 0
    const ask = Effect.suspend(() => {
      if (++asked === count) Latch.openUnsafe(allHaveAsked)
      return Dlock.fanout(key, job)
    })
    const all = yield* Effect.forkChild(Effect.replicateEffect(ask, count, { concurrency: "unbounded" }))
    // The last has called by then: whoever waits here goes on after what that one does in one go.
    yield* allHaveAsked.await
    yield* send("asked")
    yield* send("got", { values: yield* Fiber.join(all) })
    yield* Fiber.join(end)
  }).pipe(Effect.forever)
})

/** When told to: asks an upstream `count` times at once, and says which different bodies came. */
const request = Effect.gen(function*() {
  const client = yield* Effect.flatMap(HttpClient.HttpClient, HttpFanout.client())
  const ask = Effect.flatMap(client.get(key), (response) => response.text)
  yield* told("ask")
  const bodies = yield* Effect.replicateEffect(ask, count, { concurrency: "unbounded" })
  yield* send("got", { count: bodies.length, bodies: [...new Set(bodies)] })
  return yield* Effect.never
}).pipe(Effect.provide(FetchHttpClient.layer))

/** When told to: one outcome of every kind. */
const outcomes = Effect.gen(function*() {
  yield* told("ask")
  yield* send("got", { all: yield* askForAll(key, (kind) => Effect.andThen(send("ran", { kind }), Effect.sleep(500))) })
  return yield* Effect.never
})

const roles: Record<string, Effect.Effect<unknown, unknown, Dlock.Dlock>> = {
  hold: Effect.scoped(hold),
  single,
  queue: Effect.scoped(queue),
  write,
  lead,
  ask: askAll,
  askOn: Effect.suspend(() => askOn({ key, count, ...options })),
  request: Effect.scoped(request),
  outcomes,
  check: Effect.scoped(check),
  use,
  useUntilSilent,
  permits: Effect.suspend(() => takePermits({ key, count, ...options })),
  all: Effect.suspend(() => contendForAll({ key, count, ...options })),
  keys: Effect.suspend(() => takeKeys({ key, count, ...options }))
}

const main = Effect.gen(function*() {
  const [commands, messages] = yield* Effect.all([RedisLayer.Redis, PubSubLayer.PubSub])
  if (!cold) yield* untilConnected(commands.client, messages.client)
  yield* send("ready")
  return yield* roles[role] ?? Effect.die(new Error(`No role ${role}`))
}).pipe(
  Effect.provide(layerAt(options.url, options)),
  Effect.exit,
  Effect.flatMap((exit) => send("closed", { exit: tagOf(exit as Exit.Exit<unknown, { readonly _tag: string }>) })),
  TestEdition.silent
)

void Effect.runPromise(main)
