/** What is true of the Redis keys of a lock after every step, whatever the steps are. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FastCheck from "fast-check"
import type { Redis } from "ioredis"
import { randomUUID } from "node:crypto"
import { inject } from "vitest"
import * as Scripts from "../../src/internal/redis/scripts.js"
import type { RedisProcess } from "./backends.js"
import { connectRedis, keysOf, send } from "./backends.js"
import { Client, long, target } from "./world.js"

const token = FastCheck.integer({ min: 0, max: 7 }).map((i) => `token-${i}`)
const millis = FastCheck.constantFrom(1, 5, 20, 1000, long)
const subscribed = FastCheck.boolean()
const permits = FastCheck.integer({ min: 1, max: 3 })
const verb = <Verb extends string>(name: Verb) => FastCheck.constant(name)

const step = FastCheck.oneof(
  {
    weight: 5,
    arbitrary: FastCheck.record({
      verb: verb("acquire"),
      token,
      wait: FastCheck.boolean(),
      permits,
      limit: FastCheck.oneof({ weight: 4, arbitrary: FastCheck.constant(3) }, { weight: 1, arbitrary: permits }),
      ttl: millis,
      liveness: millis,
      subscribed
    })
  },
  {
    weight: 2,
    arbitrary: FastCheck.record({ verb: verb("refresh"), token, ttl: millis, liveness: millis, subscribed })
  },
  { weight: 3, arbitrary: FastCheck.record({ verb: verb("leave"), token }) },
  { weight: 1, arbitrary: FastCheck.record({ verb: verb("bury"), token, millis }) },
  { weight: 1, arbitrary: FastCheck.record({ verb: verb("revoke") }) },
  { weight: 1, arbitrary: FastCheck.record({ verb: verb("sleep") }) }
)

type Step = typeof step extends FastCheck.Arbitrary<infer A> ? A : never

const take = (a: Client, client: Redis, one: Step): Effect.Effect<unknown, unknown> => {
  switch (one.verb) {
    case "acquire":
      return one.wait ? a.lock(one.token, one) : a.once(one.token, one)
    case "refresh":
      return a.refresh(one.token, one)
    case "leave":
      return a.leave(one.token)
    case "revoke":
      return Effect.flatMap(a.inspect(), ({ lastFence }) => a.revoke(lastFence))
    case "sleep":
      return Effect.sleep(6)
    case "bury":
      return Effect.promise(async () => {
        const [seconds, micros] = await client.time()
        const time = Number(seconds) * 1000 + Math.floor(Number(micros) / 1000) + one.millis
        const items = [{ lock: 0, token: one.token, time }]
        await send(client, Scripts.leave, { locks: [keysOf(target(a.key))], items })
      })
  }
}

/** All of a lock at one moment. The time is read last: it goes on while a script runs. */
const look = `
local ttls = {}
for i, key in ipairs(KEYS) do ttls[i] = redis.call("PTTL", key) end
local state = redis.call("HGETALL", KEYS[2])
local held = redis.call("ZRANGE", KEYS[3], 0, -1, "WITHSCORES")
local queue = redis.call("ZRANGE", KEYS[4], 0, -1, "WITHSCORES")
local alive = redis.call("ZRANGE", KEYS[5], 0, -1, "WITHSCORES")
local time = redis.call("TIME")
return { time[1] * 1000 + math.floor(time[2] / 1000), ttls, state, held, queue, alive }`

const pairs = (flat: ReadonlyArray<string>): Array<[string, string]> =>
  flat.flatMap((name, i) => i % 2 === 0 ? [[name, flat[i + 1]!]] : [])

/** In the last milliseconds of their time the keys vanish one by one. */
const vanishing = 5
const day = 86_400_000

/**
 * `isKept`: something in the lock lasts. Else its keys may all come to their end at the very millisecond of a script. Then
 * entries may outlive their place in a set, which says that they are dead, but never the other way round.
 */
const checkInvariants = async (client: Redis, key: string, isKept: boolean): Promise<void> => {
  const reply: any = await client.eval(look, 5, ...keysOf(target(key)))
  const [now, [fenceTtl, ...ttls], state, ...sets] = reply as [number, Array<number>, any, any, any, any]
  if (ttls.some((ttl) => ttl >= 0 && ttl <= vanishing)) return
  const fields = new Map(pairs(state))
  const [held, queue, alive] = sets.map((set) => new Map(pairs(set))) as [any, any, any]
  const entries = [...fields].filter(([name]) => !name.startsWith("#"))
    .map(([token, value]) => ({
      token,
      kind: value[0]!,
      permits: Number(value.split(" ")[1]),
      number: value.split(" ")[3]
    }))
  const ofKind = (kinds: string) => entries.filter(({ kind }) => kinds.includes(kind))

  const tokensOf = (kinds: string) => ofKind(kinds).map(({ token }) => token)
  const isIn = isKept ?
    assert.sameMembers :
    (part: Array<string>, whole: Array<string>) => assert.includeMembers(whole, part)

  isIn([...held.keys()], tokensOf("h"))
  isIn([...alive.keys()], tokensOf("wx"))
  assert.includeMembers(tokensOf("w"), [...queue.keys()])
  for (const { number, token } of ofKind("w")) assert.include([undefined, number], queue.get(token))
  const used = ofKind("h").reduce((sum, { permits, token }) => held.has(token) ? sum + permits : sum, 0)
  if (held.size > 0) assert.strictEqual(Number(fields.get("#used")), used)

  const latest = Math.max(0, ...[...held.values(), ...alive.values()].map(Number)) - now
  for (const ttl of ttls) if (ttl !== -2) assert.isAtLeast(ttl, Math.max(0, latest))
  if (fenceTtl !== -2) assert.isAtLeast(fenceTtl!, Math.max(day - 10_000, latest + day))
}

describe("after every step of a random walk", () => {
  it.live("entries, sets and sums agree, and every key has a ttl up to its latest deadline or more", () =>
    Effect.gen(function*() {
      const process: RedisProcess = yield* connectRedis(inject("redisUrl"))
      const steps = FastCheck.array(step, { minLength: 10, maxLength: 60 })
      const walk = FastCheck.asyncProperty(steps, FastCheck.boolean(), async (steps, isKept) => {
        const a = new Client(process, randomUUID())
        if (isKept) await Effect.runPromise(take(a, process.client, { verb: "bury", token: "keeper", millis: long }))
        for (const one of steps) {
          await Effect.runPromise(take(a, process.client, one))
          await checkInvariants(process.client, a.key, isKept)
        }
      })
      yield* Effect.promise(() => FastCheck.assert(walk, { numRuns: 100, interruptAfterTimeLimit: 15_000 }))
    }))
})
