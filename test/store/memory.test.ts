import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/TestClock"
import { memory } from "./backends.js"
import { suite } from "./suite.js"
import { granted, short, world } from "./world.js"

suite("memory", memory, {
  theorem: (name, body) => it.scoped(name, body),
  elapse: (millis) => TestClock.adjust(millis)
})

it.scoped("the store: memory remembers the last fence for a day after the lease, and then nothing (R21)", () =>
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
