/** Commands for flights that go to the server together, and the messages that they send. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { inject } from "vitest"
import * as Wire from "../../../src/internal/redis/wire.js"
import { watchCommands } from "../../support/redisSpy.js"
import { flightKeysOf, loadScripts, openClient, redis } from "../backends.js"
import { follows, gone, leads, outcome, world as worldOf } from "./world.js"

const url = inject("redisUrl")

const world = Effect.gen(function*() {
  const client = yield* openClient(url)
  yield* loadScripts(client)
  const { a, b, id } = yield* worldOf(redis(url))
  const ids = Array.from({ length: 70 }, (_, i) => `${id}-${i}`)
  const all = <A, E>(step: (id: string) => Effect.Effect<A, E>) =>
    Effect.forEach(ids, step, { concurrency: "unbounded" })
  return { a, b, client, ids, all }
})

it.scopedLive("many flights are joined by few commands, and each is answered for itself", () =>
  Effect.gen(function*() {
    const { a, all, b, client, ids } = yield* world
    // The scripts for several are known from here on.
    yield* all((id) => Effect.zipRight(a.join(`w${id}`, { id }), a.leave(`w${id}`, id)))
    const watched = yield* Effect.promise(() =>
      watchCommands(url, () => Effect.runPromise(all((id) => a.join(`a${id}`, { id }))))
    )
    watched.value.forEach(leads)
    const own = flightKeysOf(ids[0]!)[0]
    const sent = watched.seen.filter(({ args, command, source }) =>
      source !== "lua" && command === "evalsha" && args.some((arg) => arg.startsWith(own.slice(0, 40)))
    )
    assert.isAtLeast(sent.length, 1)
    assert.isAtMost(sent.length, 4)
    ;(yield* all((id) => b.join(`b${id}`, { id }))).forEach(follows)
    // Neither usual case: an id of before, a token that is known, one that has left.
    leads(yield* a.join(`a${ids[1]}`, { id: ids[1]! }))
    yield* b.leave(`b${ids[2]}`, ids[2]!)
    const again = yield* all((id) => b.join(`b${id}`, { id }))
    again.forEach((answer, i) => i === 2 ? gone(answer) : follows(answer))
    assert.isTrue(yield* Effect.promise(() => client.exists(own).then((count) => count === 1)))
  }))

it.scopedLive("one join of a batch that Redis refuses fails alone, and so does one finish (R8)", () =>
  Effect.gen(function*() {
    const { a, all, b, client, ids } = yield* world
    const foreign = flightKeysOf(ids[40]!)[3]
    yield* Effect.promise(() => client.set(foreign, "somebody else's"))
    const joined = yield* all((id) => Effect.either(a.join(`a${id}`, { id })))
    joined.forEach((answer, i) => {
      if (answer._tag === "Right") return leads(answer.right)
      assert.strictEqual(i, 40)
      assert.strictEqual(answer.left.reason, "Refused")
      assert.strictEqual(answer.left.operation, "join")
    })
    assert.strictEqual(joined.filter(({ _tag }) => _tag === "Left").length, 1)
    yield* Effect.promise(() => client.del(foreign))
    leads(yield* a.join("late", { id: ids[40]! }))
    yield* Effect.promise(() => client.set(flightKeysOf(ids[50]!)[3], "somebody else's"))
    yield* all((id) => b.join(`b${id}`, { id }))
    const finished = yield* all((id) =>
      Effect.either(a.finish(id === ids[40] ? "late" : `a${id}`, `["success","${id}"]`, { id }))
    )
    finished.forEach((answer, i) => {
      if (i === 50) {
        assert(answer._tag === "Left" && answer.left.reason === "Refused" && answer.left.operation === "finish")
      } else assert(answer._tag === "Right" && answer.right)
    })
    const events = yield* b.events
    assert.sameMembers(events.map(outcome), ids.filter((_, i) => i !== 50).map((id) => `["success","${id}"]`))
    for (const event of events) {
      assert(event._tag === "Outcome" && event.payload === `["success","${event.token.slice(1)}"]`)
    }
    // A copy is answered as the first was (R33), one that nobody leads is superseded.
    const copies = yield* all((id) => Effect.either(a.finish(id === ids[3] ? "other" : `a${id}`, "[]", { id })))
    copies.forEach((answer, i) => {
      if (i !== 50) assert(answer._tag === "Right" && answer.right === (i !== 3 && i !== 40))
    })
  }))

it.scopedLive("one who asks and is interrupted leaves the others of its batch alone", () =>
  Effect.gen(function*() {
    const { a, all, ids } = yield* world
    const answers = yield* all((id) =>
      id === ids[10]
        ? Effect.as(Effect.race(a.join(`a${id}`, { id }), Effect.yieldNow()), undefined)
        : a.join(`a${id}`, { id })
    )
    for (const answer of answers) if (answer !== undefined) leads(answer)
  }))

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
