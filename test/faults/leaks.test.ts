/** What ten thousand of everything leave behind, on a network and a server that fail now and then. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Redis as Client } from "ioredis"
import { allKeys } from "../support/redisSpy.js"
import { spawnWorker } from "../support/workers.js"
import type { Left } from "./cycling.js"
import { is, note, proxyTo, redis, test, ttl, until, untilOnlyFences } from "./support.js"

const count = 10_000

/**
 * Compiled code and caches go on growing a little, less each time: by 2 MB in the first ten thousand cycles, by 0.2 to 0.7 in
 * later ones. 150 bytes a cycle would be more, and a lease that is forgotten somewhere has 400.
 */
const heapNoise = 1_500_000

test(
  "10,000 cycles of everything, with faults, leave heap, fibers, timers, sockets, listeners and keys as they were",
  () =>
    Effect.gen(function*() {
      const server = yield* redis
      const proxy = yield* proxyTo(server)
      const admin = new Client(server.url)
      yield* Effect.addFinalizer(() => Effect.sync(() => admin.disconnect()))
      const worker = yield* Effect.acquireRelease(
        Effect.sync(() =>
          spawnWorker(new URL("cycling.ts", import.meta.url), { args: [JSON.stringify({ url: proxy.url })] })
        ),
        (worker) => Effect.promise(() => worker.kill())
      )
      const { atRest } = yield* Effect.promise(() => worker.next(is("ready"), 25_000))

      const faults: ReadonlyArray<() => unknown> = [
        () => proxy.killAll(),
        () => proxy.onlySubscribers().killAll(),
        () => admin.script("FLUSH"),
        () => proxy.stall(),
        // Long enough for commands to run out of time.
        () => {},
        () => {},
        () => proxy.heal(),
        () => admin.call("CLIENT", "KILL", "TYPE", "pubsub"),
        // Those that it cuts come back to a closed door.
        () => [proxy.refuse(), proxy.killAll()],
        () => proxy.accept(),
        () => proxy.killAll({ fin: true }),
        () => admin.flushall()
      ]
      const connections = async () => String(await admin.client("LIST")).trim().split("\n").length - 1
      const connectedAtRest = yield* Effect.promise(connections)
      let injected = 0
      const fail = Effect.suspend(() => Effect.promise(async () => faults[injected++ % faults.length]!())).pipe(
        Effect.andThen(Effect.sleep(250)),
        Effect.forever
      )
      const run = (cycles: number, meanwhile: Effect.Effect<never> = fail) =>
        Effect.gen(function*() {
          worker.send(cycles)
          yield* Effect.raceFirst(Effect.promise(() => worker.next(is("done"), 60_000)), meanwhile)
          proxy.heal()
          proxy.accept()
          const { left } = yield* Effect.promise(() => worker.next(is("left"), 20_000))
          // SAFETY: the worker sends that.
          return left as Left
        })
      const before = yield* run(count)
      const after = yield* run(count)

      assert.isAbove(injected, 16)
      const kinds = Object.keys(after.told)
      assert.deepStrictEqual(kinds.filter((kind) => kind.startsWith("DEFECT")), [])
      for (const kind of ["success", "interrupted", "LockAcquisitionError", "BackendError", "Failed"]) {
        assert.isAbove(after.told[kind] ?? 0, 50, `${kind} of ${JSON.stringify(after.told)}`)
      }
      assert.strictEqual(after.alive, atRest)
      note("heap growth in 10,000 cycles of everything, bytes", after.heap - before.heap, heapNoise)
      assert.isBelow(after.heap - before.heap, heapNoise)
      // The first nine cycles, one of each kind of lock, when all is well: the last fault may have taken all keys.
      assert.strictEqual((yield* run(9, Effect.never)).alive, atRest)
      assert.strictEqual(connectedAtRest, 4, "two for each of two services")
      yield* until(connections, 2_000, (now) => now === connectedAtRest)
      yield* untilOnlyFences(server.url)
      worker.send(0)
      assert.deepStrictEqual(yield* Effect.promise(() => worker.exited), { code: 0, signal: null }, worker.output())
      yield* until(connections, 2_000, (now) => now === 0)
      // As docs/operations.md has it: one key for each lock, and no other once those are deleted.
      const left = yield* Effect.promise(() => allKeys(server.url))
      assert.isAbove(left.length, 0)
      for (const key of left) assert.match(key, /^dlock:(lock|semaphore|readWriteLock):\{[^}]+\}:fence$/)
      yield* Effect.promise(() => admin.del(...left))
      yield* Effect.sleep(ttl)
      assert.deepStrictEqual(yield* Effect.promise(() => allKeys(server.url)), [])
    }),
  90_000
)
