/**
 * Scripts that stop half-way, at any of their calls, as when a right is taken away; and keys that Redis evicts, one at a time.
 * A judge sees to it that nobody is told more than the keys bear out, and that nothing is held by too many (R44, R46).
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FastCheck from "fast-check"
import type { Redis } from "ioredis"
import { randomUUID } from "node:crypto"
import { inject } from "vitest"
import * as Acquire from "../../src/internal/redis/acquire.js"
import * as Operations from "../../src/internal/redis/operations.js"
import type { LockKeys } from "../../src/internal/redis/script.js"
import * as Scripts from "../../src/internal/redis/scripts.js"
import { openClient } from "./backends.js"
import { expiryOf, millis, pairs, refusedAt, Stage, token, verb } from "./stopping.js"

const id = `half-done-${randomUUID()}`
const world = { clock: `${id}:clock`, ears: `${id}:ears`, log: `${id}:log` }

const step = FastCheck.oneof(
  {
    weight: 8,
    arbitrary: FastCheck.record({
      verb: verb("acquire"),
      wait: FastCheck.boolean(),
      permits: FastCheck.integer({ min: 1, max: 3 }),
      ttl: millis,
      liveness: millis,
      subscribed: FastCheck.boolean(),
      refusedAt: refusedAt(30)
    })
  },
  {
    weight: 6,
    arbitrary: FastCheck.record({
      verb: verb("refresh"),
      tokens: FastCheck.array(token, { minLength: 1, maxLength: 3 }),
      ttl: millis,
      subscribed: FastCheck.boolean(),
      refusedAt: refusedAt(30)
    })
  },
  {
    weight: 5,
    arbitrary: FastCheck.record({
      verb: verb("leave"),
      token,
      time: FastCheck.constantFrom(0, 0, 0, 500, -500),
      refusedAt: refusedAt(30)
    })
  },
  { weight: 1, arbitrary: FastCheck.record({ verb: verb("lower"), token, refusedAt: refusedAt(30) }) },
  {
    weight: 1,
    arbitrary: FastCheck.record({ verb: verb("revoke"), asks: FastCheck.boolean(), refusedAt: refusedAt(30) })
  },
  {
    weight: 2,
    arbitrary: FastCheck.record({ verb: verb("elapse"), millis: FastCheck.constantFrom(1, 49, 50, 1_000) })
  },
  { weight: 1, arbitrary: FastCheck.record({ verb: verb("evict"), key: FastCheck.nat(4) }) }
)

type Step = typeof step extends FastCheck.Arbitrary<infer A> ? A : never
type Asking = Exclude<Step, { readonly verb: "elapse" | "evict" }>

/** What the process of a token believes. */
interface Belief {
  permits: number
  /** It was told of a lease until then. */
  heldUntil: number
  /** It was told that it waits, and lives until then. */
  waitsUntil: number
  /** Not known to the server any more, and told so with the next renewal. */
  excused: boolean
}

class Walk extends Stage {
  made = 0
  readonly beliefs = new Map<string, Belief>()

  constructor(client: Redis, readonly lock: LockKeys, readonly limit: number) {
    super(client, world, lock)
  }

  /** One of those that were made before. */
  tokenOf(n: number): string {
    return this.made === 0 ? "nobody" : `t${n % this.made}`
  }

  override onTold(message: string): void {
    for (const [what, token] of JSON.parse(message).events) this.onMessage(what, token)
  }

  onMessage(what: string, token: string): void {
    const belief = this.beliefs.get(token)
    if (belief === undefined) return
    if (what === "granted") belief.heldUntil = belief.waitsUntil
    if (what !== "asked" && what !== "granted") this.beliefs.delete(token)
  }

  onAnswer(token: string, answer: ReadonlyArray<unknown>): void {
    const belief = this.beliefs.get(token)
    if (belief === undefined) return
    const until = this.now + Number(answer[1])
    if (answer[0] === "held") belief.heldUntil = Math.max(belief.heldUntil, until)
    else if (answer[0] === "waiting") belief.waitsUntil = Math.max(belief.waitsUntil, until)
    else if (answer[0] === "gone") this.beliefs.delete(token)
  }

  async ask(one: Asking): Promise<void> {
    const { limit, lock } = this
    switch (one.verb) {
      case "acquire": {
        const token = `t${this.made++}`
        const permits = Math.min(one.permits, limit)
        const reply = await this.run(Acquire.acquire, {
          ...{ token, locks: [lock], claims: [{ permits, limit }], ttlMillis: one.ttl, livenessMillis: one.liveness },
          ...{ notAfter: this.now + 1_000, wait: one.wait, subscribed: one.subscribed, inbox: "ear", metadata: "m" }
        }, one.refusedAt)
        const none = { permits, heldUntil: 0, waitsUntil: 0, excused: false }
        if (reply?.[1] === "granted") this.beliefs.set(token, { ...none, heldUntil: this.now + reply[3] })
        if (reply?.[1] === "waiting") this.beliefs.set(token, { ...none, waitsUntil: this.now + reply[3] })
        return
      }
      case "refresh": {
        const tokens = Array.from(new Set(one.tokens.map((n) => this.tokenOf(n))))
        const items = tokens.map((token) => ({ lock: 0, token, ttlMillis: one.ttl, livenessMillis: one.ttl }))
        const input = { locks: [lock], subscribed: one.subscribed, items }
        const reply = await this.run(Scripts.refresh, input, one.refusedAt)
        reply?.[2].forEach((answer, i) => this.onAnswer(tokens[i]!, answer))
        return
      }
      case "leave": {
        const token = this.tokenOf(one.token)
        this.beliefs.delete(token)
        const time = one.time > 0 ? this.now + one.time : one.time
        await this.run(Scripts.leave, { locks: [lock], items: [{ lock: 0, token, time }] }, one.refusedAt)
        return
      }
      case "lower": {
        const token = this.tokenOf(one.token)
        const reply = await this.run(Operations.lower, { lock, token, permits: 1 }, one.refusedAt)
        const belief = this.beliefs.get(token)
        // Whoever wants less and gets no answer may have it already.
        if (belief) belief.permits = 1
        if (reply) this.onAnswer(token, reply[2])
        return
      }
      case "revoke": {
        const fence = Number.MAX_SAFE_INTEGER
        await this.run(Operations.revoke, { lock, fence, asks: one.asks }, one.refusedAt)
        // By force, and the message may not have been sent.
        if (!one.asks) this.excuse()
      }
    }
  }

  async evict(key: number): Promise<void> {
    await this.client.del(this.lock[key]!)
    if (key === 2) this.excuse()
  }

  /** Who holds is told with its next renewal. */
  excuse(): void {
    for (const belief of this.beliefs.values()) belief.excused = true
  }

  async take(one: Step): Promise<void> {
    if (one.verb === "evict") {
      await this.evict(one.key)
    } else if (one.verb === "elapse") {
      await this.elapse(one.millis)
    } else {
      await this.ask(one)
    }
    await this.judge()
  }

  async judge(): Promise<void> {
    const [, state, held, queue, alive] = await this.see()
    const entries = pairs(state!)
    const holders = pairs(held!)
    const until = Number(entries.get("#until") ?? Infinity)
    const places = [[holders, held!], [pairs(alive!), alive!]] as const
    for (const [scores, key] of places) {
      for (const [token, score] of scores) {
        assert.isAtMost(Number(score), expiryOf(key), `${token} lies beyond the expiry of its key`)
        assert.isAtMost(Number(score), until, `${token} lies beyond #until`)
        if (entries.has(token)) assert.isAtMost(Number(score), expiryOf(state!), `${token} outlives its entry`)
      }
    }
    if (entries.has("#until")) {
      for (const key of [state!, held!, queue!, alive!]) assert.isAtMost(until, expiryOf(key), "#until")
    }
    let used = 0
    for (const [token, { excused, heldUntil, permits }] of this.beliefs) {
      if (excused || heldUntil <= this.now) continue
      used += permits
      assert.isAtLeast(Number(holders.get(token) ?? 0), heldUntil, `${token} was told more than there is`)
    }
    assert.isAtMost(used, this.limit, "more is held than there is")
  }

  /** All who ever came leave, and nobody stops them: then all is free, and nothing is left. */
  async end(): Promise<void> {
    this.beliefs.clear()
    for (let n = 0; n < this.made; n++) {
      await this.run(Scripts.leave, { locks: [this.lock], items: [{ lock: 0, token: `t${n}`, time: 0 }] }, 0)
    }
    this.now += 1_000
    await this.ask({
      ...{ verb: "acquire", wait: false, permits: this.limit, ttl: 1_000, liveness: 1_000, subscribed: true },
      refusedAt: 0
    })
    assert.lengthOf(Array.from(this.beliefs), 1, "all that is there can be had")
    await this.judge()
    for (const [, expiresAt] of await this.see()) assert.notStrictEqual(expiresAt, -1, "a key stays for ever")
    await this.ask({ verb: "leave", token: this.made - 1, time: 0, refusedAt: 0 })
    assert.strictEqual(await this.client.exists(...this.lock.slice(1)), 0, "something is left")
  }
}

describe("a script that stops half-way, at any of its calls, and a key that is evicted", () => {
  it.live(
    "R44, R46: nobody is told more than the keys bear out, nothing is held by too many, and in the end all is free",
    () =>
      Effect.gen(function*() {
        const client = yield* openClient(inject("redisUrl"))
        yield* Effect.promise(() => client.sadd(world.ears, "ear"))
        let refusals = 0
        const walks = FastCheck.asyncProperty(
          FastCheck.integer({ min: 1, max: 3 }),
          FastCheck.array(step, { minLength: 10, maxLength: 40 }),
          async (limit, steps) => {
            const key = `${id}:${randomUUID()}`
            const lock: LockKeys = [`${key}:fence`, `${key}:state`, `${key}:held`, `${key}:queue`, `${key}:alive`]
            const walk = new Walk(client, lock, limit)
            for (const one of steps) await walk.take(one)
            await walk.end()
            refusals += walk.refusals
            await client.del(...walk.lock)
          }
        )
        yield* Effect.promise(() => FastCheck.assert(walks, { numRuns: 300, interruptAfterTimeLimit: 20_000 }))
        assert.isAbove(refusals, 20)
        yield* Effect.promise(() => client.del(world.clock, world.ears, world.log))
      }),
    60_000
  )
})
