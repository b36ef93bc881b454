import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { Backend } from "../world.js"
import {
  almost,
  gone,
  granted,
  held,
  long,
  pastShort,
  refused,
  short,
  target,
  together,
  within,
  world
} from "../world.js"

export const granting = ({ elapse, make, theorem }: Backend): void => {
  theorem("a free lock is granted at once, for the whole ttl", () =>
    Effect.gen(function*() {
      const { a } = yield* world(make)
      const answer = yield* a.once("A", { ttl: 12_345 })
      assert(answer._tag === "Granted")
      assert.strictEqual(answer.remainingMillis, 12_345)
      assert.lengthOf(answer.fences, 1)
    }))

  theorem("a fraction of a millisecond of ttl is rounded up", () =>
    Effect.gen(function*() {
      const { a, b } = yield* world(make)
      const answer = yield* a.once("A", { ttl: 20_000.25 })
      assert(answer._tag === "Granted")
      assert.strictEqual(answer.remainingMillis, 20_001)
      yield* b.lock("B", { liveness: 30_000.25 })
      yield* a.leave("A")
      almost((yield* b.inspect()).holders[0]!.remainingMillis, 30_001)
    }))

  theorem("a held lock is refused, and the refusal shows who holds it until when", () =>
    Effect.gen(function*() {
      const { a, b, key } = yield* world(make)
      yield* a.once("A", { metadata: "host 1", ttl: 30_000 })
      const blockers = refused(yield* b.once("B"))
      assert.lengthOf(blockers, 1)
      assert.strictEqual(blockers[0]!.key, key)
      assert.strictEqual(blockers[0]!.holder?.metadata, "host 1")
      almost(blockers[0]!.holder?.endsMillis, 30_000)
    }))

  theorem("a refused attempt leaves nothing behind", () =>
    Effect.gen(function*() {
      const { a, b } = yield* world(make)
      yield* a.once("A")
      refused(yield* b.once("B"))
      gone(yield* b.refresh("B"))
      assert.strictEqual((yield* a.inspect()).waiting, 0)
      yield* a.leave("A")
      assert.lengthOf((yield* a.inspect()).holders, 0)
      assert.deepStrictEqual(yield* b.events, [])
    }))

  theorem("different keys never contend", () =>
    Effect.gen(function*() {
      const { a, b, key } = yield* world(make)
      granted(yield* a.once("A"))
      granted(yield* b.once("B", { key: `${key}2` }))
    }))

  theorem("the same acquire twice holds once, with one fence, and one leave frees it", () =>
    Effect.gen(function*() {
      const { a, b } = yield* world(make)
      const terms = { limit: 3, permits: 2 }
      const fence = granted(yield* a.once("A", terms))
      assert.strictEqual(granted(yield* a.once("A", terms)), fence)
      assert.strictEqual(granted(yield* b.lock("A", terms)), fence)
      assert.strictEqual((yield* a.inspect()).used, 2)
      yield* a.leave("A")
      assert.strictEqual((yield* a.inspect()).used, 0)
      granted(yield* b.once("B", { limit: 3, permits: 3 }))
    }))

  theorem("a repeated acquire never shortens the lease", () =>
    Effect.gen(function*() {
      const { a } = yield* world(make)
      yield* a.once("A")
      const answer = yield* a.once("A", { ttl: 10 })
      assert(answer._tag === "Granted")
      almost(answer.remainingMillis, long)
      almost(held(yield* a.refresh("A", { ttl: 10 })).remainingMillis, long)
    }))

  theorem("a lease ends by the server's clock", () =>
    Effect.gen(function*() {
      const { a, b } = yield* world(make)
      const answers = yield* within(short, together([a.once("A", { ttl: short }), a.once("A2")]))
      granted(answers[0]!)
      refused(answers[1]!)
      yield* elapse(pastShort)
      assert.lengthOf((yield* b.inspect()).holders, 0)
      granted(yield* b.once("B"))
    }))

  theorem("fences grow over leave, expiry, revoke and the queue", () =>
    Effect.gen(function*() {
      const { a, b } = yield* world(make)
      const fences = [granted(yield* a.once("A1"))]
      yield* a.leave("A1")
      fences.push(granted(yield* b.once("B1", { ttl: short })))
      yield* elapse(pastShort)
      fences.push(granted(yield* a.once("A2")))
      yield* b.lock("B2")
      yield* a.leave("A2")
      fences.push(held(yield* b.refresh("B2")).fence)
      yield* a.revoke(fences.at(-1)!)
      fences.push(granted(yield* a.once("A3")))
      assert.deepStrictEqual(fences, Array.from(new Set(fences)).sort((x, y) => x - y))
      assert.strictEqual((yield* b.inspect()).lastFence, fences.at(-1))
    }))

  theorem("fences grow after all data was lost", () =>
    Effect.gen(function*() {
      const { a, b, key, server } = yield* world(make)
      yield* elapse(1)
      let last = 0
      for (let round = 0; round < 20; round++) {
        const fence = granted(yield* a.once(`A${round}`))
        assert.isAbove(fence, last)
        last = fence
        if (round % 2 === 0) yield* a.leave(`A${round}`)
        else yield* server.lose(target(key))
        yield* elapse(1)
      }
      assert.isAbove(granted(yield* b.once("B")), last)
    }))

  theorem("after all data was lost a holder is gone, and so is a waiter", () =>
    Effect.gen(function*() {
      const { a, b, key, server } = yield* world(make)
      yield* a.once("A")
      yield* b.lock("B")
      yield* server.lose(target(key))
      gone(yield* a.refresh("A"))
      gone(yield* b.refresh("B"))
    }))

  theorem("metadata comes back as it was", () =>
    Effect.gen(function*() {
      const { a, b, key } = yield* world(make)
      const texts = [
        "",
        " ",
        "  two  spaces  ",
        "h 1 2 3 x y",
        "new\nline\r\n",
        "nul\0nul",
        "日本語 🎈 é",
        "\"'\\",
        "%25{}"
      ]
      for (const [i, metadata] of texts.entries()) {
        const terms = { key: `${key}${i}` }
        yield* a.once("A", { ...terms, metadata })
        assert.strictEqual(refused(yield* b.once("B", terms))[0]!.holder?.metadata, metadata)
        assert.strictEqual((yield* b.inspect(terms.key)).holders[0]!.metadata, metadata)
        yield* a.lock("waiter", { ...terms, metadata: `${metadata}2` })
        yield* a.store.leave([{ target: target(terms.key), token: "A" }])
        assert.strictEqual((yield* b.inspect(terms.key)).holders[0]!.metadata, `${metadata}2`)
      }
    }))

  theorem("inspect shows what is held and how many wait, and never a token", () =>
    Effect.gen(function*() {
      const { a, b } = yield* world(make)
      const terms = { limit: 4, ttl: 30_000 }
      const first = granted(yield* a.once("secret-1", { ...terms, permits: 2, metadata: "one" }))
      const second = granted(yield* b.once("secret-2", { ...terms, metadata: "two" }))
      yield* a.lock("secret-3", { ...terms, permits: 2 })
      yield* b.lock("secret-4", terms)
      const found = yield* b.inspect()
      const holders = found.holders.map(({ remainingMillis, ...rest }) => {
        almost(remainingMillis, 30_000)
        return rest
      }).sort((x, y) => x.fence - y.fence)
      assert.deepStrictEqual({ ...found, holders }, {
        limit: 4,
        used: 3,
        waiting: 2,
        lastFence: second,
        holders: [
          { fence: first, permits: 2, limit: 4, metadata: "one" },
          { fence: second, permits: 1, limit: 4, metadata: "two" }
        ] as any
      })
      assert.notInclude(JSON.stringify(found), "secret")
    }))

  theorem("inspect shows neither an expired lease nor a dead waiter", () =>
    Effect.gen(function*() {
      const { a } = yield* world(make)
      const limit = 2
      yield* within(
        short,
        together([
          a.once("A1", { limit }),
          a.once("A2", { limit, ttl: short }),
          a.lock("B", { limit, permits: 2, liveness: short }),
          a.lock("C", { limit, permits: 2 })
        ])
      )
      yield* elapse(pastShort)
      const found = yield* a.inspect()
      assert.lengthOf(found.holders, 1)
      assert.deepInclude(found, { used: 1, waiting: 1 })
    }))

  theorem("inspect of a lock that nobody ever took shows nothing", () =>
    Effect.gen(function*() {
      const { a } = yield* world(make)
      assert.deepInclude(yield* a.inspect(), { used: 0, waiting: 0, lastFence: 0, holders: [] })
    }))
}
