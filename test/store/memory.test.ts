import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import * as Memory from "../../src/internal/memory/store.js"
import { memory } from "./backends.js"
import { suite } from "./suite.js"
import { granted, short, world } from "./world.js"

suite("memory", memory, {
  theorem: (name, body) => it.effect(name, body),
  elapse: (millis) => TestClock.adjust(millis)
})

it.effect("the store: memory remembers the last fence for a day after the lease, and then nothing (R21)", () =>
  Effect.gen(function*() {
    const { a, b } = yield* world(memory)
    const fence = granted(yield* a.once("A", { ttl: short }))
    yield* a.leave("A")
    yield* TestClock.adjust(86_400_000)
    assert.strictEqual((yield* b.inspect()).lastFence, fence)
    yield* TestClock.adjust(short)
    // What is over goes with the next look.
    yield* b.inspect()
    assert.strictEqual((yield* b.inspect()).lastFence, 0)
  }))

it.effect("the store: memory of a layer remembers a lock until its lease is over, and its fences grow all the same", () =>
  Effect.gen(function*() {
    // Time stands still, as it does under a TestClock.
    const server = yield* Memory.makeServer()
    const store = yield* server.connect("inbox")
    const last = new Map<string, number>()
    for (let i = 0; i < 1_000; i++) {
      const target = { kind: "lock", key: `key ${i % 3}` } as const
      const terms = { ttlMillis: short, livenessMillis: short, wait: false, subscribed: true, metadata: "" }
      const { answer } = yield* store.acquire({
        token: `${i}`,
        claims: [{ ...target, permits: 1, limit: 1 }],
        ...terms
      })
      const fence = granted(answer)
      assert.isAbove(fence, last.get(target.key) ?? -1)
      last.set(target.key, fence)
      yield* store.leave([{ target, token: `${i}` }])
      if (i % 10 === 9) yield* TestClock.adjust(short)
    }
    yield* TestClock.adjust(short)
    yield* store.inspect({ kind: "lock", key: "another" })
    yield* store.inspect({ kind: "lock", key: "another" })
    assert.strictEqual(server.locks.size, 0)
  }))

it.effect("the store: memory forgets what is never looked at again, at the end of its lease", () =>
  Effect.gen(function*() {
    const server = yield* Memory.makeServer()
    const store = yield* server.connect("inbox")
    const take = (key: string, ttlMillis: number) => {
      const claim = { kind: "lock", key, permits: 1, limit: 1 } as const
      const terms = { ttlMillis, livenessMillis: ttlMillis, wait: false, subscribed: true, metadata: "" }
      return Effect.asVoid(store.acquire({ token: key, claims: [claim], ...terms }))
    }
    // Nobody gives them back.
    for (let i = 0; i < 1_000; i++) yield* take(`old ${i}`, short)
    yield* TestClock.adjust(short)
    for (let i = 0; i < 1_000; i++) yield* take(`new ${i}`, short)
    assert.strictEqual(server.locks.size, 1_000)
  }))
