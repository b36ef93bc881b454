/** Flights, while leaders are killed and subscribers lose their connections. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { Worker } from "../support/workers.js"
import { monotonicMicros } from "../support/workers.js"
import { atMost, clientOf, is, note, redis, slack, soakMillis, test, workerOf } from "./support.js"

const ttl = 600
const jobMillis = 50
const processes = 4
const options = { key: "k", count: 20, ttl, commandTimeout: 3 * ttl, jobMillis }

interface Process {
  readonly worker: Worker
  diedAt: number | undefined
}

interface Run {
  readonly name: string
  readonly begun: number
  /** When it ended, or its process died. */
  readonly ended: number
}

const runsOf = ({ diedAt = Infinity, worker }: Process): ReadonlyArray<Run> => {
  const ends = new Map(worker.messages.filter(is("ended")).map((said: any) => [said.name, said.at]))
  return worker.messages.filter(is("began")).map(({ at, name }: any) => ({
    name,
    begun: at,
    ended: ends.get(name) ?? diedAt
  }))
}

const millis = soakMillis(6)

test(
  "every caller gets what a run produced after it asked, in time, and no two runs meet",
  () =>
    Effect.gen(function*() {
      const { url } = yield* redis
      const admin = yield* clientOf(url)
      const start = Effect.map(
        workerOf("askOn", { url, ...options }),
        (worker): Process => ({ worker, diedAt: undefined })
      )
      const all = yield* Effect.forEach([1, 2, 3, 4], () => start, { concurrency: processes })
      const endsAt = performance.now() + millis
      let kills = 0
      let cuts = 0
      while (performance.now() < endsAt) {
        yield* Effect.sleep(1_000)
        // Whoever led last: it most likely leads again, or is in the middle of it.
        const living = all.filter(({ diedAt }) => diedAt === undefined)
        const latest = (process: Process) => Math.max(0, ...runsOf(process).map(({ begun }) => begun))
        const leader = living.reduce((a, b) => latest(a) >= latest(b) ? a : b)
        leader.diedAt = monotonicMicros()
        yield* Effect.promise(() => leader.worker.kill())
        kills++
        all.push(yield* start)
        cuts += Number(yield* Effect.promise(() => admin.client("KILL", "TYPE", "PUBSUB") as Promise<unknown>))
      }
      // Those who asked by then have time to get their answer.
      const asked = monotonicMicros()
      const bound = ttl + 1_000 + jobMillis
      yield* Effect.sleep(bound + slack)

      const runs = all.flatMap(runsOf).sort((a, b) => a.begun - b.begun)
      const byName = new Map(runs.map((run) => [run.name, run]))
      const meeting = runs.filter((run, i) => i > 0 && run.begun < runs[i - 1]!.ended)
      assert.deepStrictEqual(meeting, [])
      const answers: ReadonlyArray<any> = all.flatMap(({ worker }) => worker.messages.filter(is("answered")))
      const failed = answers.filter(({ told }) => told !== "success")
      assert.deepStrictEqual(failed.filter(({ told }) => told !== "BackendError" && told !== "FanoutError"), [])
      // A flight is open to other processes until Redis has carried out its finish, a moment after the job's end.
      const closed = (name: string) => byName.get(name)!.ended + 1_000 * slack
      const stale = answers.filter(({ askedAt, name, told }) => told === "success" && closed(name) < askedAt)
      assert.deepStrictEqual(stale, [])
      // Nobody of a process that lives waits still who asked in time.
      for (const { worker } of all.filter(({ diedAt }) => diedAt === undefined)) {
        const last = worker.messages.filter(is("answered")).filter(({ at }: any) => at >= asked)
        assert.isAtLeast(last.length, options.count)
      }
      atMost(
        "flights: longest wait",
        Math.max(...answers.map(({ askedAt, at }) => at - askedAt)) / 1_000,
        bound + slack
      )
      note("flights: runs", runs.length)
      note("flights: answers", answers.length)
      note("flights: leaders killed", kills)
      note("flights: subscribers cut", cuts)
      note("flights: typed errors", failed.length)
      assert.isAbove(answers.length, millis / 10)
    }),
  millis + 60_000
)
