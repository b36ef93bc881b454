/**
 * What a worker does that contends for something until it is told to stop. It sends all that a judge needs, stamped by
 * the clock that all processes share. A stamp that claims a lease is taken before the lease is asked whether it is in
 * force: so a process that is stopped between the two claims nothing.
 */
import * as TestEdition from "#test-edition"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type { Lock } from "../../src/index.js"
import { Dlock } from "../../src/index.js"
import { monotonicMicros } from "../support/workers.js"
import { tagOf } from "./services.js"

export interface ContenderOptions {
  readonly key: string
  /** How many contend in this process. */
  readonly count: number
  readonly ttl: number
}

/** One turn of one contender, in some messages: its process may not live to send the next. `turn` is unique in it. */
export type TurnMessage =
  & { readonly turn: number; readonly at: number }
  & (
    | { readonly type: "asked"; readonly what: string }
    /** `until` is the end of the lease, as the process knows it. */
    | {
      readonly type: "entered"
      readonly fences: ReadonlyArray<readonly [key: string, fence: number]>
      readonly until: number
    }
    /** The lease lasts for longer than was said so far. */
    | { readonly type: "renewed"; readonly until: number }
    /** Sent before the lease is given back: a process that is killed then has still said so. */
    | { readonly type: "leaving" }
    /** `told` is how the turn ended. What was lost was left when its lease ended, or when that was told if it was sooner. */
    | {
      readonly type: "left"
      readonly told: string
      readonly toldAt: number
      readonly writes: ReadonlyArray<number>
    }
  )

/** One call on several keys, in one message. Not entered when it was interrupted before. */
export interface CallMessage {
  readonly type: "settled"
  readonly keys: ReadonlyArray<string>
  readonly askedAt: number
  readonly enteredAt: number | undefined
  readonly leftAt: number | undefined
  readonly at: number
  /** When it was told to end, if it was. */
  readonly interruptedAt: number | undefined
  readonly told: string
}

const send = (message: object) => void process.send!(message)

/** Runs the effect again and again, `count` times at once, until the parent says "stop"; not in the middle. */
const contend = <E, R>(count: number, effect: Effect.Effect<unknown, E, R>) =>
  Effect.suspend(() => {
    let stopped = false
    process.once("message", () => {
      stopped = true
    })
    const again = Effect.repeat(effect, { until: () => stopped })
    return Effect.forEach(Array.from({ length: count }), () => again, { concurrency: "unbounded", discard: true })
  })

const outcomeOf = <A, E extends { readonly _tag: string }>(exit: Exit.Exit<A, E>): string =>
  Exit.hasInterrupts(exit) ? "interrupted" : tagOf(exit)

const writeEveryMillis = 3

/** Mostly short; now and then so long that the lease has to be renewed. */
const holdMillis = (ttl: number): number => Math.random() < 0.02 ? 1.5 * ttl : 15 * Math.random()

/** After a failure: a Redis that refuses at once is not asked all the time. */
const restMillis = 20

let turns = 0

/** Takes a lease, and writes while it lets it. */
const turnOf = <L extends Lock.Lease, E extends { readonly _tag: string }, R>(
  what: string,
  ttl: number,
  take: Effect.Effect<L, E, R>,
  fencesOf: (lease: L) => ReadonlyArray<readonly [string, number]>
) =>
  Effect.suspend(() => {
    const turn = ++turns
    const writes: Array<number> = []
    let until = 0
    let untilTold = Infinity
    let lastAt = 0
    send({ type: "asked", what, turn, at: monotonicMicros() })
    return Effect.scoped(Effect.flatMap(take, (lease) => {
      /** Says when it was, if the lease was in force then. */
      const mark = Effect.suspend(() => {
        const at = monotonicMicros()
        return Effect.andThen(
          lease.check,
          Effect.map(lease.remaining, (remaining) => {
            until = at + 1000 * Duration.toMillis(remaining)
            lastAt = at
            if (until > untilTold + 50_000) send({ type: "renewed", turn, at, until: untilTold = until })
            return at
          })
        )
      })
      const write = Effect.map(mark, (at) => void writes.push(at))
      const enter = Effect.map(mark, (at) =>
        send({ type: "entered", turn, at, fences: fencesOf(lease), until: untilTold = until }))
      const end = monotonicMicros() + 1000 * holdMillis(ttl)
      const work = Effect.repeat(Effect.andThen(write, Effect.sleep(writeEveryMillis)), {
        while: () =>
          monotonicMicros() < end
      })
      const leave = Effect.map(mark, (at) => send({ type: "leaving", turn, at }))
      return lease.guard(Effect.andThen(enter, Effect.andThen(work, leave)))
    })).pipe(
      Effect.exit,
      Effect.flatMap((exit) => {
        const told = outcomeOf(exit)
        const toldAt = monotonicMicros()
        const at = told === "success" ? lastAt : Math.min(until, toldAt)
        send({ type: "left", turn, at, told, toldAt, writes })
        return told === "success" ? Effect.void : Effect.sleep(restMillis)
      })
    )
  })

/** Takes the lock. */
export const takeLock = ({ count, key, ttl }: ContenderOptions) =>
  contend(count, turnOf("lock", ttl, Dlock.lock(key), (lock) => [[key, lock.fencingToken]]))

/** Takes a permit. */
export const takePermits = ({ count, key, permits, ttl }: ContenderOptions & { readonly permits: number }) =>
  Effect.flatMap(
    Dlock.semaphore(key, { permits }),
    (semaphore) => contend(count, turnOf("permit", ttl, semaphore.take(), (lock) => [[key, lock.fencingToken]]))
  )

/** That many of the items, in random order. */
const sample = <A>(items: ReadonlyArray<A>, count: number): ReadonlyArray<A> =>
  items.map((item) => [Math.random(), item] as const).sort(([a], [b]) => a - b).slice(0, count).map(([, item]) => item)

const sixKeys = (key: string) => Array.from({ length: 6 }, (_, i) => `${key}:${i}`)

/** Takes 2 of 6 keys if both are free. */
export const tryKeys = ({ count, key, ttl }: ContenderOptions) =>
  contend(
    count,
    Effect.suspend(() =>
      turnOf("multi", ttl, Dlock.multi(sample(sixKeys(key), 2)), ({ fencingTokens }) => [...fencingTokens])
    )
  )

const interruptedShare = 0.3

/** Takes 2 to 4 of 6 keys, and is interrupted now and then, wherever that may be. */
export const takeKeys = ({ count, key }: ContenderOptions) =>
  Effect.flatMap(Dlock.Dlock, (dlock) => {
    const all = sixKeys(key)
    const call = Effect.gen(function*() {
      const keys = sample(all, 2 + Math.floor(3 * Math.random()))
      let enteredAt: number | undefined
      let leftAt: number | undefined
      let interruptedAt: number | undefined
      const work = Effect.suspend(() => {
        enteredAt = monotonicMicros()
        return Effect.sleep(6 * Math.random())
      }).pipe(Effect.ensuring(Effect.sync(() => {
        leftAt = monotonicMicros()
      })))
      const askedAt = monotonicMicros()
      const fiber = yield* Effect.forkChild(dlock.withMulti(work, keys))
      if (Math.random() < interruptedShare) {
        // Most of them soon, some after so long that they hold a few of their keys, or all.
        yield* Effect.sleep(200 * Math.random() ** 4)
        interruptedAt = monotonicMicros()
        yield* TestEdition.interruptFork(fiber)
      }
      const told = outcomeOf(yield* Fiber.await(fiber))
      const message: CallMessage = {
        type: "settled",
        keys,
        askedAt,
        enteredAt,
        leftAt,
        at: monotonicMicros(),
        interruptedAt,
        told
      }
      send(message)
      if (told !== "success" && told !== "interrupted") yield* Effect.sleep(restMillis)
    })
    return contend(count, call)
  })

/** Asks again and again for what a job gives. A job says when it began and when it ended, and gives its name. */
export const askOn = (
  { count, jobMillis, key }: Pick<ContenderOptions, "count" | "key"> & { readonly jobMillis: number }
) => {
  let jobs = 0
  const job = Effect.suspend(() => {
    const name = `${process.pid}/${++jobs}`
    return Effect.acquireUseRelease(
      Effect.sync(() => send({ type: "began", at: monotonicMicros(), name })),
      () => Effect.as(Effect.sleep(jobMillis), name),
      () => Effect.sync(() => send({ type: "ended", at: monotonicMicros(), name }))
    )
  })
  const ask = Effect.suspend(() => {
    const askedAt = monotonicMicros()
    return Effect.flatMap(Effect.exit(Dlock.fanout(key, job)), (exit) => {
      const told = tagOf(exit)
      const name = Exit.isSuccess(exit) ? exit.value : undefined
      send({ type: "answered", at: monotonicMicros(), askedAt, told, name })
      return told === "success" ? Effect.void : Effect.sleep(restMillis)
    })
  })
  return contend(count, ask)
}

/** All of it at once. */
export const contendForAll = ({ key, ttl, ...rest }: ContenderOptions & { readonly jobMillis: number }) =>
  Effect.all([
    takeLock({ key: `${key}:0`, count: 2, ttl }),
    takeLock({ key: `${key}:lock`, count: 3, ttl }),
    takePermits({ key, permits: 3, count: 3, ttl }),
    tryKeys({ key, count: 1, ttl }),
    takeKeys({ key, count: 2, ttl }),
    askOn({ key, count: rest.count, jobMillis: rest.jobMillis })
  ], { concurrency: "unbounded", discard: true })
