/**
 * A shortcut answers what the script below it would, to the last letter: each step of a random walk runs with the shortcuts
 * and without, on keys of their own, at the same moment of a clock that the test sets. Redis may lose a key at any time.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FastCheck from "fast-check"
import type { Redis } from "ioredis"
import { randomUUID } from "node:crypto"
import { inject } from "vitest"
import * as Acquire from "../../src/internal/redis/acquire.js"
import * as Operations from "../../src/internal/redis/operations.js"
import type { LockKeys, Script } from "../../src/internal/redis/script.js"
import * as Scripts from "../../src/internal/redis/scripts.js"
import { openClient } from "./backends.js"
import { onKeys } from "./onKeys.js"

const start = Date.now() + 3_600_000

/** Keys of the test, beside those of its locks. */
const id = `shortcuts-${randomUUID()}`
const world = { clock: `${id}:clock`, ears: `${id}:ears`, log: `${id}:log` }
const { clock, ears, log } = world

/** A mistake here would compare a script with itself. */
const replaced = (lua: string, pairs: ReadonlyArray<readonly [from: string, to: string]>): string =>
  pairs.reduce((text, [from, to]) => {
    const parts = text.split(from)
    assert.lengthOf(parts, 2, from)
    return parts.join(to)
  }, lua)

const withoutAcquire = replaced(Acquire.acquire.lua, [
  ["if isFree then\n  local fences", "if false then\n  local fences"],
  ["local entered = #KEYS == 5 and", "local entered = false and"]
])
const withoutLeave = replaced(Scripts.leave.lua, [
  ["local over, isFree = {}, #ARGV / 3 == #KEYS / 5", "local over, isFree = {}, false"],
  ["if #KEYS == 5 and #ARGV == 3 and", "if false and"]
])
const withoutRefresh = replaced(Scripts.refresh.lua, [
  ["local renewed = #mine == 1 and", "local renewed = false and"]
])

const token = FastCheck.integer({ min: 0, max: 6 })
const lock = FastCheck.constantFrom(0, 0, 0, 1)
const millis = FastCheck.constantFrom(50, 1_000, 30_000)
const few = FastCheck.integer({ min: 1, max: 3 })
const subscribed = FastCheck.boolean()
const verb = <Verb extends string>(name: Verb) => FastCheck.constant(name)

const step = FastCheck.oneof(
  {
    weight: 8,
    arbitrary: FastCheck.record({
      verb: verb("acquire"),
      token,
      locks: FastCheck.oneof({ weight: 6, arbitrary: lock.map((one) => [one]) }, {
        weight: 1,
        arbitrary: FastCheck.constant([0, 1])
      }),
      wait: FastCheck.boolean(),
      permits: FastCheck.oneof({ weight: 3, arbitrary: FastCheck.constant(1) }, { weight: 1, arbitrary: few }),
      limit: FastCheck.oneof({ weight: 9, arbitrary: FastCheck.constant(3) }, { weight: 1, arbitrary: few }),
      ttl: millis,
      liveness: millis,
      subscribed,
      inbox: FastCheck.constantFrom("ear", "ear", "deaf"),
      isLate: FastCheck.integer({ min: 0, max: 20 }).map((n) => n === 0)
    })
  },
  {
    weight: 6,
    arbitrary: FastCheck.record({
      verb: verb("leave"),
      items: FastCheck.array(
        FastCheck.record({ lock, token, time: FastCheck.constantFrom(0, 0, 0, 0, 0, 0, 500, -500) }),
        {
          minLength: 1,
          maxLength: 2
        }
      )
    })
  },
  {
    weight: 4,
    arbitrary: FastCheck.record({
      verb: verb("refresh"),
      items: FastCheck.array(FastCheck.record({ lock, token, ttl: millis, liveness: millis }), {
        minLength: 1,
        maxLength: 3
      }),
      subscribed
    })
  },
  { weight: 1, arbitrary: FastCheck.record({ verb: verb("lower"), lock, token }) },
  {
    weight: 2,
    arbitrary: FastCheck.record({ verb: verb("elapse"), millis: FastCheck.constantFrom(1, 49, 50, 1_000) })
  },
  { weight: 1, arbitrary: FastCheck.record({ verb: verb("lose"), lock, key: FastCheck.integer({ min: 0, max: 4 }) }) }
)

type Step = typeof step extends FastCheck.Arbitrary<infer A> ? A : never

/** All of the keys, and the milliseconds that each lasts. */
const look = `
local all = {}
for i, key in ipairs(KEYS) do
  local kind = redis.call("TYPE", key).ok
  local read = { string = { "GET" }, hash = { "HGETALL" }, zset = { "ZRANGE", 0, -1, "WITHSCORES" } }
  local what = read[kind] and redis.call(read[kind][1], key, unpack(read[kind], 2)) or ""
  all[i] = { what, redis.call("PTTL", key) }
end
return all`

type Look = Array<[what: string | Array<string>, millis: number]>

/** Fields and members in order. */
const contents = (all: Look) =>
  all.map(([what]) =>
    typeof what === "string" ? what : what.flatMap((name, i) => i % 2 === 0 ? [`${name} ${what[i + 1]}`] : []).sort()
  )

class Walk {
  private now = start
  private losses = 0
  private readonly name = randomUUID()

  constructor(readonly client: Redis, readonly scripts: ReadonlyMap<string, readonly [full: string, plain: string]>) {}

  /** After a loss nobody asks again with a token of before: what it is told of its own old place may differ. */
  tokenOf(n: number): string {
    return `${this.losses}.${n}`
  }

  /** One of before at times. */
  anyToken(n: number): string {
    return `${Math.max(0, this.losses - (n % 2))}.${n}`
  }

  locksOf(variant: number): ReadonlyArray<LockKeys> {
    const keysOf = (n: number): LockKeys => {
      const key = `${id}:${this.name}:${variant}:${n}`
      return [`${key}:fence`, `${key}:state`, `${key}:held`, `${key}:queue`, `${key}:alive`]
    }
    return [keysOf(0), keysOf(1)]
  }

  async run<In>(script: Script<In, unknown>, input: (locks: ReadonlyArray<LockKeys>) => In): Promise<void> {
    const pipeline = this.client.multi()
    for (const [variant, sha] of this.scripts.get(script.name)!.entries()) {
      const locks = this.locksOf(variant)
      const keys = script.keys(input(locks))
      pipeline.del(log, clock)
        .rpush(clock, Math.floor(this.now / 1000), (this.now % 1000) * 1000)
        .evalsha(sha, keys.length, ...keys, ...script.args(input(locks)))
        .lrange(log, 0, -1)
    }
    const locks = [...this.locksOf(0), ...this.locksOf(1)].flat()
    const replies = (await pipeline.eval(look, locks.length, ...locks).exec())!
    const all = replies.pop()![1] as Look
    const [a, b] = [all.slice(0, 10), all.slice(10)]
    const answers = (from: number) => replies.slice(from + 2, from + 4).map(([error, reply]) => error?.message ?? reply)
    assert.deepStrictEqual([...answers(0), contents(a)], [...answers(4), contents(b)])
    // Read one after the other.
    for (const [i, [, millis]] of a.entries()) assert.approximately(millis, b[i]![1], 1_000, locks[i])
  }

  async take(one: Step): Promise<void> {
    switch (one.verb) {
      case "acquire":
        return this.run(Acquire.acquire, (locks) => ({
          token: this.tokenOf(one.token),
          locks: one.locks.map((n) => locks[n]!),
          claims: one.locks.map(() => ({ permits: Math.min(one.permits, one.limit), limit: one.limit })),
          ttlMillis: one.ttl,
          livenessMillis: one.liveness,
          notAfter: this.now + (one.isLate ? -1 : 1_000),
          wait: one.wait && one.locks.length === 1,
          subscribed: one.subscribed,
          inbox: one.inbox,
          metadata: `m ${one.token}`
        }))
      case "leave":
        return this.run(Scripts.leave, (locks) => {
          const items = one.items.filter((item, i) => one.items.findIndex(({ lock }) => lock === item.lock) === i)
          return {
            locks: items.map((item) => locks[item.lock]!),
            items: items.map(({ time, token }, lock) => ({
              lock,
              token: this.anyToken(token),
              time: time > 0 ? this.now + time : time
            }))
          }
        })
      case "refresh":
        return this.run(Scripts.refresh, (locks) => ({
          locks,
          subscribed: one.subscribed,
          items: one.items.map(({ liveness, lock, token, ttl }) => ({
            lock,
            token: this.anyToken(token),
            ttlMillis: ttl,
            livenessMillis: liveness
          }))
        }))
      case "lower":
        return this.run(Operations.lower, (locks) => ({
          lock: locks[one.lock]!,
          token: this.anyToken(one.token),
          permits: 1
        }))
      case "elapse":
        this.now += one.millis
        return
      case "lose":
        this.losses++
        await this.client.del([0, 1].map((variant) => this.locksOf(variant)[one.lock]![one.key]!))
        return
    }
  }
}

describe("the shortcuts of the scripts", () => {
  it.live(
    "answer, tell and leave behind what the scripts would without them, on random walks",
    () =>
      Effect.gen(function*() {
        const client = yield* openClient(inject("redisUrl"))
        const load = (lua: string) => client.script("LOAD", onKeys(lua, world)).then(String)
        const scripts = new Map<string, readonly [string, string]>()
        for (
          const [name, full, plain] of [
            ["acquire", Acquire.acquire.lua, withoutAcquire],
            ["leave", Scripts.leave.lua, withoutLeave],
            ["refresh", Scripts.refresh.lua, withoutRefresh],
            ["lower", Operations.lower.lua, Operations.lower.lua]
          ] as const
        ) {
          scripts.set(name, yield* Effect.promise(() => Promise.all([load(full), load(plain)])))
        }
        yield* Effect.promise(() => client.sadd(ears, "ear"))
        const steps = FastCheck.array(step, { minLength: 20, maxLength: 60 })
        const walks = FastCheck.asyncProperty(steps, async (steps) => {
          const walk = new Walk(client, scripts)
          for (const one of steps) await walk.take(one)
          await client.del([0, 1].flatMap((variant) => walk.locksOf(variant).flat()))
        })
        yield* Effect.promise(() => FastCheck.assert(walks, { numRuns: 200, interruptAfterTimeLimit: 20_000 }))
        yield* Effect.promise(() => client.del(clock, ears, log))
      }),
    60_000
  )
})
