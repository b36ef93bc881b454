/**
 * The scripts as they are shipped, on the Redis in memory and on a real one, side by side: random traces over locks and
 * flights, in which Redis loses a key, is full, or refuses one command in the middle of a script.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FastCheck from "fast-check"
import type { Redis as Client } from "ioredis"
import * as Acquire from "../../../src/internal/redis/acquire.js"
import type { FlightKeys } from "../../../src/internal/redis/flights.js"
import * as Flights from "../../../src/internal/redis/flights.js"
import * as Operations from "../../../src/internal/redis/operations.js"
import type { LockKeys, Script } from "../../../src/internal/redis/script.js"
import * as Scripts from "../../../src/internal/redis/scripts.js"
import { onKeys } from "../../store/onKeys.js"
import { redisWith } from "../redisServer.js"
import { openClient, own, same, shown, toText } from "./real.js"
import { Redis, toBytes } from "./redis.js"

/** So far ahead of the real server's clock that no key expires there. */
const start = Date.now() + 3_600_000

const [clock, ears, log] = ["test:clock", "test:ears", "test:log"]

const scripts = [
  ...[Acquire.acquire, Scripts.refresh, Scripts.leave, Operations.lower, Operations.revoke, Operations.inspect],
  ...[Flights.join, Flights.refreshFlights, Flights.finish, Flights.refuse, Flights.leaveFlight, Flights.fetch]
] as ReadonlyArray<Script<any, unknown>>

const lockKeys = (n: number): LockKeys => {
  const key = `{lock}${n}`
  return [`${key}:fence`, `${key}:state`, `${key}:held`, `${key}:queue`, `${key}:alive`]
}
const flightKeys = (n: number): FlightKeys => {
  const key = `{flight}${n}`
  return [`${key}:state`, `${key}:followers`, `${key}:marks`, `${key}:outcomes`]
}
const allKeys = [0, 1].flatMap((n) => [...lockKeys(n), ...flightKeys(n)])

const token = FastCheck.integer({ min: 0, max: 4 }).map((n) => `T${n}`)
const one = FastCheck.constantFrom(0, 0, 0, 1)
const millis = FastCheck.constantFrom(50, 1_000, 30_000, 30_000)
const few = FastCheck.integer({ min: 1, max: 3 })
const subscribed = FastCheck.boolean()
const inbox = FastCheck.constantFrom("ear", "ear", "deaf")
const ahead = FastCheck.constantFrom(1_000, 1_000, 1_000, 1_000, 60, -1)
const payload = FastCheck.constantFrom("{}", "{\"a\":\"é\"}", `"${"x".repeat(70_000)}"`)
/** What goes wrong while a script runs: Redis is full, or refuses one command. */
const trouble = FastCheck.oneof(
  { weight: 10, arbitrary: FastCheck.constant("") },
  { weight: 1, arbitrary: FastCheck.constant("full") },
  {
    weight: 2,
    arbitrary: FastCheck.constantFrom("HSET", "ZADD", "SET", "HDEL", "ZREM", "DEL", "PEXPIREAT", "ZRANGE", "HMGET")
  }
)

const script = <In>(weight: number, script: Script<In, unknown>, input: FastCheck.Arbitrary<(now: number) => In>) => ({
  weight,
  arbitrary: FastCheck.tuple(input, trouble).map(([make, trouble]) => ({
    verb: "run" as const,
    trouble,
    name: script.name,
    shown: JSON.stringify(make(0)).slice(0, 300),
    make: (now: number) => {
      const given = make(now)
      return { keys: script.keys(given), args: script.args(given).map(String) }
    }
  }))
})

const step = FastCheck.oneof(
  script(
    10,
    Acquire.acquire,
    FastCheck.record({
      token,
      locks: FastCheck.oneof({ weight: 6, arbitrary: one.map((n) => [n]) }, {
        weight: 1,
        arbitrary: FastCheck.constant([0, 1])
      }),
      wait: FastCheck.boolean(),
      permits: FastCheck.oneof({ weight: 3, arbitrary: FastCheck.constant(1) }, { weight: 1, arbitrary: few }),
      limit: FastCheck.oneof({ weight: 9, arbitrary: FastCheck.constant(2) }, { weight: 1, arbitrary: few }),
      ttlMillis: millis,
      livenessMillis: millis,
      subscribed,
      inbox,
      ahead
    }).map((given) => (now: number) => ({
      ...given,
      locks: given.locks.map(lockKeys),
      claims: given.locks.map(() => ({ permits: Math.min(given.permits, given.limit), limit: given.limit })),
      wait: given.wait && given.locks.length === 1,
      notAfter: now + given.ahead,
      metadata: toBytes("of wörker 1")
    }))
  ),
  script(
    7,
    Scripts.leave,
    FastCheck.uniqueArray(FastCheck.record({ lock: FastCheck.constantFrom(0, 1), token, ahead }), {
      selector: ({ lock }) => lock,
      minLength: 1,
      maxLength: 2
    }).map((items) => (now: number) => ({
      locks: items.map(({ lock }) => lockKeys(lock)),
      items: items.map(({ ahead, token }, lock) => ({
        lock,
        token,
        time: ahead === 60 ? now + 500 : ahead === -1 ? -500 : 0
      }))
    }))
  ),
  script(
    5,
    Scripts.refresh,
    FastCheck.record({
      subscribed,
      items: FastCheck.array(
        FastCheck.record({ lock: FastCheck.constantFrom(0, 1), token, ttlMillis: millis, livenessMillis: millis }),
        { minLength: 1, maxLength: 3 }
      )
    }).map((given) => () => ({ ...given, locks: [lockKeys(0), lockKeys(1)] }))
  ),
  script(
    2,
    Operations.lower,
    FastCheck.record({ lock: one.map(lockKeys), token, permits: few }).map((one) => () => one)
  ),
  script(
    2,
    Operations.revoke,
    FastCheck.record({ lock: one.map(lockKeys), asks: FastCheck.boolean(), off: millis }).map(
      (given) => (now: number) => ({
        ...given,
        fence: now * 1_000 - given.off * 100
      })
    )
  ),
  script(1, Operations.inspect, one.map((n) => () => ({ lock: lockKeys(n) }))),
  script(
    9,
    Flights.join,
    FastCheck.record({
      flight: one.map(flightKeys),
      token,
      ttlMillis: millis,
      inbox,
      gaveUp: FastCheck.oneof({ weight: 5, arbitrary: FastCheck.constant("") }, { weight: 1, arbitrary: token }),
      keepMillis: FastCheck.constantFrom(0, 0, 500),
      ahead
    }).map((given) => (now: number) => ({ ...given, notAfter: now + given.ahead }))
  ),
  script(
    5,
    Flights.refreshFlights,
    FastCheck.array(FastCheck.record({ flight: one.map(flightKeys), token, ttlMillis: millis }), {
      minLength: 1,
      maxLength: 3
    }).map((items) => () => items)
  ),
  script(
    5,
    Flights.finish,
    FastCheck.record({
      flight: one.map(flightKeys),
      token,
      ahead,
      retentionMillis: millis,
      keepMillis: FastCheck.constantFrom(0, 0, 1_000),
      payload: payload.map(toBytes)
    }).map((given) => (now: number) => ({ ...given, notAfter: now + given.ahead }))
  ),
  script(1, Flights.refuse, FastCheck.record({ flight: one.map(flightKeys), token }).map((given) => () => given)),
  script(
    3,
    Flights.leaveFlight,
    FastCheck.record({ flight: one.map(flightKeys), token }).map((given) => (now: number) => ({
      ...given,
      buriedUntil: now + 500
    }))
  ),
  script(1, Flights.fetch, FastCheck.record({ flight: one.map(flightKeys), token }).map((given) => () => given)),
  {
    weight: 6,
    arbitrary: FastCheck.constantFrom(1, 49, 50, 1_000).map((millis) => ({ verb: "elapse" as const, millis }))
  },
  { weight: 2, arbitrary: FastCheck.constantFrom(...allKeys).map((key) => ({ verb: "lose" as const, key })) }
)

type Step = typeof step extends FastCheck.Arbitrary<infer A> ? A : never

const denied = "ERR The user executing the script can't run this command or subcommand"

/** As TIME replies it. */
const stampOf = (millis: number): [string, string] => [
  String(Math.floor(millis / 1_000)),
  String((millis % 1_000) * 1_000)
]

/** One trace, on both. */
class Trace {
  now = start
  private readonly told: Array<string> = []
  readonly fake: Redis

  constructor(
    readonly admin: Client,
    readonly client: Client,
    readonly shas: ReadonlyMap<string, string>,
    readonly seen: Map<string, number>
  ) {
    this.fake = new Redis({
      micros: () => this.now * 1_000,
      keysExpire: false,
      receivers: (channel) => Number(channel === "ear"),
      publish: (channel, message) => this.told.push(channel, message)
    })
  }

  async take(step: Step): Promise<void> {
    switch (step.verb) {
      case "run":
        return this.run(step)
      case "elapse":
        this.now += step.millis
        return
      case "lose":
        this.fake.database.delete(step.key)
        await this.admin.del(step.key)
        return
    }
  }

  private see(what: string): void {
    this.seen.set(what, (this.seen.get(what) ?? 0) + 1)
  }

  private async run({ make, name, trouble }: Extract<Step, { readonly verb: "run" }>): Promise<void> {
    const { lua } = scripts.find((script) => script.name === name)!
    const { args, keys } = make(this.now)
    const [isFull, isDenied] = [trouble === "full", trouble !== "" && trouble !== "full"]
    this.told.length = 0
    this.fake.isFull = isFull
    this.fake.guard = (name) => isDenied && name === trouble ? denied : undefined
    const count = String(keys.length)
    const fake = own(this.fake.call("EVAL", lua, count, ...keys, ...args))

    const { admin } = this
    const [clockNow, bytes] = [stampOf(this.now), args.map((arg) => Buffer.from(arg, "latin1"))]
    await admin.pipeline().del(log, clock).rpush(clock, ...clockNow).exec()
    if (isFull) await admin.config("SET", "maxmemory", "1")
    if (isDenied) await admin.acl("SETUSER", "app", `-${trouble}`)
    const real = await this.client.callBuffer("EVALSHA", this.shas.get(name)!, count, ...keys, ...bytes)
      .then(toText, shown)
    if (isFull) await admin.config("SET", "maxmemory", "0")
    if (isDenied) await admin.acl("SETUSER", "app", `+${trouble}`)

    const plain = (reply: unknown) =>
      // The sha of the script, and the line.
      typeof reply === "object" && reply !== null && "err" in reply
        ? String(reply.err).replace(/ script: .*/, "")
        : reply
    assert.deepStrictEqual(plain(fake), plain(real), `${name} ${args.join(" ").slice(0, 200)}`)
    // A full server takes no log of what is told.
    if (!isFull) assert.deepStrictEqual(this.told, toText(await admin.lrangeBuffer(log, 0, -1)))
    await same(allKeys, admin, this.fake)
    const outcome = Array.isArray(fake) ? this.told.length > 0 ? "tells" : "answers" : "fails"
    this.see(`${name} ${outcome}${isFull ? " when full" : isDenied ? " when denied" : ""}`)
  }
}

describe("the shipped scripts on the Redis in memory", () => {
  it.live(
    "answer, tell and leave behind what they do on a real one, also when they stop half-way",
    () =>
      Effect.gen(function*() {
        const { url } = yield* redisWith({ args: ["--maxmemory-policy", "noeviction"] })
        const admin = yield* openClient(url)
        const seen = new Map<string, number>()
        yield* Effect.promise(() => admin.acl("SETUSER", "app", "on", ">pass", "~*", "&*", "+@all"))
        const client = yield* openClient(url, { username: "app", password: "pass" })
        const shas = new Map<string, string>()
        for (const { lua, name } of scripts) {
          shas.set(
            name,
            yield* Effect.promise(() => admin.script("LOAD", onKeys(lua, { clock, ears, log })).then(String))
          )
        }
        const traces = FastCheck.array(step, { minLength: 20, maxLength: 60 })
        const property = FastCheck.asyncProperty(traces, async (steps) => {
          await admin.pipeline().flushall().sadd(ears, "ear").exec()
          const trace = new Trace(admin, client, shas, seen)
          for (const step of steps) await trace.take(step)
        })
        yield* Effect.promise(() => FastCheck.assert(property, { numRuns: 400, interruptAfterTimeLimit: 8_000 }))
        // Or it shows nothing.
        for (const { name } of scripts) assert.isAbove(seen.get(`${name} answers`) ?? 0, 0, name)
        for (const what of ["tells", "fails when full", "fails when denied", "answers when denied"]) {
          const count = [...seen].reduce((sum, [name, count]) => name.endsWith(` ${what}`) ? sum + count : sum, 0)
          assert.isAbove(count, 0, what)
        }
      }),
    40_000
  )
})
