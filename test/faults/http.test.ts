/** HttpFanout between real processes and a real upstream. */
import { assert, describe } from "@effect/vitest"
import { Effect } from "effect"
import * as http from "node:http"
import type { AddressInfo } from "node:net"
import { clientOf, is, redis, test, ttl, until, workerOf } from "./support.js"

interface Upstream {
  readonly url: string
  readonly asked: () => number
  /** Those that wait. */
  readonly answer: () => void
  readonly close: (closed: () => void) => void
}

/** Answers with the number of the request, when it is told to. */
const upstream = Effect.acquireRelease(
  Effect.async<Upstream>((done) => {
    const waiting: Array<() => void> = []
    let asked = 0
    const server = http.createServer((_, response) => {
      const body = `answer ${++asked}`
      waiting.push(() => void response.end(body))
    })
    server.listen(0, "127.0.0.1", () =>
      done(Effect.succeed({
        url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
        asked: () => asked,
        answer: () => waiting.splice(0).forEach((go) => go()),
        close: (closed) => {
          server.close(closed)
          server.closeAllConnections()
        }
      })))
  }),
  ({ close }) => Effect.async<void>((done) => close(() => done(Effect.void)))
)

/** How many processes wait for the request of another. */
const followersOf = (url: string) =>
  Effect.map(clientOf(url), (admin) => async () => {
    const [key] = await admin.keys("dlock:flight:*:followers")
    return key === undefined ? 0 : await admin.zcard(key)
  })

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
