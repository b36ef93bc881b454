/**
 * Uses every public function of a packed edition once, in memory and on Redis, by names that both majors of Effect have.
 * Plain JavaScript: it is run where the package is installed, by the oldest Node that is supported.
 */
import * as all from "effect-dlock"
import * as HttpFanoutModule from "effect-dlock/HttpFanout"
import * as Config from "effect/Config"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { Redis } from "ioredis"
import assert from "node:assert/strict"
import { once } from "node:events"
import { createServer } from "node:http"

const [url, platform] = process.argv.slice(2)
const [FetchHttpClient, HttpClient, HttpServerResponse, { toWebHandler }] = await Promise.all([
  import(`${platform}/FetchHttpClient`),
  import(`${platform}/HttpClient`),
  import(`${platform}/HttpServerResponse`),
  import(platform === "effect/http" ? "effect/http/HttpEffect" : "@effect/platform/HttpApp")
])

/** All that is public, and what of it was used. */
const modules = { ...all, HttpFanout: HttpFanoutModule }
const used = new Set()
const watched = (module) =>
  new Proxy(module, {
    get: (_, name) => {
      used.add(module[name])
      return module[name]
    }
  })
const { Dlock, DlockError, HttpFanout, PubSubLayer, RedisLayer } = Object.fromEntries(
  Object.entries(modules).map(([name, module]) => [name, watched(module)])
)

const both = (effect) => Effect.all([effect, effect], { concurrency: 2 })

const locks = Effect.gen(function*() {
  const lock = yield* Dlock.once("lock", { metadata: "smoke" })
  assert.ok(lock.fencingToken > 0)
  yield* lock.check
  yield* lock.extend("1 minute")
  yield* lock.remaining
  assert.equal(yield* lock.guard(Effect.succeed(1)), 1)
  const { holders } = yield* Dlock.inspect("lock")
  assert.deepEqual(holders.map(({ metadata }) => metadata), ["smoke"])
  const held = yield* Effect.flip(Effect.scoped(Dlock.once("lock")))
  assert.ok(held instanceof DlockError.LockAcquisitionError)
  assert.ok((yield* Effect.flip(Effect.scoped(Dlock.once("")))) instanceof DlockError.InvalidKeyError)
  assert.ok((yield* Effect.flip(Effect.scoped(Dlock.multi("lock", "b")))) instanceof DlockError.MultiLockError)
  assert.ok(Option.isNone(yield* Dlock.withLockIfAvailable(Effect.void, "lock")))
  assert.equal(yield* Dlock.askRelease("lock"), 1)
  yield* Effect.flip(lock.lost)
  assert.equal(yield* Dlock.forceRelease("none"), 0)
  const taken = yield* Dlock.lock("taken")
  assert.equal(yield* Dlock.forceRelease("taken"), 1)
  assert.ok((yield* Effect.flip(taken.lost)) instanceof DlockError.LockLostError)
  assert.deepEqual(yield* both(Dlock.withLock(Effect.as(Effect.sleep(20), 2), "turns")), [2, 2])
  const multi = yield* Dlock.multi(["m", "n"])
  assert.deepEqual(multi.keys, ["m", "n"])
  yield* multi.release
  assert.equal(yield* Effect.succeed(3).pipe(Dlock.withMulti(["m", "n"])), 3)
  assert.equal(yield* Dlock.singleton("singleton", Effect.succeed(4)), 4)
})

const sharedLocks = Effect.gen(function*() {
  const semaphore = yield* Dlock.semaphore("semaphore", { permits: 2 })
  const permit = yield* semaphore.take(1)
  assert.ok(Option.isSome(yield* semaphore.tryTake(1)))
  assert.equal(yield* semaphore.available, 0)
  assert.ok(Option.isNone(yield* semaphore.withPermitsIfAvailable(1)(Effect.void)))
  yield* permit.release
  const other = yield* Dlock.semaphore("other", { permits: 2 })
  assert.equal(yield* other.withPermits(2)(Effect.succeed(1)), 1)
  const prices = yield* Dlock.readWriteLock("prices")
  const writing = yield* prices.write
  yield* writing.downgrade
  yield* writing.release
  assert.equal(yield* prices.withWrite(Effect.succeed(2)), 2)
  assert.equal(yield* prices.withRead(Effect.succeed(3)), 3)
  yield* prices.read
})

const flights = Effect.gen(function*() {
  let runs = 0
  const job = Effect.sync(() => ++runs).pipe(Effect.delay(100))
  assert.deepEqual(yield* both(Dlock.fanout("job", job)), [1, 1])
  const told = yield* Deferred.make()
  const tell = (exit) => Effect.asVoid(Deferred.succeed(told, exit))
  const { complete } = yield* Dlock.push("pushed", tell)
  yield* complete(Exit.succeed("done"))
  assert.equal((yield* Deferred.await(told)).value, "done")
  const abandoned = yield* Deferred.make()
  yield* Effect.scoped(Dlock.push("abandoned", (exit) => Effect.asVoid(Deferred.succeed(abandoned, exit))))
  const error = yield* Effect.flip(Effect.flatten(Deferred.await(abandoned)))
  assert.ok(error instanceof DlockError.FanoutError)
})

/** Answers later, so that those who ask meanwhile can share. */
const upstream = Effect.acquireRelease(
  Effect.promise(async () => {
    const server = createServer((_, response) => {
      counts.asked++
      setTimeout(() => response.end("answer"), 200)
    }).listen(0, "127.0.0.1")
    await once(server, "listening")
    return server
  }),
  (server) => Effect.sync(() => server.closeAllConnections() ?? server.close())
)
const counts = { asked: 0, ran: 0 }

const http = Effect.gen(function*() {
  Object.assign(counts, { asked: 0, ran: 0 })
  const server = yield* upstream
  const client = yield* Effect.flatMap(HttpClient.HttpClient, HttpFanout.client())
  const ask = Effect.flatMap(client.get(`http://127.0.0.1:${server.address().port}/`), (response) => response.text)
  assert.deepEqual([...yield* both(ask), counts.asked], ["answer", "answer", 1])

  const dlock = yield* Dlock.Dlock
  assert.ok(HttpFanout.harmlessHeaders.includes("user-agent"))
  const app = Effect.sync(() => HttpServerResponse.text(`run ${++counts.ran}`)).pipe(Effect.delay(200))
  const handle = toWebHandler(HttpFanout.middleware()(app).pipe(Effect.provideService(Dlock.Dlock, dlock)))
  const served = Effect.promise(async () => (await handle(new Request("http://shop.example/"))).text())
  assert.deepEqual(yield* both(served), ["run 1", "run 1"])
}).pipe(Effect.provide(FetchHttpClient.layer))

const everything = Effect.scoped(Effect.all([locks, sharedLocks, flights, http]))

const run = (name, effect) => Effect.runPromise(effect.pipe(Effect.timeout("20 seconds"))).then(() => console.log(name))

const client = new Redis(url)
const subscriber = client.duplicate()
const config = { url: Config.succeed(url), prefix: Config.succeed("config") }
const own = Layer.provideMerge(PubSubLayer.layer, RedisLayer.layer({ url }))

/** By name, each way to get the service, and what is done with it. */
const worlds = {
  memory: [Dlock.layerMemory, everything],
  redis: [Dlock.layerRedis({ url }), everything],
  "memory with options": [Dlock.layerMemoryOptions({ prefix: "options" }), locks],
  "configured redis": [Dlock.layerRedisConfig(config), locks],
  "own connections": [Layer.provide(Dlock.layer, own), locks],
  "options on own connections": [Layer.provide(Dlock.layerOptions({ prefix: "options" }), own), locks],
  "configured connections": [
    Dlock.layerConfig({ prefix: Config.succeed("configured") }).pipe(
      Layer.provide(PubSubLayer.layer),
      Layer.provide(RedisLayer.layerConfig({ url: Config.succeed(url) }))
    ),
    locks
  ],
  "given clients": [
    Dlock.layer.pipe(Layer.provide([RedisLayer.layerClient(client), PubSubLayer.layerClient(subscriber)])),
    locks
  ]
}
for (const [name, [layer, effect]] of Object.entries(worlds)) {
  await run(name, Effect.scoped(effect).pipe(Effect.provide(layer)))
}
client.disconnect()
subscriber.disconnect()

await run(
  "tags",
  Effect.scoped(Effect.all([RedisLayer.Redis, PubSubLayer.PubSub]).pipe(Effect.provide(own)))
)
const away = Dlock.layerRedis({ url: "redis://127.0.0.1:1", commandTimeout: "200 millis" })
await run(
  "no Redis",
  Effect.flip(Effect.scoped(Dlock.once("k")).pipe(Effect.provide(away))).pipe(
    Effect.map((error) => assert.ok(error instanceof DlockError.BackendError))
  )
)

const unused = Object.entries(modules).flatMap(([name, module]) =>
  Object.entries(module).filter(([, value]) => !used.has(value)).map(([key]) => `${name}.${key}`)
)
assert.deepEqual(unused, [])
console.log(`${used.size} public names, Node ${process.versions.node}`)
