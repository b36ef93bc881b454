/**
 * What a worker does that contends for something until it is told to stop. It sends all that a judge needs, stamped by
 * the clock that all processes share. A stamp that claims a lease is taken before the lease is asked whether it is in
 * force: so a process that is stopped between the two claims nothing.
 */
import { Duration, Effect, Exit, Fiber } from "effect"
import { Dlock } from "../../src/index.js"
import { monotonicMicros } from "../support/workers.js"
import { tagOf } from "./services.js"

export interface ContenderOptions {
  readonly key: string
  /** How many contend in this process. */
  readonly count: number
  readonly permits: number
  readonly ttl: number
}

/** One turn of one contender, in four messages: its process may not live to send the next. */
export type TurnMessage =
  & { readonly turn: number; readonly at: number }
  & (
    | { readonly type: "asked" }
    | { readonly type: "entered"; readonly fence: number }
    /** Sent before the permit is given back: a process that is killed then has still said so. */
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
  Exit.isInterrupted(exit) ? "interrupted" : tagOf(exit)

const writeEveryMillis = 3

/** Mostly short; now and then so long that the lease has to be renewed. */
const holdMillis = (ttl: number): number => Math.random() < 0.02 ? 1.5 * ttl : 15 * Math.random()

/** Takes a permit, and writes while the lease lets it. */
export const takePermits = ({ count, key, permits, ttl }: ContenderOptions) =>
  Effect.flatMap(Dlock.semaphore(key, { permits }), (semaphore) => {
    let turns = 0
    const turn = Effect.suspend(() => {
      const turn = ++turns
      const writes: Array<number> = []
      let leaseEnd = 0
      let lastAt = 0
      send({ type: "asked", turn, at: monotonicMicros() })
      return Effect.scoped(Effect.flatMap(semaphore.take(), (lock) => {
        /** Says when it was, if the lease was in force then. */
        const mark = Effect.suspend(() => {
          const at = monotonicMicros()
          return Effect.zipRight(
            lock.check,
            Effect.map(lock.remaining, (remaining) => {
              leaseEnd = at + 1000 * Duration.toMillis(remaining)
              lastAt = at
              return at
            })
          )
        })
        const write = Effect.map(mark, (at) => void writes.push(at))
        const enter = Effect.map(mark, (at) => send({ type: "entered", turn, at, fence: lock.fencingToken }))
        const end = monotonicMicros() + 1000 * holdMillis(ttl)
        const work = Effect.repeat(Effect.zipRight(write, Effect.sleep(writeEveryMillis)), {
          while: () => monotonicMicros() < end
        })
        const leave = Effect.map(mark, (at) => send({ type: "leaving", turn, at }))
        return lock.guard(Effect.zipRight(enter, Effect.zipRight(work, leave)))
      })).pipe(
        Effect.exit,
        Effect.map((exit) => {
          const told = outcomeOf(exit)
          const toldAt = monotonicMicros()
          const at = told === "success" ? lastAt : Math.min(leaseEnd, toldAt)
          send({ type: "left", turn, at, told, toldAt, writes })
        })
      )
    })
    return contend(count, turn)
  })

/** That many of the items, in random order. */
const sample = <A>(items: ReadonlyArray<A>, count: number): ReadonlyArray<A> =>
  items.map((item) => [Math.random(), item] as const).sort(([a], [b]) => a - b).slice(0, count).map(([, item]) => item)

const interruptedShare = 0.3

/** Takes 2 to 4 of 6 keys, and is interrupted now and then, wherever that may be. */
export const takeKeys = ({ count, key }: ContenderOptions) =>
  Effect.flatMap(Dlock.Dlock, (dlock) => {
    const all = Array.from({ length: 6 }, (_, i) => `${key}:${i}`)
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
      const fiber = yield* Effect.fork(dlock.withMulti(work, keys))
      if (Math.random() < interruptedShare) {
        // Most of them soon, some after so long that they hold a few of their keys, or all.
        yield* Effect.sleep(200 * Math.random() ** 4)
        interruptedAt = monotonicMicros()
        yield* Fiber.interruptFork(fiber)
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
    })
    return contend(count, call)
  })
