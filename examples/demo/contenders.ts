/** The contenders as the story sees them: real processes, or fibers of this one when there is no Redis. */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import type { Dlock } from "../../src/index.js"
import type { Worker } from "../../test/support/workers.js"
import { monotonicMicros, spawnWorker } from "../../test/support/workers.js"
import type { Event } from "./contender.js"
import { contend } from "./contender.js"
import { DemoError, Ledger, within } from "./ledger.js"
import type { Message, Order } from "./protocol.js"

export interface Contender {
  readonly who: number
  readonly name: string
  /** Lets it ask for the lock, to hold it for that long. */
  readonly come: (holdMillis: number) => Effect.Effect<void, never, Dlock.Dlock>
}

export interface ProcessContender extends Contender {
  readonly pid: number
  readonly send: (order: Order) => void
  /** SIGKILL, while it waits for the answer to its next write. */
  readonly kill: Effect.Effect<void, DemoError>
  /** SIGSTOP, while it waits for the answer to its next write: when it wakes, the one after that is overdue. */
  readonly freeze: Effect.Effect<void, DemoError>
  /** SIGCONT. */
  readonly wake: Effect.Effect<void>
}

export interface FiberContender extends Contender {
  readonly interrupt: Effect.Effect<void>
}

/** All that the worker says, in order, until it is gone. */
const listen = (worker: Worker, name: string, onMessage: (message: Message) => Effect.Effect<void>) =>
  Effect.tryPromise({
    try: () => worker.next((_: unknown): _ is Message => true, 60_000),
    catch: (error) => new DemoError({ message: `${name} is gone, and nobody had killed it. ${String(error)}` })
  }).pipe(Effect.flatMap(onMessage), Effect.forever)

/** Lets something be done to a worker while it waits for the answer to a write: so with no other write under way. */
const makeGate = (name: string) => {
  let beforeAnswer: Effect.Effect<void> = Effect.void
  return {
    pass: Effect.suspend(() => beforeAnswer),
    atNextWrite: (action: Effect.Effect<void>, what: string) =>
      Effect.gen(function*() {
        const done = yield* Deferred.make<void>()
        beforeAnswer = Effect.suspend(() => {
          beforeAnswer = Effect.void
          return action
        }).pipe(Deferred.into(done))
        yield* Deferred.await(done)
      }).pipe(within(`${name} writes, and is ${what} then`))
  }
}

export interface ProcessOptions {
  readonly who: number
  readonly url: string
  readonly prefix: string
  /** Of a server that must not outlive the demo. */
  readonly serverPid?: number | undefined
}

export const startProcess = (
  { prefix, serverPid, url, who }: ProcessOptions
): Effect.Effect<ProcessContender, DemoError, Ledger | Scope.Scope> =>
  Effect.gen(function*() {
    const ledger = yield* Ledger
    const name = `worker ${who + 1}`
    const args = [name, url, prefix, ...serverPid === undefined ? [] : [String(serverPid)]]
    const worker = yield* Effect.acquireRelease(
      Effect.sync(() => spawnWorker(new URL("worker.ts", import.meta.url), { args })),
      (worker) => Effect.promise(() => worker.kill())
    )
    const ready = yield* Deferred.make<void>()
    const gate = makeGate(name)
    let killed = false

    const record = (type: "killed" | "died" | "frozen" | "wakes") =>
      Effect.sync(() => ledger.record({ type, at: monotonicMicros(), who }))

    const onMessage = (message: Message): Effect.Effect<void> => {
      switch (message.type) {
        case "ready":
          return Deferred.succeed(ready, undefined)
        case "event":
          return Effect.sync(() => ledger.record({ ...message.event, who }))
        case "write":
          return Effect.gen(function*() {
            ledger.record({ type: "writes", at: monotonicMicros(), fence: message.fence, who })
            yield* gate.pass
            if (!killed) worker.send({ type: "written", fence: message.fence })
          })
        case "failed":
          return Effect.sync(() => ledger.fail(`${name} failed: ${message.message}`))
      }
    }
    yield* listen(worker, name, onMessage).pipe(
      Effect.catchCause((cause) => Effect.sync(() => killed ? undefined : ledger.fail(Cause.pretty(cause)))),
      Effect.forkScoped
    )
    const inVain = ledger.until(`${name} is ready`, () => undefined, 30) // it fails when the worker does
    yield* Effect.raceFirst(Deferred.await(ready), inVain)

    const kill = Effect.gen(function*() {
      killed = true
      yield* record("killed")
      yield* Effect.promise(() => worker.kill())
      yield* record("died")
    })
    return {
      who,
      name,
      pid: worker.pid,
      send: (order) => worker.send(order),
      come: (holdMillis) => Effect.sync(() => worker.send({ type: "come", holdMillis })),
      kill: gate.atNextWrite(kill, "killed"),
      freeze: gate.atNextWrite(Effect.andThen(Effect.sync(() => worker.freeze()), record("frozen")), "frozen"),
      wake: Effect.andThen(record("wakes"), Effect.sync(() => worker.thaw()))
    }
  })

export const makeFiber = (who: number): Effect.Effect<FiberContender, never, Ledger | Scope.Scope> =>
  Effect.gen(function*() {
    const ledger = yield* Ledger
    const scope = yield* Effect.scope
    const name = `fiber ${who + 1}`
    const tell = (event: Event) => Effect.sync(() => ledger.record({ ...event, who }))
    let running: Fiber.Fiber<void> | undefined
    return {
      who,
      name,
      come: (holdMillis) =>
        contend(name, holdMillis, {
          tell,
          write: (fence) => Effect.suspend(() => tell({ type: "writes", at: monotonicMicros(), fence }))
        }).pipe(
          Effect.catch((error) => Effect.sync(() => ledger.fail(`${name} failed: ${error.message}`))),
          Effect.forkIn(scope),
          Effect.map((fiber) => {
            running = fiber
          })
        ),
      interrupt: Effect.suspend(() => running === undefined ? Effect.void : Fiber.interrupt(running))
    }
  })
