/**
 * The acts. Each step waits for what the one before has brought about, never for a time to pass; only how long a lock is
 * held is a matter of taste.
 */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { Dlock } from "../../src/index.js"
import { lockKey, ttlMillis } from "./contender.js"
import type { Contender, FiberContender, ProcessContender } from "./contenders.js"
import { current, Ledger, waiting, within } from "./ledger.js"
import { Timeline } from "./timeline.js"

type Four<A> = readonly [A, A, A, A]

const holdMillis = 700
const untilTold = 60_000
const ttl = `${ttlMillis / 1000} s`

/** Asks Redis again and again. `prepare` runs before each look. */
const inspectUntil = (what: string, prepare: () => (lock: Dlock.Inspection<"lock">) => boolean) =>
  Effect.suspend(() => {
    const fits = prepare()
    return Effect.map(Dlock.inspect(lockKey), fits)
  }).pipe(
    Effect.repeat({ until: (fits) => fits, schedule: Schedule.spaced("5 millis") }),
    within(what)
  )

/** Lets it ask for the lock. Over when it has it, or Redis has it in the queue. */
const comes = (contender: Contender, holdMillis: number) =>
  Effect.gen(function*() {
    const { entries, until } = yield* Ledger
    const asks = () => entries.filter(({ type, who }) => type === "asks" && who === contender.who).length
    const before = asks()
    yield* contender.come(holdMillis)
    yield* until(`${contender.name} asks for the lock`, () => asks() > before || undefined)
    // Who waits by our books may still be on the way to Redis. When Redis counts as many, all of them are there.
    yield* inspectUntil(`${contender.name} has the lock or a place in the queue`, () => {
      const expected = waiting(entries).length
      return (lock) => lock.waiting === expected
    })
  })

/** Waits until it holds, and has written that often. */
const hasWritten = (contender: Contender, writes: number) =>
  Effect.flatMap(
    Ledger,
    ({ entries, until }) =>
      until(`${contender.name} holds the lock and has written ${writes} times`, () =>
        current(entries).find((hold) => hold.who === contender.who && hold.writes >= writes))
  )

/** Also for Redis: who is about to release has told so a moment before. */
const isFree = Effect.gen(function*() {
  const { entries, until } = yield* Ledger
  yield* until("all give the lock back", () => current(entries).length + waiting(entries).length === 0 || undefined)
  yield* inspectUntil("the lock is free", () => (lock) => lock.holders.length === 0)
})

const queueUp = (contenders: Four<Contender>) =>
  Effect.gen(function*() {
    for (const contender of contenders) yield* comes(contender, holdMillis)
    yield* isFree
  })

/** With Redis: the queue, a killed holder, a frozen holder. */
export const withProcesses = ([one, two, three, four]: Four<ProcessContender>) =>
  Effect.gen(function*() {
    const { narrate } = yield* Timeline
    yield* narrate("Four processes want the same lock. Redis queues them in order of arrival.")
    yield* queueUp([one, two, three, four])

    yield* narrate(
      "Worker 2 is killed while it holds. Nobody gives its lock back: its lease ends by itself, " +
        `at most ${ttl} later, and the next in the queue has it.`
    )
    yield* comes(two, untilTold)
    yield* comes(three, untilTold)
    yield* comes(four, holdMillis)
    yield* comes(one, holdMillis)
    yield* hasWritten(two, 8)
    yield* two.kill
    yield* hasWritten(three, 1)

    yield* narrate(
      "Worker 3 is frozen past its lease, as a process is by a long pause of its machine. " +
        "The next one has the lock by then. Worker 3 must learn of it before it writes again."
    )
    yield* hasWritten(three, 8)
    yield* three.freeze
    yield* hasWritten(four, 5)
    yield* three.wake
    const { entries, until } = yield* Ledger
    yield* until("worker 3 is told that its lease was lost", () => entries.find(isLossOf(three)))
    yield* comes(three, holdMillis) // it starts over, at the end of the queue
    yield* isFree
  })

const isLossOf = (contender: Contender) => (entry: { readonly type: string; readonly who: number }) =>
  entry.type === "lost" && entry.who === contender.who

/** Without Redis: the queue, an interrupted holder. */
export const withFibers = ([one, two, three, four]: Four<FiberContender>) =>
  Effect.gen(function*() {
    const { narrate } = yield* Timeline
    yield* narrate("Four fibers want the same lock. They are queued in order of arrival.")
    yield* queueUp([one, two, three, four])

    yield* narrate("Fiber 2 is interrupted while it holds. It gives the lock back before it ends.")
    yield* comes(two, untilTold)
    yield* comes(three, holdMillis)
    yield* comes(four, holdMillis)
    yield* comes(one, holdMillis)
    yield* hasWritten(two, 8)
    yield* two.interrupt
    yield* isFree
  })
