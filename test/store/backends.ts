/** The backends that the suites run on: the store in memory, and the one on a real Redis. */
import * as TestEdition from "#test-edition"
import { assert } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import { Redis } from "ioredis"
import { randomUUID } from "node:crypto"
import * as Key from "../../src/internal/key.js"
import * as Memory from "../../src/internal/memory/store.js"
import * as Acquire from "../../src/internal/redis/acquire.js"
import * as Connection from "../../src/internal/redis/connection.js"
import * as Flights from "../../src/internal/redis/flights.js"
import * as Operations from "../../src/internal/redis/operations.js"
import type { LockKeys, Script } from "../../src/internal/redis/script.js"
import * as Scripts from "../../src/internal/redis/scripts.js"
import * as RedisStore from "../../src/internal/redis/store.js"
import type { Target } from "../../src/internal/store.js"
import { waitFor } from "../support/redisSpy.js"
import type { Process, Server } from "./world.js"

const dayMillis = 86_400_000

export const memory: Effect.Effect<Server> = Effect.map(Memory.makeServer(dayMillis), (server) => ({
  connect: Effect.gen(function*() {
    const ear = yield* Scope.fork(yield* Effect.scope, "sequential")
    const store = yield* server.connect(randomUUID()).pipe(Scope.provide(ear))
    assert.deepStrictEqual(yield* Queue.take(store.inbox), { _tag: "Subscribed" })
    return { store, deafen: Scope.close(ear, Exit.void) }
  }).pipe(Effect.orDie),
  lose: ({ key, kind }) => Effect.sync(() => void server.locks.delete(`${kind}:${key}`))
}))

export interface RedisProcess extends Process {
  readonly client: Redis
  readonly inbox: string
}

export interface RedisOptions {
  readonly prefix?: string
  readonly commandTimeout?: Duration.Input
  /** Where its subscriber connects, when not where its commands go. */
  readonly pubSubUrl?: string
  /** Without asking the server anything before. */
  readonly silent?: boolean
}

/** A connection as `RedisLayer.layer` opens it. */
export const open = (url: string) =>
  Effect.orDie(Connection.open("test", (options) => new Redis(url, options))).pipe(
    TestEdition.silent
  )

/** A client as tests need it to look at the server themselves. */
export const openClient = (url: string): Effect.Effect<Redis, never, Scope.Scope> =>
  Effect.map(open(url), ({ client }) => client)

export const connectRedis = (
  url: string,
  options: RedisOptions = {}
): Effect.Effect<RedisProcess, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { commandTimeout = "5 seconds", prefix = "test", pubSubUrl = url, silent = false } = options
    const inboxId = randomUUID()
    const ear = yield* Scope.fork(yield* Effect.scope, "sequential")
    const redis = yield* open(url)
    const pubSub = yield* Scope.provide(open(pubSubUrl), ear)
    const store = yield* RedisStore.make({
      redis,
      pubSub,
      prefix,
      commandTimeout: Duration.fromInputUnsafe(commandTimeout),
      inboxId
    })
    assert.deepStrictEqual(yield* Queue.take(store.inbox), { _tag: "Subscribed" })
    // Its first acquire would ask for the server's time before it is sent.
    if (!silent) yield* store.inspect({ kind: "lock", key: inboxId })
    const inbox = `${Key.encodePrefix(prefix)}:inbox:${inboxId}`
    const unheard = () => redis.client.pubsub("NUMSUB", inbox).then((reply) => reply[1] === 0)
    const deafen = Effect.andThen(Scope.close(ear, Exit.void), Effect.promise(() => waitFor(unheard)))
    return { store, client: redis.client, inbox, deafen }
  }).pipe(Effect.orDie, TestEdition.silent)

/** The Redis keys of a lock, as they are named in every release. */
export const keysOf = ({ key, kind }: Target, prefix = "test"): LockKeys => {
  const name = `${Key.encodePrefix(prefix)}:${kind}:${Key.encodeKey(key)}`
  return [`${name}:fence`, `${name}:state`, `${name}:held`, `${name}:queue`, `${name}:alive`]
}

/** The Redis keys of a flight, as they are named in every release. */
export const flightKeysOf = (id: string, prefix = "test"): Flights.FlightKeys => {
  const name = `${Key.encodePrefix(prefix)}:flight:${Key.encodeKey(id)}`
  return [`${name}:state`, `${name}:followers`, `${name}:marks`, `${name}:outcomes`]
}

/** With them loaded, commands that are sent together are carried out in that order. */
export const loadScripts = (client: Redis): Effect.Effect<void> => {
  const scripts = [
    ...[Acquire.acquire, Scripts.refresh, Scripts.leave, Operations.lower, Operations.revoke, Operations.inspect],
    ...[Flights.join, Flights.refreshFlights, Flights.finish, Flights.refuse, Flights.leaveFlight, Flights.fetch]
  ]
  return Effect.promise(async () => {
    for (const { lua } of scripts) await client.script("LOAD", lua)
  })
}

export const redis = (url: string): Effect.Effect<Server, never, Scope.Scope> =>
  Effect.gen(function*() {
    const client = yield* openClient(url)
    yield* loadScripts(client)
    return {
      connect: connectRedis(url),
      lose: (target) => Effect.promise(() => client.del(...keysOf(target)))
    }
  })

/** Runs a script as any process may, or as a late copy of a command would run. */
export const send = async <In, Reply>(client: Redis, script: Script<In, Reply>, input: In): Promise<Reply> => {
  const keys = script.keys(input)
  return Result.getOrThrow(script.decode(await client.eval(script.lua, keys.length, ...keys, ...script.args(input))))
}
