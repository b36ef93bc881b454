/** A holder that is cut off from Redis for longer than its lease, while everybody else is not. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { LockEvent } from "../support/history.js"
import { checkFencing, checkMutualExclusion, holdsOf } from "../support/history.js"
import { monotonicMicros } from "../support/workers.js"
import {
  atMost,
  is,
  nothingUnhandled,
  proxyTo,
  redis,
  serve,
  slack,
  test,
  ttl,
  untilWaiting,
  workerOf
} from "./support.js"

/** A worker of role `write`, with a proxy of its own. */
const writer = (server: { readonly port: number }, process: string) =>
  Effect.gen(function*() {
    const proxy = yield* proxyTo(server)
    return { process, proxy, worker: yield* workerOf("write", { url: proxy.url, key: "k" }) }
  })

type Writer = Effect.Success<ReturnType<typeof writer>>

/** What the workers said, as a history. Each hold has the fence that its own writes carry. */
const historyOf = (writers: ReadonlyArray<Writer>): ReadonlyArray<LockEvent> =>
  writers.flatMap(({ process, worker }) => {
    const said = worker.messages as ReadonlyArray<any>
    return said.flatMap(({ at, fence, type }, i): ReadonlyArray<LockEvent> => {
      if (type !== "enter" && type !== "write" && type !== "leave") return []
      const around = type === "leave" ? said.slice(0, i).reverse() : said.slice(i)
      return [{ type, key: "k", process, at, fence: fence ?? around.find(is("write"))?.fence ?? 0 }]
    })
  })

test("a holder cut off for longer than its ttl writes nothing after the next holder's first write", () =>
  Effect.gen(function*() {
    yield* nothingUnhandled
    const server = yield* redis
    const writers = yield* Effect.all([writer(server, "A"), writer(server, "B")], { concurrency: 2 })
    const direct = yield* serve(server.url)
    const next = (worker: Writer, type: string) =>
      Effect.promise(() => worker.worker.next(is(type), 3 * ttl) as Promise<{ readonly at: number }>)

    let [holder, waiter] = writers
    holder.worker.send("go")
    let entered = yield* next(holder, "enter")
    waiter.worker.send("go")
    yield* untilWaiting(direct.dlock, "k", 1)
    // Nothing gets through; nothing reaches Redis; Redis hears all, and is not heard.
    for (const [round, cut] of (["stall", "stallUp", "stallDown"] as const).entries()) {
      yield* next(holder, "write")
      // At different times since its last renewal.
      yield* Effect.sleep(ttl / 3 + round * ttl / 9)
      holder.proxy[cut]()
      const stalledAt = monotonicMicros()
      entered = yield* next(waiter, "enter")
      // One renewal may still have been carried out.
      const renewed = cut === "stallDown" ? ttl / 3 : 0
      atMost(`partition, ${cut}: the next holder is in`, (entered.at - stalledAt) / 1_000, renewed + ttl + 2 * slack)
      yield* next(waiter, "write")
      const left = yield* next(holder, "leave")
      atMost(
        "partition: time from one holder's end to the next one's start, negated",
        (left.at - entered.at) / 1_000,
        // The event is stamped by a process that a busy machine may not let run at that moment. The writes are judged.
        slack
      )
      // Longer than another ttl in all: what it sent meanwhile comes late.
      yield* Effect.sleep(ttl / 2)
      holder.proxy.heal({ deliver: true })
      ;[holder, waiter] = [waiter, holder]
      // What was delivered late harms nobody: the holder goes on for as long as it is not cut off itself.
      yield* Effect.sleep(ttl / 2)
      assert.isFalse(
        holder.worker.messages.some((message: any) => message.type === "leave" && message.at > entered.at)
      )
    }
    const history = historyOf(writers)
    assert.deepStrictEqual(checkMutualExclusion(history), [])
    assert.deepStrictEqual(checkFencing(history), [])
    assert.lengthOf(holdsOf(history), 4)
    assert.isAbove(history.filter(({ type }) => type === "write").length, 100)
  }))
