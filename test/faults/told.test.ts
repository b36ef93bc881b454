/** What a person is told when Redis cannot be used: which call, where, why, what became of it, and no secret. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as net from "node:net"
import type { BackendError } from "../../src/DlockError.js"
import type { Dlock } from "../../src/index.js"
import type { RedisServer } from "../support/redisServer.js"
import { freePort } from "../support/redisServer.js"
import { clientOf, nothingUnhandled, redis, redisWith, serveLogged, test, until } from "./support.js"

const secret = "s3cret-pass"

/** What the first call of a service fails with, and all that the connections have logged by then. */
const firstFailure = (url: string, call = (dlock: Dlock.Service) => Effect.scoped(dlock.once("k"))) =>
  Effect.gen(function*() {
    yield* nothingUnhandled
    const { dlock, lines } = yield* serveLogged(url)
    const error = yield* Effect.flip(call(dlock))
    assert.strictEqual(error._tag, "BackendError")
    assert(error._tag === "BackendError")
    assert.strictEqual(error.outcome, "NotApplied")
    const said = [error.message, String(error.cause), ...lines.map(({ text }) => text)].join("\n")
    assert.notInclude(said, secret)
    assert.notInclude(said, "Lost the connection")
    assert.notMatch(said, /\.\./)
    return { error, said, log: lines.map(({ text }) => text).join("\n") }
  })

const told = (error: BackendError, reason: BackendError["reason"], ...words: ReadonlyArray<string | RegExp>) => {
  assert.strictEqual(error.reason, reason, error.message)
  assert.match(error.message, /^once failed: .*\. Nothing was changed\.$/s)
  for (const word of words) assert.match(error.message, new RegExp(word))
}

const addressOf = ({ port }: Pick<RedisServer, "port">) => `127.0.0.1:${port}`

describe.concurrent("of the first use of a Redis", () => {
  test("that is not there", () =>
    Effect.gen(function*() {
      const port = yield* Effect.promise(freePort)
      const { error, log } = yield* firstFailure(`redis://:${secret}@127.0.0.1:${port}`)
      told(error, "Unreachable", `cannot connect to Redis at ${addressOf({ port })}: connect ECONNREFUSED`)
      assert.include(log, `Cannot connect to Redis at ${addressOf({ port })}: connect ECONNREFUSED`)
    }))

  test("by TLS, at a port that does not speak it", () =>
    Effect.gen(function*() {
      const server = yield* redis
      const { error } = yield* firstFailure(`rediss://:${secret}@${addressOf(server)}`)
      told(error, "Unreachable", `cannot connect to Redis at ${addressOf(server)}`, /TLS \(rediss:/)
    }))

  test("without the password that it asks for, or with a wrong one", () =>
    Effect.gen(function*() {
      const server = yield* redisWith({ args: ["--requirepass", "right"] })
      const none = yield* firstFailure(`redis://${addressOf(server)}`)
      told(none.error, "Refused", addressOf(server), "NOAUTH", "redis://user:password@host")
      const wrong = yield* firstFailure(`redis://:${secret}@${addressOf(server)}`)
      told(wrong.error, "Refused", addressOf(server), "WRONGPASS", "the password is wrong")
      assert.include(wrong.log, "Cannot connect to Redis at")
    }))

  test("that has no room for another client", () =>
    Effect.gen(function*() {
      const server = yield* redisWith({ args: ["--maxclients", "1"] })
      const other = yield* Effect.acquireRelease(
        Effect.sync(() => net.connect(server.port, "127.0.0.1")),
        (socket) => Effect.sync(() => socket.destroy())
      )
      other.on("error", () => {})
      yield* Effect.promise(() => new Promise((resolve) => other.write("PING\r\n", () => other.once("data", resolve))))
      const { error } = yield* firstFailure(`redis://${addressOf(server)}`)
      assert.include(["Unreachable", "RefusedForNow"], error.reason)
      told(error, error.reason, addressOf(server), /maxclients|max number of clients/)
    }))

  test("that is frozen, or loading its data", () =>
    Effect.gen(function*() {
      const server = yield* redis
      server.freeze()
      const frozen = yield* firstFailure(server.url)
      told(frozen.error, "Unreachable", `${addressOf(server)} accepts connections and was not ready`)
      server.thaw()
      const slow = yield* redisWith({
        args: ["--key-load-delay", "2000", "--loading-process-events-interval-bytes", "1024"]
      })
      const admin = yield* clientOf(slow.url)
      yield* Effect.promise(() => admin.eval("for i = 1, 1500 do redis.call('SET', i, i) end", 0))
      const restarted = yield* Effect.forkChild(Effect.promise(() => slow.restart({ keepData: true })))
      yield* until(() =>
        new Promise<boolean>((resolve) => {
          const socket = net.connect(slow.port, "127.0.0.1", () => socket.write("GET k\r\n"))
          socket.on("error", () => resolve(false)).on("close", () => resolve(false))
          socket.on("data", (data) => {
            resolve(String(data).startsWith("-LOADING"))
            socket.destroy()
          })
        })
      )
      const loading = yield* firstFailure(slow.url)
      told(loading.error, "Unreachable", addressOf(slow), "is loading its data")
      yield* Fiber.join(restarted)
    }))

  test("is the call, whichever it was", () =>
    Effect.gen(function*() {
      const port = yield* Effect.promise(freePort)
      const calls: Record<string, (dlock: Dlock.Service) => Effect.Effect<unknown, any>> = {
        once: (dlock) => Effect.scoped(dlock.once("k")),
        lock: (dlock) => Effect.scoped(dlock.lock("k")),
        withLock: (dlock) => dlock.withLock(Effect.void, "k"),
        multi: (dlock) => Effect.scoped(dlock.multi(["k", "l"])),
        withMulti: (dlock) => dlock.withMulti(Effect.void, ["k", "l"]),
        "semaphore.take": (dlock) => Effect.scoped(Effect.flatMap(dlock.semaphore("k"), (one) => one.take())),
        "semaphore.withPermits": (dlock) =>
          Effect.flatMap(dlock.semaphore("k"), (one) => one.withPermits(1)(Effect.void)),
        "semaphore.available": (dlock) => Effect.flatMap(dlock.semaphore("k"), (one) => one.available),
        "readWriteLock.read": (dlock) => Effect.scoped(Effect.flatMap(dlock.readWriteLock("k"), (one) => one.read)),
        singleton: (dlock) => dlock.singleton("k", Effect.void, { wait: 50 }),
        fanout: (dlock) => dlock.fanout("k", Effect.void),
        push: (dlock) => Effect.scoped(dlock.push("k", () => Effect.void)),
        inspect: (dlock) => dlock.inspect("k"),
        askRelease: (dlock) => dlock.askRelease("k"),
        forceRelease: (dlock) => dlock.forceRelease("k")
      }
      const { dlock } = yield* serveLogged(`redis://127.0.0.1:${port}`)
      yield* Effect.forEach(Object.entries(calls), ([name, call]) =>
        Effect.map(Effect.flip(call(dlock)), (error) => {
          assert.deepInclude({ ...error }, { _tag: "BackendError", operation: name, outcome: "NotApplied" })
          assert.match(error.message, new RegExp(`^${name} failed: `))
        }), { concurrency: "unbounded" })
    }))
})

test("of a Redis that went away: the call, also on a handle, and of a body the call that failed in it", () =>
  Effect.gen(function*() {
    yield* nothingUnhandled
    const server = yield* redis
    const { dlock } = yield* serveLogged(server.url, { ttl: 60_000 })
    const [lock, write] = [yield* dlock.once("k"), yield* Effect.flatMap(dlock.readWriteLock("k"), (one) => one.write)]
    const body = Effect.andThen(Effect.promise(() => server.kill()), Effect.scoped(dlock.once("l")))
    const inBody = yield* Effect.flip(dlock.withLock(body, "m"))
    const failed = [inBody, ...yield* Effect.all([lock.extend(), lock.release, write.downgrade].map(Effect.flip))]
    assert.deepStrictEqual(
      failed.map((error) => error._tag === "BackendError" ? error.operation : error._tag),
      ["once", "extend", "release", "downgrade"]
    )
    assert.match(failed.map((error) => error.message).join("\n"), /cannot connect to Redis at 127.0.0.1/)
  }))
