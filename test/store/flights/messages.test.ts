/** The messages that carry outcomes. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { inject } from "vitest"
import * as Wire from "../../../src/internal/redis/wire.js"
import { loadScripts, openClient, redis } from "../backends.js"
import { outcome, world as worldOf } from "./world.js"

const url = inject("redisUrl")

const world = Effect.gen(function*() {
  const client = yield* openClient(url)
  yield* loadScripts(client)
  const { a, b, id } = yield* worldOf(redis(url))
  const ids = Array.from({ length: 70 }, (_, i) => `${id}-${i}`)
  const all = <A, E>(step: (id: string) => Effect.Effect<A, E>) =>
    Effect.forEach(ids, step, { concurrency: "unbounded" })
  return { a, b, ids, all }
})

it.scopedLive("payloads that do not fit into one message, or into one line, arrive all the same", () =>
  Effect.gen(function*() {
    const { a, all, b, ids } = yield* world
    yield* all((id) => a.join(`a${id}`, { id }))
    yield* all((id) => b.join(`b${id}`, { id }))
    const payload = (id: string) => id === ids[5] ? "two\nlines" : `["success","${id}${"ü".repeat(10_000)}"]`
    yield* all((id) => a.finish(`a${id}`, payload(id), { id }))
    const events = yield* b.events
    assert.lengthOf(events, ids.length)
    for (const event of events) {
      const id = "token" in event ? event.token.slice(1) : ""
      if (id === ids[5]) assert.strictEqual(event._tag, "Stored")
      else assert.strictEqual(outcome(event), payload(id))
    }
    assert.strictEqual(outcome(yield* b.store.fetch({ id: ids[5]!, token: `b${ids[5]}` })), "two\nlines")
  }))

it("a message with outcomes is read whole or not at all (R19)", () => {
  const read = (message: string) => Option.getOrUndefined(Wire.decode(message))
  const event = (token: string, payload: string) => ({ _tag: "Outcome" as const, token, finishedAt: 12, payload })
  assert.deepStrictEqual(read(`{"v":1,"ended":["12","t"]}\n[1]`), [event("t", "[1]")])
  assert.deepStrictEqual(read(`{"v":1,"ended":["12","t","u"]}\n[1]\n`), [event("t", "[1]"), event("u", "")])
  for (
    const message of [
      `{"v":1,"ended":["12","t"]}`,
      `{"v":1,"ended":["12","t"]}\n1\n2`,
      `{"v":1,"ended":["12","t","u"]}\n1`,
      `{"v":1,"ended":["12"]}\n1`,
      `{"v":1,"ended":[12,"t"]}\n1`,
      `{"v":1,"ended":["-1","t"]}\n1`,
      `{"v":1,"ended":["1e3","t"]}\n1`,
      `{"v":1,"ended":["12","t\\""]}\n1`,
      `{"v":2,"ended":["12","t"]}\n1`,
      ` {"v":1,"ended":["12","t"]}\n1`,
      `{"v":1,"ended":["12","t"]} \n1`,
      `\n`,
      `{"v":1,"ended":["12","t"]}\n${"x".repeat(200_000)}`
    ]
  ) {
    assert.isUndefined(read(message), message.slice(0, 60))
  }
})
