/** What is left of a process once its layer has closed: nothing that keeps it from ending. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { freePort } from "../support/redisServer.js"
import type { Worker } from "../support/workers.js"
import { monotonicMicros } from "../support/workers.js"
import { atMost, is, onlyFences, proxyTo, redis, test, workerOf } from "./support.js"

/** Ends by itself, without an error, within a second of the end of its main effect. Says how that one ended. */
const ends = (what: string, worker: Worker) =>
  Effect.promise(async () => {
    const closed = await worker.next(is("closed"), 10_000)
    const exit = await worker.exited
    assert.deepStrictEqual(exit, { code: 0, signal: null }, worker.output())
    atMost(`${what}: process ended after its main effect`, (monotonicMicros() - closed.at) / 1_000, 1_000)
    assert.strictEqual(worker.output(), "")
    return closed.exit
  })

describe.concurrent("a process ends by itself once its layer has closed", () => {
  test("when all is well, and it leaves no key", () =>
    Effect.gen(function*() {
      const { url } = yield* redis
      assert.strictEqual(yield* ends("well", yield* workerOf("use", { url, key: "k" })), "success")
      assert.isTrue(yield* onlyFences(url))
    }))

  test("when its connections fall silent while it holds and waits", () =>
    Effect.gen(function*() {
      const server = yield* redis
      const proxy = yield* proxyTo(server)
      const worker = yield* workerOf("useUntilSilent", { url: proxy.url, key: "k" })
      yield* Effect.promise(() => worker.next(is("held")))
      proxy.stall()
      assert.strictEqual(yield* ends("silent", worker), "success")
    }))

  test("when its connections were silent from the start", () =>
    Effect.gen(function*() {
      const server = yield* redis
      const proxy = yield* proxyTo(server)
      proxy.stall()
      assert.strictEqual(
        yield* ends("silent from the start", yield* workerOf("use", { url: proxy.url, key: "k", cold: true })),
        "BackendError"
      )
    }))

  test("when there never was a Redis", () =>
    Effect.gen(function*() {
      const url = `redis://127.0.0.1:${yield* Effect.promise(freePort)}`
      assert.strictEqual(yield* ends("no Redis", yield* workerOf("use", { url, key: "k", cold: true })), "BackendError")
    }))
})
