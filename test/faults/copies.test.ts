/** Commands that reach Redis twice, or after what was sent later: one lock each time, and no ghost. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import { Redis as Client } from "ioredis"
import * as Acquire from "../../src/internal/redis/acquire.js"
import * as Scripts from "../../src/internal/redis/scripts.js"
import {
  atMost,
  clientOf,
  commandTimeout,
  nothingUnhandled,
  onlyFences,
  proxyTo,
  redis,
  serve,
  serveClients,
  settles,
  slack,
  tagOf,
  test,
  timed,
  until
} from "./support.js"

/** Longer than any test: what is left behind does not go away by itself. */
const ttl = 30_000

/** A process behind a proxy, and one that reaches the server directly. The server knows all scripts. */
const setup = Effect.gen(function*() {
  yield* nothingUnhandled
  const server = yield* redis
  const proxy = yield* proxyTo(server)
  const direct = yield* serve(server.url, { ttl })
  yield* direct.dlock.withLock(Effect.void, "warm")
  return { server, proxy, direct: direct.dlock, admin: yield* clientOf(server.url) }
})

const subscribed = (client: Client) => until(async () => (await client.pubsub("CHANNELS", "*")).length === 2)

/** A service whose driver fails a command when its connection closes. Ours sends it again. */
const serveGivingUp = (url: string) =>
  Effect.gen(function*() {
    const open = (maxRetriesPerRequest: number) =>
      Effect.acquireRelease(
        Effect.sync(() => new Client(url, { maxRetriesPerRequest, retryStrategy: () => 20 }).on("error", () => {})),
        (client) => Effect.sync(() => client.disconnect())
      )
    return yield* serveClients(yield* open(0), yield* open(20), { ttl })
  })

const drivers = [
  ["a driver that sends again", (url: string) => serve(url, { ttl })],
  ["a driver that gives up", serveGivingUp]
] as const
const moments = ["request-forwarded", "mid-reply"] as const
const cases = drivers.flatMap(([driver, connect]) => moments.map((moment) => ({ driver, connect, moment })))

describe.each(cases)("on a connection cut at $moment, with $driver,", ({ connect, driver, moment }) => {
  const name = `cut ${moment}, ${driver}`
  const cutSetup = Effect.gen(function*() {
    const base = yield* setup
    const { dlock } = yield* connect(base.proxy.url)
    yield* dlock.inspect("k")
    yield* subscribed(base.admin)
    const once = Effect.scoped(dlock.once("k"))
    return {
      ...base,
      dlock,
      succeedsSoon: settles(`next once after ${name}`, slack, Effect.retry(once, { times: 50 })),
      // A tombstone stands for commandTimeout, and goes with the first use after that.
      isSwept: Effect.map(
        timed(once.pipe(Effect.andThen(onlyFences(base.server.url)), Effect.repeat({ until: (only) => only }))),
        ([, took]) => atMost(`swept after ${name}`, took, commandTimeout + slack)
      )
    }
  })

  test("once gives one lock or a BackendError, and is had again at once", () =>
    Effect.gen(function*() {
      const { direct, dlock, isSwept, proxy, succeedsSoon } = yield* cutSetup
      proxy.cutAfter(Acquire.acquire.sha, moment)
      const held = Effect.scoped(Effect.andThen(dlock.once("k"), direct.inspect("k")))
      const exit = yield* Effect.exit(settles(`once ${name}`, commandTimeout + slack, held))
      assert.include(["success", "BackendError"], Exit.isSuccess(exit) ? exit.value : "")
      assert.strictEqual(yield* succeedsSoon, "success")
      yield* isSwept
    }))

  test("lock waits in one place or fails with BackendError, and nobody waits behind a ghost", () =>
    Effect.gen(function*() {
      const { direct, dlock, isSwept, proxy, succeedsSoon } = yield* cutSetup
      const scope = yield* Scope.make()
      yield* Scope.provide(direct.once("k"), scope)
      const cut = proxy.cutAfter(Acquire.acquire.sha, moment)
      const waiter = yield* Effect.forkChild(Effect.scoped(dlock.lock("k")))
      yield* Effect.promise(() => cut)
      // It has its answer, from whichever connection, or its error.
      yield* Effect.retry(dlock.inspect("k"), { times: 50 })
      assert.isAtMost((yield* direct.inspect("k")).waiting, 1)
      yield* Scope.close(scope, Exit.void)
      const how = yield* settles(`lock ${name}`, commandTimeout + slack, Fiber.join(waiter))
      assert.include(["success", "BackendError"], how)
      assert.strictEqual(yield* succeedsSoon, "success")
      yield* isSwept
    }))

  test("release frees the lock, whether it says so or not", () =>
    Effect.gen(function*() {
      const { dlock, isSwept, proxy, succeedsSoon } = yield* cutSetup
      const lock = yield* dlock.once("k")
      proxy.cutAfter(Scripts.leave.sha, moment)
      const how = yield* settles(`release ${name}`, commandTimeout + slack, lock.release)
      assert.include(["success", "BackendError"], how)
      assert.strictEqual(yield* succeedsSoon, "success")
      yield* isSwept
    }))
})

/** Picks the connection that carries the first such command, and holds what it sends from then on. */
const holdFirst = (proxy: Effect.Success<ReturnType<typeof proxyTo>>, sha: string) => {
  let seen = 0
  const first = proxy.filter((chunk) => chunk.includes(sha) && seen++ === 0)
  first.stallUp()
  return first
}

const evalshas = (client: Client) =>
  client.info("commandstats").then((info) => Number(/cmdstat_evalsha:calls=(\d+)/.exec(info)?.[1]))

test("a copy of an acquire that was answered on a later connection does nothing after the release (R15)", () =>
  Effect.gen(function*() {
    const { admin, direct, proxy } = yield* setup
    const { commands, dlock } = yield* serve(proxy.url, { ttl, commandTimeout: 3_000 })
    yield* dlock.inspect("k")
    const first = holdFirst(proxy, Acquire.acquire.sha)
    const use = yield* Effect.forkChild(Effect.scoped(dlock.once("k")))
    yield* until(() => first.connections() === 1)
    commands.stream.destroy()
    yield* Fiber.join(use)
    const before = yield* Effect.promise(() => evalshas(admin))
    first.heal({ deliver: true })
    yield* until(async () => await evalshas(admin) > before)
    assert.deepStrictEqual((yield* direct.inspect("k")).holders, [])
    yield* Effect.scoped(direct.once("k"))
  }))

test("a copy of an acquire that timed out does nothing after its leave (R15)", () =>
  Effect.gen(function*() {
    const { admin, direct, proxy } = yield* setup
    const { dlock } = yield* serve(proxy.url, { ttl, commandTimeout: 1_000 })
    yield* dlock.inspect("k")
    // The server's clock is known as well as a round trip allows: after a slow one the copy stays good for longer.
    proxy.stallUp()
    const asked = yield* Effect.forkChild(dlock.inspect("k"))
    yield* Effect.sleep(600)
    proxy.heal({ deliver: true })
    yield* Fiber.join(asked)
    const before = yield* Effect.promise(() => evalshas(admin))
    const first = holdFirst(proxy, Acquire.acquire.sha)
    assert.strictEqual((yield* Effect.flip(Effect.scoped(dlock.once("k"))))._tag, "BackendError")
    yield* until(async () => await evalshas(admin) > before)
    first.heal({ deliver: true })
    yield* until(async () => await evalshas(admin) > before + 1)
    assert.deepStrictEqual((yield* direct.inspect("k")).holders, [])
    yield* Effect.scoped(direct.once("k"))
  }))

test("an acquire that was interrupted before Redis had its script is not sent once more", () =>
  Effect.gen(function*() {
    const { admin, direct, proxy } = yield* setup
    const { dlock } = yield* serve(proxy.url, { ttl, commandTimeout: 3_000 })
    yield* dlock.inspect("k")
    // As after a restart: the first command is the release of somebody else.
    const other = yield* direct.once("other")
    yield* Effect.promise(() => admin.script("FLUSH"))
    yield* other.release
    const before = yield* Effect.promise(() => evalshas(admin))
    const replies = proxy.filter(Acquire.acquire.sha)
    replies.stallDown()
    const use = yield* Effect.forkChild(Effect.scoped(dlock.once("k")))
    yield* until(async () => await evalshas(admin) === before + 1)
    yield* Fiber.interrupt(use)
    yield* until(async () => await evalshas(admin) === before + 2)
    replies.heal({ deliver: true })
    // Answers come in order: when this one is here, so is what the others led to.
    yield* dlock.inspect("k")
    yield* dlock.inspect("k")
    assert.deepStrictEqual((yield* direct.inspect("k")).holders, [])
    yield* Effect.scoped(direct.once("k"))
  }))

test("an acquire that is delivered after it timed out is refused (R3)", () =>
  Effect.gen(function*() {
    const { admin, direct, proxy } = yield* setup
    const { close, dlock } = yield* serve(proxy.url, { ttl })
    yield* dlock.inspect("k")
    const before = yield* Effect.promise(() => evalshas(admin))
    proxy.stall()
    assert.strictEqual(tagOf(yield* Effect.exit(Effect.scoped(dlock.once("k")))), "BackendError")
    yield* close
    proxy.heal({ deliver: true })
    yield* until(async () => await evalshas(admin) > before)
    assert.deepStrictEqual((yield* direct.inspect("k")).holders, [])
    yield* Effect.scoped(direct.once("k"))
  }))
