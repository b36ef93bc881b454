/** As test/store/halfDone.test.ts, for flights: scripts that stop at any of their calls, and keys that Redis evicts. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FastCheck from "fast-check"
import type { Redis } from "ioredis"
import { randomUUID } from "node:crypto"
import { inject } from "vitest"
import * as Flights from "../../../src/internal/redis/flights.js"
import { openClient } from "../backends.js"
import { expiryOf, millis, pairs, refusedAt, Stage, token, verb } from "../stopping.js"

const id = `half-done-flights-${randomUUID()}`
const world = { clock: `${id}:clock`, ears: `${id}:ears`, log: `${id}:log` }

const step = FastCheck.oneof(
  {
    weight: 8,
    arbitrary: FastCheck.record({
      verb: verb("join"),
      ttl: millis,
      keep: FastCheck.constantFrom(0, 0, 1_000),
      gaveUp: FastCheck.option(token),
      refusedAt: refusedAt(40)
    })
  },
  {
    weight: 6,
    arbitrary: FastCheck.record({ verb: verb("refresh"), token, ttl: millis, refusedAt: refusedAt(40) })
  },
  {
    weight: 4,
    arbitrary: FastCheck.record({
      verb: verb("finish"),
      token,
      retention: millis,
      keep: FastCheck.constantFrom(0, 0, 1_000),
      refusedAt: refusedAt(40)
    })
  },
  { weight: 1, arbitrary: FastCheck.record({ verb: verb("refuse"), token, refusedAt: refusedAt(40) }) },
  { weight: 3, arbitrary: FastCheck.record({ verb: verb("leave"), token, refusedAt: refusedAt(40) }) },
  {
    weight: 2,
    arbitrary: FastCheck.record({ verb: verb("elapse"), millis: FastCheck.constantFrom(1, 49, 50, 1_000) })
  },
  { weight: 1, arbitrary: FastCheck.record({ verb: verb("evict"), key: FastCheck.nat(3) }) }
)

type Step = typeof step extends FastCheck.Arbitrary<infer A> ? A : never
type Asking = Exclude<Step, { readonly verb: "elapse" | "evict" }>

class Walk extends Stage {
  made = 0
  /** Until when each token was told that it leads. */
  readonly leads = new Map<string, number>()
  /** Whose job has ended or was given up: no process counts on one of these any more. */
  readonly over = new Set<string>()

  constructor(client: Redis, readonly flight: Flights.FlightKeys) {
    super(client, world, flight)
  }

  tokenOf(n: number): string {
    return this.made === 0 ? "nobody" : `t${n % this.made}`
  }

  giveUp(token: string): void {
    this.over.add(token)
    this.leads.delete(token)
  }

  onAnswer(token: string, answer: ReadonlyArray<unknown>): void {
    if (this.over.has(token)) return
    if (answer[0] === "leads") this.leads.set(token, Math.max(this.leads.get(token) ?? 0, this.now + Number(answer[1])))
    else if (answer[0] !== "failed") this.leads.delete(token)
  }

  async ask(one: Asking): Promise<void> {
    const { flight } = this
    const notAfter = this.now + 1_000
    switch (one.verb) {
      case "join": {
        const token = `t${this.made++}`
        const gaveUp = one.gaveUp === null || this.made === 1 ? "" : `t${one.gaveUp % (this.made - 1)}`
        this.giveUp(gaveUp)
        const input = { flight, token, ttlMillis: one.ttl, notAfter, inbox: "ear", gaveUp, keepMillis: one.keep }
        const reply = await this.run(Flights.join, input, one.refusedAt)
        if (reply) this.onAnswer(token, reply.slice(1))
        return
      }
      case "refresh": {
        const token = this.tokenOf(one.token)
        const reply = await this.run(Flights.refreshFlights, [{ flight, token, ttlMillis: one.ttl }], one.refusedAt)
        if (reply) this.onAnswer(token, reply[1][0]!)
        return
      }
      case "finish": {
        const token = this.tokenOf(one.token)
        this.giveUp(token)
        await this.run(Flights.finish, {
          ...{ flight, token, notAfter, retentionMillis: one.retention, keepMillis: one.keep, payload: "payload" }
        }, one.refusedAt)
        return
      }
      case "refuse":
      case "leave": {
        const token = this.tokenOf(one.token)
        this.giveUp(token)
        if (one.verb === "refuse") await this.run(Flights.refuse, { flight, token }, one.refusedAt)
        else await this.run(Flights.leaveFlight, { flight, token, buriedUntil: notAfter }, one.refusedAt)
      }
    }
  }

  async take(one: Step): Promise<void> {
    if (one.verb === "evict") {
      await this.client.del(this.flight[one.key]!)
      // The key that says who leads: it is told with its next renewal.
      if (one.key === 0) this.leads.clear()
    } else if (one.verb === "elapse") {
      await this.elapse(one.millis)
    } else {
      await this.ask(one)
    }
    await this.judge()
  }

  async judge(): Promise<void> {
    const [state, followers, marks] = await this.see()
    const entries = pairs(state!)
    for (const key of [followers!, marks!]) {
      for (const [token, score] of pairs(key)) {
        assert.isAtMost(Number(score), expiryOf(key), `${token} lies beyond the expiry of its key`)
        if (entries.has(token)) assert.isAtMost(Number(score), expiryOf(state!), `${token} outlives its entry`)
      }
    }
    const ends = Number(entries.get("#ends") ?? 0)
    assert.isAtMost(ends + Number(entries.get("#ttl") ?? 0), expiryOf(state!), "the leader outlives its record")
    const leading = [...this.leads].filter(([, until]) => until > this.now)
    assert.isAtMost(leading.length, 1, "two lead")
    for (const [token, until] of leading) {
      assert.strictEqual(entries.get("#leader"), token)
      assert.isAtLeast(ends, until, `${token} was told more than there is`)
    }
  }

  /** All who ever came leave, and nobody stops them: in the end nothing is left. */
  async end(): Promise<void> {
    this.leads.clear()
    for (let n = 0; n < this.made; n++) {
      await this.run(Flights.leaveFlight, { flight: this.flight, token: `t${n}`, buriedUntil: 0 }, 0)
    }
    await this.ask({ verb: "join", ttl: 1_000, keep: 0, gaveUp: null, refusedAt: 0 })
    assert.strictEqual(this.leads.size, 1, "who comes next leads")
    await this.judge()
    for (const [, expiresAt] of await this.see()) assert.notStrictEqual(expiresAt, -1, "a key stays for ever")
  }
}

describe("a script for flights that stops half-way, at any of its calls, and a key that is evicted", () => {
  it.live(
    "R44: nobody is told more than the keys bear out, one leads at a time, and in the end the next who comes leads",
    () =>
      Effect.gen(function*() {
        const client = yield* openClient(inject("redisUrl"))
        yield* Effect.promise(() => client.sadd(world.ears, "ear"))
        let refusals = 0
        const walks = FastCheck.asyncProperty(
          FastCheck.array(step, { minLength: 10, maxLength: 40 }),
          async (steps) => {
            const key = `${id}:${randomUUID()}`
            const walk = new Walk(client, [`${key}:state`, `${key}:followers`, `${key}:marks`, `${key}:outcomes`])
            for (const one of steps) await walk.take(one)
            await walk.end()
            refusals += walk.refusals
            await client.del(...walk.flight)
          }
        )
        yield* Effect.promise(() => FastCheck.assert(walks, { numRuns: 300, interruptAfterTimeLimit: 20_000 }))
        assert.isAbove(refusals, 20)
        yield* Effect.promise(() => client.del(world.clock, world.ears, world.log))
      }),
    60_000
  )
})
