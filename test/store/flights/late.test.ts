/** A join whose answer is "late", while its callers leave. The server answers when the test says so. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import { RedisFlightStore } from "../../../src/internal/redis/flightStore.js"
import type { Runner } from "../../../src/internal/redis/runner.js"
import type { Subscriber } from "../../../src/internal/redis/subscriber.js"

interface Sent {
  readonly name: string
  readonly reply: (raw: unknown) => void
}

/** A store, and what it has sent. */
const setup = () => {
  const sent: Array<Sent> = []
  const runner: Runner = {
    run: (script, _input, read) =>
      Effect.callback((resume) => {
        sent.push({ name: script.name, reply: (raw) => resume(read(Result.getOrThrow(script.decode(raw)))) })
      }),
    synchronized: () => true,
    synchronize: () => Effect.void,
    serverMillis: () => 0,
    serverMillisAt: () => 0
  }
  // SAFETY: nobody takes from the inbox here.
  const flightInbox = undefined as unknown as Subscriber["flightInbox"]
  return { sent, store: new RedisFlightStore({ flightInbox, probe: Effect.void }, runner, "dlock", "inbox", 5_000) }
}

const request = { id: "id", token: "A", gaveUp: undefined, ttlMillis: 1_000, keepMillis: 0, patient: true }

it.effect("a late join is sent once more", () =>
  Effect.gen(function*() {
    const { sent, store } = setup()
    const joined = yield* Effect.forkChild(Effect.flip(store.join(request)))
    yield* Effect.yieldNow
    sent[0]?.reply(["1", "late"])
    yield* Effect.yieldNow
    sent[1]?.reply(["1", "late"])
    assert.strictEqual((yield* Fiber.join(joined)).reason, "Timeout")
    assert.deepStrictEqual(sent.map(({ name }) => name), ["join", "join"])
  }))

it.effect("R15: but not when it has been left meanwhile, as it would come back and lead for nobody", () =>
  Effect.gen(function*() {
    const { sent, store } = setup()
    const joined = yield* Effect.forkChild(Effect.flip(store.join(request)))
    yield* Effect.forkChild(store.leave({ id: "id", token: "A" }))
    yield* Effect.yieldNow
    sent[0]?.reply(["1", "late"])
    yield* Fiber.join(joined)
    assert.deepStrictEqual(sent.map(({ name }) => name), ["join", "leaveFlight"])
  }))
