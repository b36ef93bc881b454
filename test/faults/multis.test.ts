/** Calls on several keys that overlap, from several processes, some of them interrupted wherever they are. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { LockEvent } from "../support/history.js"
import { checkMutualExclusion } from "../support/history.js"
import type { CallMessage } from "./contending.js"
import {
  atMost,
  is,
  note,
  nothingUnhandled,
  redis,
  slack,
  soakMillis,
  test,
  untilOnlyFences,
  workerOf
} from "./support.js"

const processes = ["a", "b", "c", "d"]

/** Nobody dies here, so no lease ends by itself. */
const ttl = 3_000
const options = { key: "k", count: 4, ttl, commandTimeout: ttl }

/** A circle of waiters would last for ever, as all of them renew what they hold. */
const longestWait = 5_000

type Call = CallMessage & { readonly id: string; readonly process: string }

const historyOf = ({ enteredAt, id, keys, leftAt, process }: Call): ReadonlyArray<LockEvent> =>
  enteredAt === undefined || leftAt === undefined ? [] : keys.flatMap((key): ReadonlyArray<LockEvent> => [
    { type: "enter", key, process, token: id, fence: 0, at: enteredAt },
    { type: "leave", key, process, token: id, fence: 0, at: leftAt }
  ])

const most = (values: ReadonlyArray<number>): number => values.reduce((a, b) => Math.max(a, b), 0) / 1_000

const millis = soakMillis(6)

test(
  "calls on 2 to 4 of 6 keys, from 4 processes, neither meet on a key nor wait for each other for ever",
  () =>
    Effect.gen(function*() {
      yield* nothingUnhandled
      const { url } = yield* redis
      const workers = yield* Effect.forEach(processes, () => workerOf("keys", { url, ...options }), { concurrency: 4 })
      // They began when they were ready.
      yield* Effect.sleep(millis)
      for (const worker of workers) worker.send("stop")
      for (const worker of workers) yield* Effect.promise(() => worker.next(is("closed"), 3 * longestWait))
      atMost("multis: only fence keys left after the last has closed", yield* untilOnlyFences(url), slack)

      const calls = workers.flatMap(({ messages }, i) =>
        (messages.filter(is("settled")) as ReadonlyArray<CallMessage>).map((call, turn): Call => ({
          ...call,
          process: processes[i]!,
          id: String(turn)
        }))
      )
      assert.deepStrictEqual(checkMutualExclusion(calls.flatMap(historyOf)), [])
      const done = calls.filter(({ told }) => told === "success")
      const interrupted = calls.filter(({ told }) => told === "interrupted")
      assert.deepStrictEqual(calls.filter(({ told }) => told !== "success" && told !== "interrupted"), [])
      assert.deepStrictEqual(interrupted.filter(({ interruptedAt }) => interruptedAt === undefined), [])
      atMost("multis: longest wait", most(done.map(({ askedAt, enteredAt }) => enteredAt! - askedAt)), longestWait)
      atMost(
        "multis: longest interruption",
        most(interrupted.map(({ at, interruptedAt }) => at - interruptedAt!)),
        1_000
      )
      note("multis: done", done.length)
      note("multis: interrupted while waiting", interrupted.filter(({ enteredAt }) => enteredAt === undefined).length)
      note("multis: interrupted inside", interrupted.filter(({ enteredAt }) => enteredAt !== undefined).length)
      assert.isAbove(done.length, millis / 50)
      assert.isAbove(interrupted.length, millis / 200)
    }),
  millis + 60_000
)
