/** The messages that carry an outcome. */
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
  return yield* worldOf(redis(url))
})

it.live("a payload arrives as it is, whatever is in it, or is said to be stored", () =>
  Effect.gen(function*() {
    const { a, b, id } = yield* world
    const half = 32_768
    const payloads = ["", "\n", "two\nlines\n", "{\"v\":1,\"ended\":[\"t\",\"1\"]}", "\u0000\"\\", "ü".repeat(half)]
    for (const [i, payload] of [...payloads, `${"ü".repeat(half)}.`].entries()) {
      yield* a.join(`a${i}`, { id: `${id}-${i}` })
      yield* b.join(`b${i}`, { id: `${id}-${i}` })
      yield* a.finish(`a${i}`, payload, { id: `${id}-${i}` })
      const events = yield* b.events
      assert.deepStrictEqual(events.map((event) => "token" in event && event.token), [`b${i}`])
      if (i < payloads.length) assert.strictEqual(outcome(events[0]!), payload)
      else assert.strictEqual(events[0]!._tag, "Stored")
    }
  }))

it("a message with an outcome is read whole or not at all (R19)", () => {
  const read = (message: string) => Option.getOrUndefined(Wire.decode(message))
  const event = (payload: string) => ({ _tag: "Outcome" as const, token: "t", finishedAt: 12, payload })
  assert.deepStrictEqual(read(`{"v":1,"ended":["t","12"]}\n[1]`), [event("[1]")])
  assert.deepStrictEqual(read(`{"v":1,"ended":["t","12"]}\n1\n2\n`), [event("1\n2\n")])
  assert.deepStrictEqual(read(`{"v":1,"ended":["t","12"]}\n`), [event("")])
  for (
    const message of [
      `{"v":1,"ended":["t","12"]}`,
      `{"v":1,"ended":["t"]}\n1`,
      `{"v":1,"ended":["t","12","u"]}\n1`,
      `{"v":1,"ended":["t",12]}\n1`,
      `{"v":1,"ended":["t","-1"]}\n1`,
      `{"v":1,"ended":["t","1e3"]}\n1`,
      `{"v":1,"ended":["t\\"","12"]}\n1`,
      `{"v":2,"ended":["t","12"]}\n1`,
      ` {"v":1,"ended":["t","12"]}\n1`,
      `{"v":1,"ended":["t","12"]} \n1`,
      `\n`,
      `{"v":1,"ended":["t","12"]}\n${"x".repeat(200_000)}`
    ]
  ) {
    assert.isUndefined(read(message), message.slice(0, 60))
  }
})
