/** Leaders and followers that come, go, are interrupted and die. */
import * as TestEdition from "#test-edition"
import { assert, describe } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import { Dlock } from "../../src/index.js"
import type { Process, World } from "../dlock/world.js"
import { newKey } from "../dlock/world.js"
import { makeJob, settle } from "./sharing.js"

export const leading = (world: World) => {
  const { test } = world
  const two = Effect.gen(function*() {
    const start = yield* world.makeServer
    return [yield* start, yield* start] as const
  })
  const ask = <A, E>(process: Process, id: string, effect: Effect.Effect<A, E>, options?: any) =>
    Effect.forkChild(process.dlock.fanout(id, effect, options))
  const until = (done: () => boolean): Effect.Effect<void> =>
    Effect.suspend(() => done() ? Effect.void : Effect.andThen(settle(world), until(done)))

  describe(`fanout survives leaders: ${world.name}`, () => {
    test("when the last caller in any process has left, the job is interrupted, and its id is free", () =>
      Effect.gen(function*() {
        const [a, b] = yield* two
        const id = yield* newKey
        const job = makeJob<number>()
        const callers = [yield* ask(a, id, job.effect), yield* ask(a, id, job.effect)]
        yield* job.started
        for (const caller of callers) yield* Fiber.interrupt(caller)
        yield* until(() => job.interrupted() === 1)
        assert.strictEqual(yield* b.dlock.fanout(id, Effect.succeed(2)), 2)
        assert.strictEqual(job.runs(), 1)
      }))

    test("a leader without callers goes on while another process follows", () =>
      Effect.gen(function*() {
        const [a, b] = yield* two
        const id = yield* newKey
        const job = makeJob<number>()
        const leader = yield* ask(a, id, job.effect)
        yield* job.started
        const follower = yield* ask(b, id, job.effect)
        yield* settle(world)
        yield* Fiber.interrupt(leader)
        yield* world.elapse(2)
        assert.strictEqual(job.interrupted(), 0)
        yield* Deferred.succeed(job.outcome, 1)
        assert.strictEqual(yield* Fiber.join(follower), 1)
        assert.strictEqual(job.runs(), 1)
      }))

    test("and stops within a third of its ttl when that one leaves too", () =>
      Effect.gen(function*() {
        const [a, b] = yield* two
        const id = yield* newKey
        const job = makeJob<number>()
        const leader = yield* ask(a, id, job.effect)
        yield* job.started
        const follower = yield* ask(b, id, job.effect)
        yield* settle(world)
        yield* Fiber.interrupt(leader)
        yield* settle(world)
        yield* Fiber.interrupt(follower)
        yield* world.elapse(0.5)
        yield* until(() => job.interrupted() === 1)
        assert.strictEqual(job.interrupted(), 1)
      }))

    test("callers that time out one after the other do not stop a job that others still want", () =>
      Effect.gen(function*() {
        const [a, b] = yield* two
        const id = yield* newKey
        const job = makeJob<number>()
        const impatient = yield* Effect.forkChild(
          a.dlock.fanout(id, job.effect).pipe(Effect.timeout(world.ttlMillis / 2), Effect.option)
        )
        yield* job.started
        const patient = yield* ask(b, id, job.effect)
        yield* settle(world)
        yield* world.elapse(1)
        assert.strictEqual((yield* Fiber.join(impatient))._tag, "None")
        yield* Deferred.succeed(job.outcome, 5)
        assert.strictEqual(yield* Fiber.join(patient), 5)
        assert.strictEqual(job.runs(), 1)
      }))

    test("a job that is being stopped has ended before the next one of its id starts anywhere (R31)", () =>
      Effect.gen(function*() {
        const [a, b] = yield* two
        const id = yield* newKey
        const cleaned = yield* Deferred.make<void>()
        const running = { now: 0, most: 0 }
        const started = yield* Deferred.make<void>()
        const count = (by: number) =>
          Effect.sync(() => {
            running.now += by
            running.most = Math.max(running.most, running.now)
          })
        const slow = Effect.acquireUseRelease(
          count(1),
          () => Effect.andThen(Deferred.succeed(started, undefined), Effect.never),
          () => Effect.andThen(Deferred.await(cleaned), count(-1))
        )
        const first = yield* ask(a, id, slow)
        yield* Deferred.await(started)
        yield* Fiber.interrupt(first)
        yield* settle(world)
        const quick = Effect.acquireUseRelease(count(1), () => Effect.succeed("quick"), () => count(-1))
        const here = yield* ask(a, id, quick)
        const elsewhere = yield* ask(b, id, quick)
        // It is renewed meanwhile: nobody may take over while its finalizers run.
        yield* world.elapse(2)
        assert.strictEqual((yield* TestEdition.poll(here))._tag, "None")
        assert.strictEqual((yield* TestEdition.poll(elsewhere))._tag, "None")
        yield* Deferred.succeed(cleaned, undefined)
        assert.strictEqual(yield* Fiber.join(here), "quick")
        assert.strictEqual(yield* Fiber.join(elsewhere), "quick")
        assert.strictEqual(running.most, 1)
      }))

    test("when the leader's process crashes, a follower runs its own job within the ttl, and the others follow it", () =>
      Effect.gen(function*() {
        const start = yield* world.makeServer
        const [a, b, c] = yield* Effect.all([start, start, start])
        const id = yield* newKey
        const lost = makeJob<string>()
        const next = makeJob<string>()
        yield* ask(a, id, lost.effect)
        yield* lost.started
        const followers = [yield* ask(b, id, next.effect), yield* ask(c, id, next.effect)]
        yield* settle(world)
        yield* a.crash
        yield* world.elapse(1.3)
        yield* next.started
        yield* settle(world)
        yield* Deferred.succeed(next.outcome, "after")
        assert.deepStrictEqual(yield* Effect.forEach(followers, Fiber.join), ["after", "after"])
        assert.strictEqual(next.runs(), 1)
      }))

    test("when the leader's service closes, a follower takes over at once, after the job has ended", () =>
      Effect.gen(function*() {
        const start = yield* world.makeServer
        const scope = yield* Scope.make()
        const a = yield* Scope.provide(start, scope)
        const b = yield* start
        const id = yield* newKey
        const first = makeJob<string>()
        const next = makeJob<string>()
        const leader = yield* ask(a, id, first.effect)
        yield* first.started
        const follower = yield* ask(b, id, next.effect)
        yield* settle(world)
        yield* Scope.close(scope, Exit.void)
        assert.strictEqual(first.interrupted(), 1)
        const error = yield* Effect.flip(Fiber.join(leader))
        assert.strictEqual(error._tag, "BackendError")
        // No time passes.
        yield* next.started
        yield* Deferred.succeed(next.outcome, "after")
        assert.strictEqual(yield* Fiber.join(follower), "after")
      }))

    test("a follower that leaves, and one whose service closes, leave alone", () =>
      Effect.gen(function*() {
        const start = yield* world.makeServer
        const [a, b] = yield* Effect.all([start, start])
        const scope = yield* Scope.make()
        const c = yield* Scope.provide(start, scope)
        const id = yield* newKey
        const job = makeJob<number>()
        const leader = yield* ask(a, id, job.effect)
        yield* job.started
        const leaving = yield* ask(b, id, job.effect)
        const closed = yield* ask(c, id, job.effect)
        yield* settle(world)
        yield* Fiber.interrupt(leaving)
        yield* Scope.close(scope, Exit.void)
        assert.strictEqual((yield* Effect.flip(Fiber.join(closed)))._tag, "BackendError")
        yield* Deferred.succeed(job.outcome, 1)
        assert.strictEqual(yield* Fiber.join(leader), 1)
        assert.strictEqual(job.runs(), 1)
      }))

    test("a job that never ends is waited for, and each caller's own timeout ends its wait", () =>
      Effect.gen(function*() {
        const [a, b] = yield* two
        const id = yield* newKey
        const job = makeJob<number>()
        const timedOut = (process: Process, ttls: number) =>
          Effect.forkChild(process.dlock.fanout(id, job.effect).pipe(Effect.timeoutOption(world.ttlMillis * ttls)))
        const first = yield* timedOut(a, 3)
        yield* job.started
        const second = yield* timedOut(b, 0.5)
        yield* settle(world)
        yield* world.elapse(1)
        assert.strictEqual((yield* Fiber.join(second))._tag, "None")
        assert.strictEqual((yield* TestEdition.poll(first))._tag, "None")
        yield* world.elapse(2.5)
        assert.strictEqual((yield* Fiber.join(first))._tag, "None")
        yield* until(() => job.interrupted() === 1)
        assert.strictEqual(job.runs(), 1)
      }))

    test("a caller that is being interrupted already may still ask, in a finalizer", () =>
      Effect.gen(function*() {
        const [a] = yield* two
        const id = yield* newKey
        const result = yield* Deferred.make<number>()
        const fiber = yield* Effect.forkChild(
          Effect.ensuring(
            Effect.never,
            Effect.flatMap(Effect.exit(a.dlock.fanout(id, Effect.succeed(1))), (exit) =>
              Deferred.done(result, exit as never))
          )
        )
        yield* settle(world)
        yield* Fiber.interrupt(fiber)
        assert.strictEqual(yield* Deferred.await(result), 1)
      }))

    test("a lease that is lost while the job runs interrupts it, and its callers follow whoever leads now", () =>
      Effect.gen(function*() {
        const [a, b] = yield* two
        const id = yield* newKey
        const lost = makeJob<string>()
        const next = makeJob<string>()
        const first = yield* ask(a, id, lost.effect)
        yield* lost.started
        const second = yield* ask(b, id, next.effect)
        yield* settle(world)
        yield* a.crash
        yield* world.elapse(1.3)
        yield* until(() => lost.interrupted() === 1)
        yield* next.started
        yield* Deferred.succeed(next.outcome, "after")
        assert.strictEqual(yield* Fiber.join(second), "after")
        // Its own process cannot reach the store any more, and says so.
        yield* world.elapse(world.name === "Redis" ? 5 : 0.1)
        assert.strictEqual((yield* Effect.flip(Fiber.join(first)))._tag, "BackendError")
      }))
  })

  describe(`push: ${world.name}`, () => {
    type Exits = Array<Exit.Exit<number, string | Dlock.BackendError | Dlock.FanoutError>>
    const into = (exits: Exits) => (exit: Exits[number]) => Effect.sync(() => void exits.push(exit))

    test("the first caller completes, all others are told Held, every callback runs once with the outcome", () =>
      Effect.gen(function*() {
        const [a, b] = yield* two
        const id = yield* newKey
        const exits: Exits = []
        const { complete } = yield* a.dlock.push(id, into(exits))
        for (const process of [a, b, b]) {
          const error = yield* Effect.flip(Effect.scoped(process.dlock.push(id, into(exits))))
          assert(error instanceof Dlock.LockAcquisitionError)
          assert.strictEqual(error.reason, "Held")
        }
        assert.deepStrictEqual(exits, [])
        yield* complete(Exit.succeed(1))
        yield* complete(Exit.succeed(2))
        yield* until(() => exits.length === 4)
        yield* settle(world)
        assert.deepStrictEqual(exits, Array.from({ length: 4 }, () => Exit.succeed(1)))
        // And the id is free.
        yield* Effect.scoped(b.dlock.push(id, () => Effect.void))
      }))

    test("30 rounds back to back: in each the first completes, and every callback has that round's outcome", () =>
      Effect.gen(function*() {
        const [a, b] = yield* two
        const id = yield* newKey
        for (let round = 0; round < 30; round++) {
          const exits: Exits = []
          const [leader, ...others] = round % 2 === 0 ? [a, b, b, a] : [b, a, b, a]
          const { complete } = yield* leader!.dlock.push(id, into(exits))
          for (const process of others) yield* Effect.flip(process.dlock.push(id, into(exits)))
          yield* complete(Exit.succeed(round))
          yield* until(() => exits.length === 4)
          assert.deepStrictEqual(exits, Array.from({ length: 4 }, () => Exit.succeed(round)))
        }
      }))

    test("one callback that was given twice runs twice, and one that fails disturbs nobody", () =>
      Effect.gen(function*() {
        const [a] = yield* two
        const id = yield* newKey
        const exits: Exits = []
        const { complete } = yield* a.dlock.push(id, into(exits))
        yield* Effect.flip(a.dlock.push(id, () => Effect.die("bad callback")))
        const twice = into(exits)
        yield* Effect.flip(a.dlock.push(id, twice))
        yield* Effect.flip(a.dlock.push(id, twice))
        yield* complete(Exit.fail("no"))
        yield* until(() => exits.length === 3)
        assert.deepStrictEqual(exits, Array.from({ length: 3 }, () => Exit.fail("no")))
      }))

    test("a first caller whose scope closes without complete fails everybody with FanoutError Abandoned", () =>
      Effect.gen(function*() {
        const [a, b] = yield* two
        const id = yield* newKey
        const exits: Exits = []
        const scope = yield* Scope.make()
        yield* Scope.provide(a.dlock.push(id, into(exits)), scope)
        yield* Effect.flip(Effect.scoped(b.dlock.push(id, into(exits))))
        yield* Scope.close(scope, Exit.void)
        yield* until(() => exits.length === 2)
        for (const exit of exits) {
          assert(Exit.isFailure(exit) && Cause.squash(exit.cause) instanceof Dlock.FanoutError)
          assert.strictEqual((Cause.squash(exit.cause) as Dlock.FanoutError).reason, "Abandoned")
        }
      }))

    test("a first caller that dies fails the others with FanoutError Abandoned within its ttl", () =>
      Effect.gen(function*() {
        const [a, b] = yield* two
        const id = yield* newKey
        const exits: Exits = []
        yield* a.dlock.push(id, () => Effect.void)
        yield* Effect.flip(b.dlock.push(id, into(exits)))
        yield* a.crash
        yield* world.elapse(1.3)
        yield* until(() => exits.length === 1)
        const [exit] = exits
        assert(exit && Exit.isFailure(exit))
        assert.strictEqual((Cause.squash(exit.cause) as Dlock.FanoutError).reason, "Abandoned")
      }))

    test("a caller of fanout gets what push completes, and the other way round", () =>
      Effect.gen(function*() {
        const [a, b] = yield* two
        const id = yield* newKey
        const exits: Exits = []
        const { complete } = yield* a.dlock.push(id, into(exits))
        const asking = yield* ask(b, id, Effect.succeed(2))
        yield* settle(world)
        yield* complete(Exit.succeed(1))
        assert.strictEqual(yield* Fiber.join(asking), 1)
        yield* until(() => exits.length === 1)

        const job = makeJob<number>()
        const running = yield* ask(a, id, job.effect)
        yield* job.started
        yield* Effect.flip(b.dlock.push(id, into(exits)))
        yield* Deferred.succeed(job.outcome, 3)
        assert.strictEqual(yield* Fiber.join(running), 3)
        yield* until(() => exits.length === 2)
        assert.deepStrictEqual(exits[1], Exit.succeed(3))
      }))
  })
}
