/** Flights of real processes: killed leaders and subscribers, an emptied Redis, one that is down, and forged messages. */
import * as TestEdition from "#test-edition"
import { assert, describe } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { Dlock } from "../../src/index.js"
import { freePort } from "../support/redisServer.js"
import {
  atMost,
  clientOf,
  is,
  nothingUnhandled,
  now,
  proxyTo,
  redis,
  serve,
  serveCold,
  slack,
  test,
  timed,
  ttl,
  unexpected,
  until,
  untilConnected,
  workerOf
} from "./support.js"

const flightKey = (id: string, part: string) => `dlock:flight:{${id}}:${part}`

/** A job that a test holds in its hands. */
const makeJob = <A>() => {
  const outcome = Effect.runSync(Deferred.make<A>())
  let runs = 0
  let interrupted = 0
  return {
    effect: Effect.suspend(() => {
      runs++
      return Deferred.await(outcome)
    }).pipe(Effect.onInterrupt(() => Effect.sync(() => interrupted++))),
    outcome,
    runs: () => runs,
    interrupted: () => interrupted
  }
}

describe.concurrent("flights", () => {
  test(
    "when the leader is killed, a follower's job starts within its ttl, and all get that one's value",
    () =>
      Effect.gen(function*() {
        const { url } = yield* redis
        const admin = yield* clientOf(url)
        const services = yield* Effect.all([serve(url), serve(url)])
        for (const round of [0, 1, 2]) {
          const id = `k${round}`
          const leader = yield* workerOf("lead", { url, key: id })
          yield* Effect.promise(() => leader.next(is("leads")))
          let startedAt = 0
          let runs = 0
          const job = Effect.sync(() => {
            startedAt = now()
            return `run ${++runs}`
          }).pipe(Effect.delay("100 millis"))
          const callers = yield* Effect.forEach(
            services,
            ({ dlock }) =>
              Effect.forkChild(Effect.all([dlock.fanout(id, job), dlock.fanout(id, job)], { concurrency: 2 }))
          )
          yield* until(() => admin.zcard(flightKey(id, "followers")), 2_000, (count) => count === 2)
          // At different times after its last renewal.
          yield* Effect.sleep(round * ttl / 9)
          const killedAt = now()
          yield* Effect.promise(() => leader.kill())
          const values = (yield* Effect.forEach(callers, Fiber.join)).flat()
          atMost("take-over after SIGKILL of the leader", startedAt - killedAt, ttl + 100 + slack)
          assert.deepStrictEqual(values, ["run 1", "run 1", "run 1", "run 1"])
        }
      }),
    30_000
  )

  test(
    "of 4 processes with 50 callers each, one runs the job each round, and all get that round's value",
    () =>
      Effect.gen(function*() {
        const { url } = yield* redis
        const admin = yield* clientOf(url)
        const workers = yield* Effect.forEach([0, 1, 2, 3], () => workerOf("ask", { url, key: "k", count: 50 }), {
          concurrency: 4
        })
        for (let round = 0; round < 5; round++) {
          for (const worker of workers) worker.send("ask")
          yield* Effect.promise(() => Promise.all(workers.map((worker) => worker.next(is("asked")))))
          yield* until(() => admin.zcard(flightKey("k", "followers")), 2_000, (count) => count === 3)
          yield* Effect.sleep(20)
          for (const worker of workers) worker.send("end")
          const got = yield* Effect.promise(() => Promise.all(workers.map((worker) => worker.next(is("got")))))
          assert.strictEqual(new Set(got.flatMap(({ values }) => values)).size, 1, JSON.stringify(got))
          const runs = workers.flatMap((worker) => worker.messages.filter(is("ran")))
          assert.strictEqual(runs.length, round + 1)
        }
      }),
    30_000
  )

  test("a follower whose subscriber is killed while the result is published has it when that is back", () =>
    Effect.gen(function*() {
      const server = yield* redis
      const admin = yield* clientOf(server.url)
      const proxy = yield* proxyTo(server)
      const leader = yield* serve(server.url, { ttl: 10_000 })
      const follower = yield* serve(server.url, { ttl: 10_000, messagesUrl: proxy.url })
      yield* until(() => admin.pubsub("CHANNELS", "*"), 2_000, (inboxes) => inboxes.length === 2)
      const job = makeJob<number>()
      const first = yield* Effect.forkChild(leader.dlock.fanout("k", job.effect))
      yield* until(() => job.runs() === 1)
      const second = yield* Effect.forkChild(follower.dlock.fanout("k", Effect.succeed(2)))
      yield* until(() => admin.zcard(flightKey("k", "followers")), 2_000, (count) => count === 1)
      proxy.stall()
      yield* Deferred.succeed(job.outcome, 1)
      assert.strictEqual(yield* Fiber.join(first), 1)
      follower.messages.stream.destroy()
      proxy.heal({ leaveDead: true })
      const [value, took] = yield* timed(Fiber.join(second))
      assert.strictEqual(value, 1)
      atMost("outcome after the subscriber was killed", took, 1_500 + slack)
    }))

  test("when Redis is emptied while the job runs, its callers and the followers get a value within a ttl", () =>
    Effect.gen(function*() {
      const { url } = yield* redis
      const admin = yield* clientOf(url)
      const leader = yield* serve(url, { ttl })
      const follower = yield* serve(url, { ttl })
      const job = makeJob<string>()
      const again = Effect.delay(Effect.succeed("again"), "50 millis")
      // Who is the first to notice leads next; the other one follows.
      const first = yield* Effect.forkChild(
        leader.dlock.fanout("k", Effect.suspend(() => job.runs() === 0 ? job.effect : again))
      )
      yield* until(() => job.runs() === 1)
      const second = yield* Effect.forkChild(follower.dlock.fanout("k", again))
      yield* until(() => admin.zcard(flightKey("k", "followers")), 2_000, (count) => count === 1)
      yield* Effect.promise(() => admin.flushall())
      const [values, took] = yield* timed(Effect.all([Fiber.join(first), Fiber.join(second)]))
      assert.deepStrictEqual(values, ["again", "again"])
      atMost("all callers after FLUSHALL", took, ttl / 3 + 150 + slack)
      assert.strictEqual(job.interrupted(), 1)
    }))

  test("when Redis is down, callers fail with BackendError; with onBackendError run, the job runs once for all of them", () =>
    Effect.gen(function*() {
      yield* nothingUnhandled
      const server = yield* redis
      const { dlock } = yield* serve(server.url)
      assert.strictEqual(yield* dlock.fanout("k", Effect.succeed(1)), 1)
      yield* Effect.promise(() => server.stop())
      const job = makeJob<number>()
      const options = { onBackendError: "run" } as const
      const running = yield* Effect.forEach([1, 2, 3], () => Effect.forkChild(dlock.fanout("k", job.effect, options)))
      const [error, took] = yield* timed(Effect.flip(dlock.fanout("other", Effect.succeed(1))))
      assert.strictEqual(error._tag, "BackendError")
      atMost("fanout without Redis", took, 2 * 400 + slack)
      yield* until(() => job.runs() === 1)
      yield* Deferred.succeed(job.outcome, 5)
      assert.deepStrictEqual(yield* Effect.forEach(running, Fiber.join), [5, 5, 5])
      assert.strictEqual(job.runs(), 1)
    }))

  test("with onBackendError run, a Redis that refuses connections delays no job, at the start, later, or at its end", () =>
    Effect.gen(function*() {
      const options = { onBackendError: "run" } as const
      const work = Effect.as(Effect.sleep("20 millis"), "done")
      const atOnce = (dlock: Dlock.Service, what: string) =>
        Effect.gen(function*() {
          for (let i = 0; i < 10; i++) {
            const [value, took] = yield* timed(dlock.fanout("k", work, options))
            assert.strictEqual(value, "done")
            atMost(what, took, 20 + slack)
          }
        })
      const port = yield* Effect.promise(freePort)
      const cold = yield* serveCold(`redis://127.0.0.1:${port}`, { commandTimeout: "5 seconds" })
      yield* atOnce(cold.dlock, "run alone, down at the start")
      const server = yield* redis
      const proxy = yield* proxyTo(server)
      const { dlock } = yield* serve(proxy.url, { commandTimeout: "5 seconds" })
      assert.strictEqual(yield* dlock.fanout("k", work, options), "done")
      const job = makeJob<string>()
      const led = yield* Effect.forkChild(dlock.fanout("led", job.effect, options))
      yield* until(() => job.runs() === 1)
      proxy.refuse()
      proxy.killAll()
      yield* atOnce(dlock, "run alone, down later")
      // Of a job that ended meanwhile Redis cannot be told.
      const [value, took] = yield* timed(Effect.andThen(Deferred.succeed(job.outcome, "led"), Fiber.join(led)))
      assert.strictEqual(value, "led")
      atMost("the outcome of a leader that lost its connection", took, slack)
    }))

  test("R31: with onBackendError run, no second job of an id runs beside the one that runs alone when Redis is back", () =>
    Effect.gen(function*() {
      const server = yield* redis
      const admin = yield* clientOf(server.url)
      const proxy = yield* proxyTo(server)
      const { commands, dlock, messages } = yield* serve(proxy.url)
      yield* dlock.fanout("k", Effect.void)
      proxy.refuse()
      proxy.killAll()
      const job = makeJob<string>()
      const first = yield* Effect.forkChild(dlock.fanout("k", job.effect, { onBackendError: "run" }))
      yield* until(() => job.runs() === 1)
      proxy.accept()
      yield* untilConnected(commands, messages)
      const later = yield* Effect.forEach(
        [{ onBackendError: "run" } as const, {}],
        (options) => Effect.forkChild(dlock.fanout("k", job.effect, options))
      )
      yield* dlock.fanout("other", Effect.void)
      assert.strictEqual(job.runs(), 1)
      yield* Deferred.succeed(job.outcome, "alone")
      assert.deepStrictEqual(yield* Effect.forEach([first, ...later], Fiber.join), ["alone", "alone", "alone"])
      assert.strictEqual(job.runs(), 1)
      // And the next one is led for all processes.
      const next = makeJob<string>()
      const caller = yield* Effect.forkChild(dlock.fanout("k", next.effect, { onBackendError: "run" }))
      yield* until(() => admin.hget(flightKey("k", "state"), "#leader"), 2_000, (leader) => leader !== null)
      yield* Deferred.succeed(next.outcome, "led")
      assert.strictEqual(yield* Fiber.join(caller), "led")
    }))

  test("a flight leaves nothing: no key after its retention, no fiber after its end", () =>
    Effect.gen(function*() {
      const { url } = yield* redis
      const admin = yield* clientOf(url)
      const { dlock } = yield* serve(url, { ttl })
      yield* dlock.fanout("k", Effect.succeed(1))
      yield* Effect.exit(dlock.fanout("k", Effect.die("x")))
      yield* until(() => admin.dbsize(), 3_000, (size) => size === 0)
    }))
})

test("messages about flights that the library cannot have sent are counted and change nothing", () =>
  Effect.gen(function*() {
    yield* nothingUnhandled
    const { url } = yield* redis
    const admin = yield* clientOf(url)
    const leader = yield* serve(url)
    const job = makeJob<string>()
    const first = yield* Effect.forkChild(leader.dlock.fanout("k", job.effect))
    yield* until(() => job.runs() === 1)
    const [leaderInbox = ""] = (yield* Effect.promise(() => admin.pubsub("CHANNELS", "*"))) as Array<string>
    const follower = yield* serve(url)
    const second = yield* Effect.forkChild(follower.dlock.fanout("k", Effect.succeed("own")))
    yield* until(() => admin.zcard(flightKey("k", "followers")), 2_000, (count) => count === 1)
    const inboxes = (yield* Effect.promise(() => admin.pubsub("CHANNELS", "*"))) as Array<string>
    const inbox = inboxes.find((name) => name !== leaderInbox) ?? ""
    const leading = (yield* Effect.promise(() => admin.hget(flightKey("k", "state"), "#leader"))) ?? ""
    const event = (...parts: ReadonlyArray<unknown>) => JSON.stringify({ v: 1, events: [parts] })
    const stale = "5e0c3c1e-0000-4000-8000-000000000000"
    const forged = [
      event("outcome", stale, "1", "[\"success\",\"forged\"]"),
      event("outcome", "__proto__", "1", "[\"success\",\"forged\"]"),
      event("outcome", "k", "1", "[\"success\",\"forged\"]"),
      event("outcome", leading, "1", "[\"success\",\"forged\"]"),
      `{"v":1,"ended":["1","${stale}"]}\n["success","forged"]`,
      `{"v":1,"ended":["1","${leading}"]}\n["success","forged"]`,
      event("stored", stale, "1"),
      event("moved", "constructor"),
      event("refused", stale)
    ]
    const malformed = [
      event("outcome", stale, "1"),
      event("outcome", stale, "NaN", "[]"),
      event("outcome", stale, "1", { success: 1 }),
      event("outcome", stale, 1, "[]"),
      `{"v":1,"ended":["1","${stale}"]}\n["success","forged"]\n`,
      `{"v":2,"ended":["1","${stale}"]}\n["success","forged"]`,
      event("moved"),
      event("moved", stale, "1"),
      event("refused", null),
      `{"__proto__":{"v":1,"events":[["moved","${stale}"]]}}`,
      event("outcome", stale, "1", "x".repeat(200_000))
    ]
    // Of the leader's own token: all that it can know is that it follows nobody any more.
    const late = [event("moved", leading), `{"v":1,"ended":["${leading}","1"]}\n["success","forged"]`]
    const before = yield* unexpected
    for (const message of [...forged, ...late, ...malformed]) {
      assert.strictEqual(yield* Effect.promise(() => admin.publish(inbox, message)), 1)
    }
    // The leader hears the same, of its own token too.
    for (const message of [...forged, ...late]) yield* Effect.promise(() => admin.publish(leaderInbox, message))
    const counted = {
      late: before.late + late.length,
      malformed: before.malformed + 2 * forged.length + late.length + malformed.length
    }
    const isCounted = (count: typeof counted) => count.late === counted.late && count.malformed === counted.malformed
    yield* until(() => Effect.runPromise(unexpected), 2_000, isCounted)
    assert.strictEqual((yield* TestEdition.poll(first))._tag, "None")
    assert.strictEqual((yield* TestEdition.poll(second))._tag, "None")
    yield* Deferred.succeed(job.outcome, "honest")
    assert.strictEqual(yield* Fiber.join(first), "honest")
    assert.strictEqual(yield* Fiber.join(second), "honest")
    assert.strictEqual(job.runs(), 1)
  }))
