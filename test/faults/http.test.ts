/** HttpFanout between real processes and a real upstream. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { is, redis, test, ttl, until, workerOf } from "./support.js"
import { followersOf, upstream } from "./upstream.js"

describe("HTTP requests of several processes", () => {
  test("reach the upstream once, however many ask in each", () =>
    Effect.gen(function*() {
      const { url } = yield* redis
      const { answer, asked, url: key } = yield* upstream
      const workers = yield* Effect.forEach([0, 1, 2, 3], () => workerOf("request", { url, key, count: 50 }), {
        concurrency: 4
      })
      for (const worker of workers) worker.send("ask")
      yield* until(asked, 5_000, (count) => count === 1)
      const redisKeys = yield* followersOf(url)
      yield* until(redisKeys, 5_000, (count) => count === 3)
      answer()
      const got = yield* Effect.promise(() => Promise.all(workers.map((worker) => worker.next(is("got")))))
      assert.deepStrictEqual(got.map(({ bodies, count }) => [count, bodies]), got.map(() => [50, ["answer 1"]]))
      assert.strictEqual(asked(), 1)
    }))

  test("are made again when the process that made them is killed", () =>
    Effect.gen(function*() {
      const { url } = yield* redis
      const { answer, asked, url: key } = yield* upstream
      const leader = yield* workerOf("request", { url, key, count: 5 })
      leader.send("ask")
      yield* until(asked, 5_000, (count) => count === 1)
      const follower = yield* workerOf("request", { url, key, count: 5 })
      follower.send("ask")
      const redisKeys = yield* followersOf(url)
      yield* until(redisKeys, 5_000, (count) => count === 1)
      yield* Effect.promise(() => leader.kill())
      yield* until(asked, 2 * ttl, (count) => count === 2)
      answer()
      const got = yield* Effect.promise(() => follower.next(is("got")))
      assert.deepStrictEqual(got.bodies, ["answer 2"])
    }))
})
