import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Redis } from "ioredis"
import * as fs from "node:fs"
import type { RedisServer, RedisServerOptions } from "./redisServer.js"
import { findRedisServer, layerUrl, redis, startRedis } from "./redisServer.js"
import { allKeys, commandCounts, countCommands, waitFor, watchCommands } from "./redisSpy.js"
import type { Worker } from "./workers.js"
import { monotonicMicros, spawnWorker } from "./workers.js"

const isRunning = (pid: number): boolean => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

/** A client that tries once and gives up, so that a dead connection shows. */
const connect = (url: string): Redis => {
  const client = new Redis(url, { retryStrategy: () => null, maxRetriesPerRequest: 0 })
  client.on("error", () => {})
  return client
}

const withServer = async (use: (server: RedisServer) => Promise<void>, options?: RedisServerOptions) => {
  const server = await startRedis(options)
  await use(server).finally(server.stop)
}

const withClient = async <A>(url: string, use: (client: Redis) => Promise<A>): Promise<A> => {
  const client = connect(url)
  return await use(client).finally(() => client.disconnect())
}

const isPendingAfter = (millis: number, promise: Promise<unknown>) =>
  Promise.race([promise.then(() => false), new Promise((resolve) => setTimeout(resolve, millis, true))])

describe("startRedis", () => {
  it("gives a server that answers at once, and stop leaves neither process nor directory", async () => {
    const server = await startRedis()
    assert.strictEqual(await withClient(server.url, (client) => client.ping()), "PONG")
    assert.isTrue(isRunning(server.pid))
    assert.isTrue(fs.existsSync(server.dir))
    await Promise.all([server.stop(), server.stop()])
    assert.isFalse(isRunning(server.pid))
    assert.isFalse(fs.existsSync(server.dir))
  })

  it("starts many at once, each on its own port", async () => {
    const servers = await Promise.all(Array.from({ length: 8 }, () => startRedis()))
    assert.strictEqual(new Set(servers.map(({ port }) => port)).size, 8)
    await Promise.all(servers.map((server) => server.stop()))
  })

  it("says why a server did not start", () =>
    withServer(async ({ port }) => {
      const failure = (options: RedisServerOptions) => startRedis(options).then(() => "started", String)
      assert.match(await failure({ port }), /Address already in use/i)
      assert.match(await failure({ args: ["--no-such-option", "1"] }), /no-such-option/)
    }))

  it("waits for a server that wants a password", () =>
    withServer(async ({ port }) => {
      assert.strictEqual(await withClient(`redis://:secret@127.0.0.1:${port}`, (client) => client.ping()), "PONG")
    }, { args: ["--requirepass", "secret"] }))

  it("a frozen server answers nothing, a thawed one what it was asked meanwhile", () =>
    withServer((server) =>
      withClient(server.url, async (client) => {
        await client.ping()
        server.freeze()
        const answer = client.set("k", "v")
        assert.isTrue(await isPendingAfter(50, answer))
        server.thaw()
        assert.strictEqual(await answer, "OK")
      })
    ))

  it("stop works on a frozen server", async () => {
    const server = await startRedis()
    server.freeze()
    await server.stop()
    assert.isFalse(isRunning(server.pid))
  })

  it("restart gives an empty server on the same port, frozen, dead or well as it was", () =>
    withServer(async (server) => {
      const { port } = server
      for (const before of [server.freeze, server.kill, () => {}]) {
        const { pid } = server
        await withClient(server.url, (client) => client.set("k", "v"))
        await before()
        await server.restart()
        assert.notStrictEqual(server.pid, pid)
        assert.isFalse(isRunning(pid))
        assert.deepStrictEqual(await allKeys(server.url), [])
        assert.strictEqual(server.port, port)
      }
    }))

  it("restart keeps the data of a live server when told, and refuses when it is dead", () =>
    withServer(async (server) => {
      await withClient(server.url, (client) => client.set("k", "v"))
      server.freeze()
      await server.restart({ keepData: true })
      assert.deepStrictEqual(await allKeys(server.url), ["k"])
      await server.kill()
      assert.match(await server.restart({ keepData: true }).then(() => "restarted", String), /append-only/)
    }))

  it("restart keeps what an append-only file holds, and empties it otherwise", () =>
    withServer(async (server) => {
      await withClient(server.url, (client) => client.set("k", "v"))
      await server.kill()
      await server.restart({ keepData: true })
      assert.deepStrictEqual(await allKeys(server.url), ["k"])
      await server.restart()
      assert.deepStrictEqual(await allKeys(server.url), [])
    }, { args: ["--appendonly", "yes", "--appendfsync", "always"] }))

  it.effect("the server of a scope ends with it", () =>
    Effect.gen(function*() {
      const pid = yield* Effect.scoped(Effect.map(redis, (server) => server.pid))
      assert.isFalse(isRunning(pid))
    }))

  it.effect("the server of a layer lives as long as the layer", () => {
    class Pong extends Context.Service<Pong, string>()("Pong") {}
    const ping = (url: string) => Layer.effect(Pong, Effect.promise(() => withClient(url, (client) => client.ping())))
    return Effect.map(Pong, (pong) => assert.strictEqual(pong, "PONG")).pipe(Effect.provide(layerUrl(ping)))
  })

  it("findRedisServer finds REDIS_SERVER and nothing else when it is set", () => {
    const found = findRedisServer()
    const before = process.env["REDIS_SERVER"]
    try {
      process.env["REDIS_SERVER"] = found!
      assert.strictEqual(findRedisServer(), found)
      process.env["REDIS_SERVER"] = "/nowhere/redis-server"
      assert.isUndefined(findRedisServer())
    } finally {
      if (before === undefined) delete process.env["REDIS_SERVER"]
      else process.env["REDIS_SERVER"] = before
    }
  })
})

describe("spawnWorker", () => {
  const withWorker = async (use: (worker: Worker) => Promise<void>) => {
    const worker = spawnWorker(new URL("fixtures/worker.ts", import.meta.url), {
      args: ["one", "two"],
      env: { FLAVOUR: "sour" }
    })
    await use(worker).finally(() => worker.kill())
  }
  const isEcho = (of: unknown) => (message: { readonly type: string; readonly message: unknown }) =>
    message.type === "echo" && message.message === of

  it("gives a process with its arguments and environment, whose clock is ours", () =>
    withWorker(async (worker) => {
      const before = monotonicMicros()
      worker.send({ big: 7n })
      const { at } = await worker.next((said) => said.message?.big === 7n)
      assert.isTrue(before < at && at < monotonicMicros())
      const { args, flavour } = await worker.next(({ type }) => type === "ready")
      assert.deepStrictEqual([args, flavour], [["one", "two"], "sour"])
      assert.lengthOf(worker.messages, 2)
    }))

  it("next gives each message once, and says what came instead", () =>
    withWorker(async (worker) => {
      for (const text of ["a", "a", "b"]) worker.send(text)
      await Promise.all([worker.next(isEcho("a")), worker.next(isEcho("a")), worker.next(isEcho("b"))])
      assert.match(await worker.next(isEcho("a"), 20).catch(String), /did not send.*20 ms.*ready/s)
    }))

  it("a frozen worker says nothing until it is thawed", () =>
    withWorker(async (worker) => {
      await worker.next(({ type }) => type === "ready")
      worker.freeze()
      worker.send("late")
      assert.match(await worker.next(isEcho("late"), 50).catch(String), /did not send/)
      worker.thaw()
      await worker.next(isEcho("late"))
    }))

  it("tells how the worker ended, and next rejects from then on", () =>
    withWorker(async (worker) => {
      await worker.next(({ type }) => type === "ready")
      worker.send("exit")
      assert.deepStrictEqual(await worker.exited, { code: 3, signal: null })
      assert.match(await worker.next(isEcho("never")).catch(String), /is gone/)
    }))

  it("kill works on a frozen worker", () =>
    withWorker(async (worker) => {
      await worker.next(({ type }) => type === "ready")
      worker.freeze()
      assert.deepStrictEqual(await worker.kill(), { code: null, signal: "SIGKILL" })
    }))

  for (const end of ["exit", "SIGTERM"] as const) {
    it(`a server, and its directory, do not outlive the process that started it: ${end}`, () =>
      withWorker(async (worker) => {
        worker.send("start redis")
        const { dir, pid } = await worker.next(({ type }) => type === "redis", 15_000)
        assert.isTrue(isRunning(pid))
        if (end === "exit") worker.send("exit")
        else void worker.kill(end)
        const { code, signal } = await worker.exited
        assert.strictEqual(code ?? signal, end === "exit" ? 3 : end)
        await waitFor(() => !isRunning(pid))
        assert.isFalse(fs.existsSync(dir))
      }))
  }
})

describe("redisSpy", () => {
  let server: RedisServer
  let admin: Redis
  beforeAll(async () => {
    server = await startRedis()
    admin = connect(server.url)
    await admin.ping()
  })
  afterAll(async () => {
    admin.disconnect()
    await server.stop()
  })
  const script = `redis.call("SET", KEYS[1], "v") redis.call("PUBLISH", "c", "hello")`

  it("countCommands counts what ran meanwhile, inside scripts too, and nothing of its own", async () => {
    const body = async () => {
      await admin.eval(script, 1, "k")
      return await admin.config("GET", "port")
    }
    const { counts, value } = await countCommands(admin, body)
    assert.deepStrictEqual(counts, { "eval": 1, "set": 1, "publish": 1, "config|get": 1 })
    assert.deepStrictEqual(value, ["port", String(server.port)])
    assert.deepStrictEqual((await countCommands(admin, Effect.succeed(1))).counts, {})
    assert.strictEqual((await commandCounts(server.url))["config|resetstat"], 1)
  })

  it("watchCommands tells what clients issued from what scripts called", async () => {
    const body = () => Promise.all([admin.eval(script, 1, "k"), admin.get("k"), admin.publish("d", "\"quoted\"")])
    const { inScripts, issued, published } = await watchCommands(server.url, body)
    assert.deepStrictEqual(issued, { eval: 1, get: 1, publish: 1 })
    assert.deepStrictEqual(inScripts, { set: 1, publish: 1 })
    assert.deepStrictEqual(published, [{ channel: "c", message: "hello" }, { channel: "d", message: "\"quoted\"" }])
  })

  it("watchCommands sees all of a burst, and nothing from before", async () => {
    for (let round = 0; round < 20; round++) {
      void admin.get("before")
      const burst = Effect.promise(() => Promise.all(Array.from({ length: 500 }, () => admin.incr("n"))))
      await admin.get("before")
      assert.deepStrictEqual((await watchCommands(server.url, burst)).issued, { incr: 500 })
    }
  })

  it("allKeys lists every key once", async () => {
    await admin.flushall()
    const keys = Array.from({ length: 2500 }, (_, i) => `key ${i}`).sort()
    await admin.mset(keys.flatMap((key) => [key, ""]))
    assert.deepStrictEqual(await allKeys(server.url), keys)
    assert.deepStrictEqual(await allKeys(server.url, "key 17"), ["key 17"])
  })

  it("waitFor gives the accepted answer, and fails with the last one or the last error", async () => {
    let n = 0
    assert.strictEqual(await waitFor(() => ++n, 1000, (answer) => answer === 3), 3)
    assert.match(String(await waitFor(() => [n], 20, () => false).catch(String)), /20 ms. Last seen: \[ 3 \]/)
    assert.match(await waitFor(() => Promise.reject(new Error("no")), 20).catch(String), /Error: no/)
    assert.match(await waitFor(() => new Promise<never>(() => {}), 20).catch(String), /no answer/)
  })
})
