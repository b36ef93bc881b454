/** Random walks on both stores side by side: every answer and every message of the one must be that of the other. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FastCheck from "fast-check"
import { randomUUID } from "node:crypto"
import { inject } from "vitest"
import { memory, redis } from "../backends.js"
import type { Backend } from "../world.js"
import { Client } from "./world.js"

const clients = 3

const token = FastCheck.integer({ min: 0, max: 5 }).map((n) => `token-${n}`)
const gaveUp = FastCheck.option(token, { nil: undefined, freq: 3 })
const payload = FastCheck.constantFrom("", "x", "y".repeat(65_537), "\"\\/é\u007f日本")
const keep = FastCheck.constantFrom(0, 0, 60_000)
const ttl = FastCheck.constantFrom(30_000, 60_000, 90_000)
const client = FastCheck.nat(clients - 1)

const verb = <Verb extends string>(verb: Verb) => FastCheck.constant(verb)
const step = FastCheck.oneof(
  {
    weight: 6,
    arbitrary: FastCheck.record({ verb: verb("join"), client, token, gaveUp, keep, ttl })
  },
  { weight: 4, arbitrary: FastCheck.record({ verb: verb("refresh"), client, token, ttl }) },
  { weight: 3, arbitrary: FastCheck.record({ verb: verb("finish"), client, token, payload, keep }) },
  { weight: 2, arbitrary: FastCheck.record({ verb: verb("leave"), client, token }) },
  { weight: 2, arbitrary: FastCheck.record({ verb: verb("fetch"), client, token }) }
)
type Step = typeof step extends FastCheck.Arbitrary<infer A> ? A : never

const run = (client: Client, id: string, step: Step): Effect.Effect<unknown, unknown> => {
  const part = { id, token: step.token }
  switch (step.verb) {
    case "join":
      return client.store.join({
        ...part,
        gaveUp: step.gaveUp,
        ttlMillis: step.ttl,
        keepMillis: step.keep,
        patient: true
      })
    case "refresh":
      return client.store.refresh([{ ...part, ttlMillis: step.ttl }])
    case "finish":
      return client.store.finish({
        ...part,
        payload: step.payload,
        retentionMillis: 60_000,
        keepMillis: step.keep,
        patient: true
      })
    case "leave":
      return client.store.leave(part)
    case "fetch":
      return client.store.fetch(part)
  }
}

/** Times are told by their names: they may differ by what lies between the two calls. */
const compare = (left: any, right: any, path: string): void => {
  if (typeof left === "number" && typeof right === "number" && /finishedAt$/.test(path)) return
  if (typeof left === "number" && typeof right === "number" && /Millis$/.test(path)) {
    assert.isAtMost(Math.abs(left - right), 5_000, path)
  } else if (typeof left === "object" && typeof right === "object" && left !== null && right !== null) {
    assert.sameMembers(Object.keys(left), Object.keys(right), path)
    for (const name of Object.keys(left)) compare(left[name], right[name], `${path}.${name}`)
  } else {
    assert.strictEqual(left, right, path)
  }
}

const byToken = <A extends { readonly _tag: string }>(events: ReadonlyArray<A>) =>
  [...events].sort((a, b) => JSON.stringify(a) < JSON.stringify(b) ? -1 : 1)

const makeSide = (make: Backend["make"]) =>
  Effect.gen(function*() {
    const server = yield* make
    const processes = yield* Effect.replicateEffect(server.connect, clients)
    return processes.map((process) => new Client(process, ""))
  })

describe("the flights in memory and those on Redis", () => {
  it.live("answer and tell the same on random walks", () =>
    Effect.gen(function*() {
      const left = yield* makeSide(redis(inject("redisUrl")))
      const right = yield* makeSide(memory)
      const seen = new Map<string, number>()
      const property = FastCheck.asyncProperty(
        FastCheck.array(step, { minLength: 5, maxLength: 50, size: "max" }),
        (steps) => {
          const id = randomUUID()
          const walk = Effect.forEach(steps, (step) =>
            Effect.gen(function*() {
              const answer = yield* run(left[step.client]!, id, step)
              compare(answer, yield* run(right[step.client]!, id, step), step.verb)
              for (let i = 0; i < clients; i++) {
                const told = byToken(yield* left[i]!.events)
                compare(told, byToken(yield* right[i]!.events), `inbox ${i} after ${step.verb}`)
                for (const { _tag } of told) seen.set(_tag, (seen.get(_tag) ?? 0) + 1)
              }
              for (const [, tag] of (JSON.stringify(answer) ?? "").matchAll(/"_tag":"(\w+)"/g)) {
                seen.set(`${step.verb} ${tag}`, (seen.get(`${step.verb} ${tag}`) ?? 0) + 1)
              }
            }), { discard: true })
          return Effect.runPromise(walk)
        }
      )
      yield* Effect.promise(() => FastCheck.assert(property, { numRuns: 150, interruptAfterTimeLimit: 15_000 }))
      const usual = [
        ...["Leads", "Follows", "Outcome", "Kept", "Gone"].map((tag) => `join ${tag}`),
        ...["Leads", "Follows", "Outcome", "Stored", "Gone"].map((tag) => `refresh ${tag}`),
        ...["Outcome", "Gone"].map((tag) => `fetch ${tag}`),
        ...["Outcome", "Stored", "Moved"]
      ]
      for (const what of usual) assert.isAbove(seen.get(what) ?? 0, 0, what)
    }))
})
