/** A server whose wall clock steps while locks are held, waited for and flights are under way. */
import { assert, describe } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as path from "node:path"
import { beforeAll, inject } from "vitest"
import type { Lock } from "../../src/index.js"
import type { Verdict } from "../soak/judge.js"
import type { Loss, Turn } from "../soak/record.js"
import { turnsOf } from "../soak/record.js"
import { buildSteppedClock, steppedClock } from "../support/steppedClock.js"
import { monotonicMicros } from "../support/workers.js"
import { judged } from "./judged.js"
import type { Service } from "./support.js"
import {
  atMost,
  clientOf,
  is,
  note,
  nothingUnhandled,
  now,
  redisWith,
  serve,
  slack,
  soakMillis,
  tagOf,
  test,
  timed,
  ttl,
  until,
  untilWaiting,
  workerOf
} from "./support.js"

/** Long enough for a busy machine, and less than the steps: a command is refused as too late after one. */
const commandTimeout = ttl

/** A holder or a leader whose lease has ended in Redis is told by its next renewal. */
const toldMillis = ttl / 3 + slack

let library = ""

/** What a step has ended, and its holder counted on for longer than until its next renewal. */
const believesTooLong = (losses: ReadonlyArray<Loss>) => ({ entered, left }: Turn): boolean =>
  losses.some(({ from }) => entered && left && entered.at < from && left.at > from + 1_000 * toldMillis)

/** A server with a clock that steps, and processes that contend on it for all there is. */
const setup = Effect.gen(function*() {
  yield* nothingUnhandled
  const clock = yield* steppedClock(library)
  const server = yield* redisWith({ env: clock.env })
  const admin = yield* clientOf(server.url)
  const options = { url: server.url, key: "all", ttl, commandTimeout, count: 3, jobMillis: 30 }
  const [worker, service] = [workerOf("all", options), serve(server.url, { commandTimeout })]
  const [workers, services] = yield* Effect.all([
    Effect.all([worker, worker], { concurrency: 2 }),
    Effect.all([service, service, service], { concurrency: 3 })
  ], { concurrency: 2 })
  const losses: Array<Loss> = []

  /** All that was granted before a step ahead may have ended by it. A step back ends nothing. */
  const setAhead = (millis: number, endsLeases = millis > clock.ahead()) =>
    Effect.promise(async () => {
      const fence = 1_000 * (Date.now() + millis)
      const from = monotonicMicros()
      clock.setAhead(millis)
      if (endsLeases) losses.push({ from, to: monotonicMicros(), fence })
      const [seconds] = await admin.time()
      assert.approximately(Number(seconds), (Date.now() + millis) / 1_000, 2, "the server has another clock")
    })

  /** Ends the contenders when each has had everything once more, and judges what they did. */
  const verdict = Effect.gen(function*() {
    const { found, processes } = yield* judged({
      workers,
      nameOf: (i) => `worker ${i}`,
      url: server.url,
      commandTimeout,
      losses
    })
    assert.deepStrictEqual(processes.flatMap((process) => turnsOf(process).filter(believesTooLong(losses))), [])
    return found
  })
  return { admin, server, services, setAhead, verdict }
})

type World = Effect.Success<typeof setup>

const notes = (scenario: string, { counts, longest }: Verdict) => {
  for (const [what, value] of Object.entries({ ...counts, ...longest })) note(`clock, ${scenario}: ${what}`, value)
  assert.isAbove(counts["acquisitions"]!, 100)
  assert.isAbove(counts["fanout answers"]!, 100)
}

/** Nobody waits for ever. */
const soon = <A, E, R>(what: string, effect: Effect.Effect<A, E, R>) =>
  Effect.timeoutOrElse(effect, { duration: 10 * ttl, orElse: () => Effect.fail(new Error(`waits too long ${what}`)) })

const ended = (exit: Exit.Exit<unknown, { readonly _tag: string }>): never => assert.fail(`ended with ${tagOf(exit)}`)

/** Stands in line, and then holds until it is let go or told that it has lost the lock. */
const standInLine = ({ dlock }: Pick<Service, "dlock">, key: string) =>
  Effect.gen(function*() {
    const inside = yield* Deferred.make<{ readonly lock: Lock.Lock; readonly at: number }>()
    const end = yield* Deferred.make<void>()
    let interruptedAt = NaN
    const interrupted = Effect.sync(() => {
      interruptedAt = now()
    })
    const fiber = yield* Effect.forkScoped(Effect.exit(dlock.withLock((lock) =>
      Effect.suspend(() => Deferred.succeed(inside, { lock, at: now() })).pipe(
        Effect.andThen(Deferred.await(end)),
        Effect.onInterrupt(() => interrupted)
      ), key)))
    return {
      entered: soon(`to hold ${key}`, Effect.raceFirst(Deferred.await(inside), Effect.map(Fiber.join(fiber), ended))),
      isInside: Deferred.isDone(inside),
      leave: Effect.andThen(
        Deferred.succeed(end, void 0),
        soon(`to leave ${key}`, Effect.map(Fiber.join(fiber), tagOf))
      ),
      /** When it was interrupted, and with what that ended. */
      lost: soon(
        `for the loss of ${key}`,
        Effect.map(Fiber.join(fiber), (exit) => ({ at: interruptedAt, told: tagOf(exit) }))
      )
    }
  })

interface Run {
  readonly by: number
  readonly from: number
  to: number
  hasValue: boolean
}

/** A flight that each of the services has one caller in, and whose job runs until it is told to end. */
const flightOf = ({ admin, services }: World, id: string) =>
  Effect.gen(function*() {
    const runs: Array<Run> = []
    const end = yield* Deferred.make<void>()
    const job = (by: number) =>
      Effect.acquireUseRelease(
        Effect.sync(() => {
          const run: Run = { by, from: now(), to: Infinity, hasValue: false }
          runs.push(run)
          return run
        }),
        () => Effect.as(Deferred.await(end), by),
        (run, exit) =>
          Effect.sync(() => {
            run.to = now()
            run.hasValue = Exit.isSuccess(exit)
          })
      )
    const callers = yield* Effect.forEach(services, ({ dlock }, by) =>
      Effect.tap(
        Effect.forkScoped(Effect.exit(dlock.fanout(id, job(by)))),
        // One after the other: the first leads.
        by === 0 ? until(() => runs.length) : Effect.void
      ))
    /** What they all have, when the job has ended. */
    const values = Effect.andThen(
      Deferred.succeed(end, void 0),
      soon(
        `for the outcome of ${id}`,
        Effect.forEach(callers, (caller) =>
          Effect.map(Fiber.join(caller), Exit.match({ onSuccess: (value) => value, onFailure: () => -1 })))
      )
    )
    const followers = () =>
      admin.zcard(`dlock:flight:{${id}}:followers`)
    const haveAllJoined = until(followers, 5_000, (count) => count === services.length - 1)
    yield* haveAllJoined
    return { runs, haveAllJoined, values }
  })

/** All that is held and waited for is over by this step: who held is told, and the next is in. */
const isOverBy = (
  scenario: string,
  step: Effect.Effect<void>,
  holder: Effect.Success<ReturnType<typeof standInLine>>,
  waiter: Effect.Success<ReturnType<typeof standInLine>>
) =>
  Effect.gen(function*() {
    const { lock } = yield* holder.entered
    const steppedAt = now()
    yield* step
    const [lost, next] = yield* Effect.all([holder.lost, waiter.entered], { concurrency: 2 })
    assert.strictEqual(lost.told, "LockLostError")
    atMost(`clock, ${scenario}: a holder is told`, lost.at - steppedAt, toldMillis)
    atMost(`clock, ${scenario}: the next is in`, next.at - steppedAt, toldMillis)
    assert.isAbove(next.lock.fencingToken, lock.fencingToken)
  })

/** Their flight is over by this step as well: its job is stopped, one other runs, and all have its value. */
const isFlownAgain = (
  scenario: string,
  steppedAt: number,
  { haveAllJoined, runs, values }: Effect.Success<ReturnType<typeof flightOf>>
) =>
  Effect.gen(function*() {
    yield* until(() => runs.length === 2 && runs[0]!.to < Infinity)
    yield* haveAllJoined
    atMost(`clock, ${scenario}: all are in the next flight`, now() - steppedAt, 2 * toldMillis)
    const [first, second] = runs
    atMost(`clock, ${scenario}: a job is stopped`, first!.to - steppedAt, toldMillis)
    atMost(`clock, ${scenario}: the next job runs`, second!.from - steppedAt, toldMillis)
    const [all, took] = yield* timed(values)
    assert.deepStrictEqual(all, all.map(() => second!.by))
    atMost(`clock, ${scenario}: all have the value`, took, slack)
    assert.lengthOf(runs, 2)
  })

/** Linux preloads the clock. */
describe.skipIf(process.platform !== "linux")("the server's clock", () => {
  beforeAll(() => {
    library = buildSteppedClock(path.dirname(inject("faultWorker")))
  })

  test(
    "goes ahead by more than a ttl: holders and leaders are told by their next renewal, and all goes on",
    () =>
      Effect.gen(function*() {
        const world = yield* setup
        const { server, services, setAhead, verdict } = world
        const idle = yield* serve(server.url, { commandTimeout })
        yield* Effect.scoped(idle.dlock.once("late"))
        let holder = yield* standInLine(services[0], "k")
        yield* holder.entered
        let waiter = yield* standInLine(services[1], "k")
        let ahead = 0
        // After the second one Redis has the ended leases still.
        for (const [round, step] of [2, 1.2, 2].entries()) {
          yield* untilWaiting(idle.dlock, "k", 1)
          const flight = yield* flightOf(world, `flight ${round}`)
          // At different times since the last renewal.
          yield* Effect.sleep(ttl / 3 + (round + 1) * ttl / 9)
          const steppedAt = now()
          yield* isOverBy("ahead", setAhead(ahead += step * ttl), holder, waiter)
          yield* isFlownAgain("ahead", steppedAt, flight)
          // By what it knows of the clock this is too late, and would be refused as a copy of a command.
          const [[, value], took] = yield* timed(Effect.all([
            Effect.scoped(idle.dlock.once("late")),
            idle.dlock.fanout(`late ${round}`, Effect.succeed("value"))
          ], { concurrency: 2 }))
          assert.strictEqual(value, "value")
          atMost("clock, ahead: a first command", took, slack)
          ;[holder, waiter] = [waiter, yield* standInLine(services[round % 2]!, "k")]
        }
        assert.strictEqual(yield* holder.leave, "success")
        yield* waiter.entered
        assert.strictEqual(yield* waiter.leave, "success")
        notes("ahead", yield* verdict)
      }),
    60_000
  )

  test(
    "goes back by 30 s, and is set right: nothing ends by the one, all of it by the other",
    () =>
      Effect.gen(function*() {
        const world = yield* setup
        const { server, services, setAhead, verdict } = world
        const [first, second] = services
        const victim = yield* workerOf("hold", { url: server.url, key: "dead" })
        yield* Effect.promise(() => victim.next(is("held")))
        const holder = yield* standInLine(first, "k")
        const { lock } = yield* holder.entered
        const waiter = yield* standInLine(second, "k")
        const flight = yield* flightOf(world, "flight")
        yield* untilWaiting(first.dlock, "k", 1)
        yield* setAhead(-30_000)
        yield* Effect.promise(() => victim.kill())
        const heir = yield* standInLine(first, "dead")
        // All that was there before is renewed several times.
        yield* Effect.sleep(1.5 * ttl)
        yield* lock.check
        atMost("clock, back: remaining", Duration.toMillis(yield* lock.remaining), ttl)
        assert.isFalse(yield* waiter.isInside)
        yield* untilWaiting(first.dlock, "k", 1)
        assert.lengthOf(flight.runs, 1)
        assert.deepStrictEqual(yield* flight.values, [0, 0, 0])
        assert.lengthOf(flight.runs, 1)
        assert.strictEqual(yield* holder.leave, "success")
        const [next, took] = yield* timed(waiter.entered)
        atMost("clock, back: the next is in", took, slack)
        assert.isAbove(next.lock.fencingToken, lock.fencingToken)
        // What begins only now, and is still there when the clock is set right.
        const last = yield* standInLine(first, "k")
        const other = yield* flightOf(world, "flight")
        yield* untilWaiting(first.dlock, "k", 1)
        yield* Effect.sleep(ttl / 2)
        assert.isFalse(yield* heir.isInside)
        const rightAt = now()
        yield* isOverBy("set right", setAhead(0), waiter, last)
        yield* isFlownAgain("set right", rightAt, other)
        const inherited = yield* heir.entered
        atMost("clock, set right: the heir of the dead is in", inherited.at - rightAt, toldMillis)
        assert.strictEqual(yield* heir.leave, "success")
        assert.strictEqual(yield* last.leave, "success")
        notes("back", yield* verdict)
      }),
    60_000
  )

  test(
    "steps a little, ahead and back, all the time: nobody loses anything, nobody meets, fences grow",
    () =>
      Effect.gen(function*() {
        const world = yield* setup
        const { services, setAhead, verdict } = world
        const holder = yield* standInLine(services[0], "k")
        const { lock } = yield* holder.entered
        const waiter = yield* standInLine(services[1], "k")
        const flight = yield* flightOf(world, "flight")
        const endsAt = performance.now() + soakMillis(2.5)
        while (performance.now() < endsAt) {
          // So little that no lease, which is renewed every third of its ttl, ends by it.
          yield* setAhead((Math.random() - 0.5) * ttl / 5, false)
          yield* Effect.sleep(20 + 60 * Math.random())
        }
        assert.deepStrictEqual(yield* flight.values, [0, 0, 0])
        assert.lengthOf(flight.runs, 1)
        assert.strictEqual(yield* holder.leave, "success")
        const [next, took] = yield* timed(waiter.entered)
        atMost("clock, small steps: the next is in", took, slack)
        assert.isAbove(next.lock.fencingToken, lock.fencingToken)
        assert.strictEqual(yield* waiter.leave, "success")
        const found = yield* verdict
        notes("small steps", found)
        for (const tag of ["LockLostError", "BackendError", "FanoutError"]) {
          assert.strictEqual(found.counts[`told ${tag}`], 0, tag)
        }
      }),
    60_000
  )
})
