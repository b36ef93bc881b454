/** The assembly: options, keys, engine and store become the service. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import type * as Scope from "effect/Scope"
import type * as Dlock from "../Dlock.js"
import type { LockAcquisitionError, MultiLockError } from "../DlockError.js"
import type * as Lock from "../Lock.js"
import * as Flights from "./engine/flights.js"
import * as EngineModule from "./engine/make.js"
import * as Fanout from "./fanout.js"
import type { Stores } from "./flightStore.js"
import { LockImpl, MultiLockImpl } from "./lock.js"
import type { Env, Keys } from "./locks.js"
import {
  goOnInside,
  guarded,
  guardedIfAvailable,
  multiRequestOf,
  orDie,
  requestOf,
  retrying,
  scoped,
  span
} from "./locks.js"
import * as Memory from "./memory/store.js"
import * as Operations from "./operations.js"
import * as Options from "./options.js"
import * as Outcome from "./outcome.js"
import * as ReadWriteLock from "./readWriteLock.js"
import type { Connection } from "./redis/gate.js"
import * as RedisStore from "./redis/store.js"
import type * as Reentrancy from "./reentrancy.js"
import * as Semaphore from "./semaphore.js"
import * as Singleton from "./singleton.js"
import type { Claim } from "./store.js"
import * as Tokens from "./tokens.js"

const defaults = { prefix: "dlock", ttl: "10 seconds", commandTimeout: "5 seconds", maxPayloadBytes: 2 ** 20 } as const

const oneClient = "effect-dlock: `PubSubLayer.layerClient` must be given a client of its own, not that of " +
  "`RedisLayer.layerClient`: what is subscribed can send nothing else. Use client.duplicate()"

export const makeRedis = (
  redis: Connection,
  pubSub: Connection,
  options: Dlock.Options
): Effect.Effect<Dlock.Service, never, Scope.Scope> =>
  Effect.gen(function*() {
    if (redis.client === pubSub.client) return yield* Effect.die(new TypeError(oneClient))
    const prefix = yield* orDie(Options.prefix(options.prefix ?? defaults.prefix))
    const commandTimeout = yield* commandTimeoutOf(options)
    const store = yield* RedisStore.make({ redis, pubSub, prefix, commandTimeout, inboxId: Tokens.makeSecret() })
    return yield* make(store, options, RedisStore.realm(redis, prefix))
  })

export const makeMemory = (options: Dlock.Options): Effect.Effect<Dlock.Service, never, Scope.Scope> =>
  Effect.gen(function*() {
    const server = yield* Memory.makeServer()
    return yield* make(yield* server.connect(Tokens.makeSecret()), options, server)
  })

const commandTimeoutOf = (options: Dlock.Options): Effect.Effect<Duration.Duration> =>
  Effect.map(
    orDie(Options.finiteMillis("commandTimeout", options.commandTimeout ?? defaults.commandTimeout)),
    Duration.millis
  )

/** Those of `fanout` and `push`. */
const makeFanout = (store: Stores, options: Dlock.Options, ttlMillis: number, commandTimeout: Duration.Duration) =>
  Effect.gen(function*() {
    const { maxPayloadBytes = defaults.maxPayloadBytes, retention } = options.fanout ?? {}
    const commandTimeoutMillis = Duration.toMillis(commandTimeout)
    const flights = yield* Flights.make({
      store: store.flights,
      commandTimeoutMillis,
      // As many random bits in fewer bytes: each outcome is sent with one.
      tokens: Tokens.make(() => Tokens.makeSecret().replaceAll("-", "")),
      refused: Outcome.fanoutError("Refused", "Redis would not take it"),
      interrupted: Outcome.interrupted
    })
    return Fanout.make(flights, {
      ttlMillis,
      commandTimeoutMillis,
      retentionMillis: retention === undefined
        ? 0
        : yield* orDie(Options.finiteMillis("fanout.retention", retention)),
      maxPayloadBytes: yield* orDie(Options.payloadBytes("fanout.maxPayloadBytes", maxPayloadBytes))
    })
  })

export const make = (
  store: Stores,
  options: Dlock.Options,
  realm: Reentrancy.Realm = store
): Effect.Effect<Dlock.Service, never, Scope.Scope> =>
  Effect.gen(function*() {
    const ttlMillis = yield* orDie(Options.finiteMillis("ttl", options.ttl ?? defaults.ttl))
    const commandTimeout = yield* commandTimeoutOf(options)
    const engine = yield* EngineModule.make({ store, commandTimeout, tokens: Tokens.make(Tokens.makeSecret) })
    const env: Env = { engine, realm, defaults: yield* orDie(Options.decode(undefined, ttlMillis)) }
    const { fanout, push } = yield* makeFanout(store, options, ttlMillis, commandTimeout)

    const once = (key: string, callOptions: Lock.Options | undefined) =>
      Effect.flatMap(
        requestOf(env, claimOf(key), callOptions, false),
        (asked) => retrying(env, asked, scoped(env, asked, LockImpl), options.retry, identity)
      )

    const lock = (key: string, callOptions: Lock.Options | undefined) =>
      Effect.flatMap(requestOf(env, claimOf(key), callOptions, true), (asked) => scoped(env, asked, LockImpl))

    const multi = (keys: ReadonlyArray<Keys>) =>
      Effect.flatMap(
        multiRequestOf(env, keys, undefined, false),
        (asked) => retrying(env, asked, scoped(env, asked, MultiLockImpl), options.retry, firstOf)
      )

    return {
      once: (key, callOptions) => once(key, callOptions).pipe(span("once", key), goOnInside(env)),
      lock: (key, callOptions) => lock(key, callOptions).pipe(span("lock", key), goOnInside(env)),
      withLock: (body, key, callOptions) =>
        Effect.flatMap(requestOf(env, claimOf(key), callOptions, true), (asked) => guarded(env, asked, body, LockImpl))
          .pipe(span("withLock", key)),
      withLockIfAvailable: (body, key, callOptions) =>
        Effect.flatMap(
          requestOf(env, claimOf(key), callOptions, false),
          (asked) => guardedIfAvailable(env, asked, body, LockImpl)
        ).pipe(span("withLockIfAvailable", key)),
      multi: (keys) => multi(keys).pipe(span("multi", keys), goOnInside(env)),
      withMulti: (body, keys, callOptions) =>
        Effect.flatMap(multiRequestOf(env, [keys], callOptions, true), (asked) =>
          guarded(env, asked, body, MultiLockImpl)).pipe(
            span("withMulti", keys)
          ),
      semaphore: (key, callOptions) =>
        Semaphore.make(env, key, callOptions),
      readWriteLock: (key, callOptions) => ReadWriteLock.make(env, key, callOptions),
      singleton: (key, body, callOptions) => Singleton.run(env, key, body, callOptions).pipe(span("singleton", key)),
      fanout: (id, job, callOptions) => fanout(id, job, callOptions).pipe(span("fanout", id)),
      push: (id, onCompleted, callOptions) => push(id, onCompleted, callOptions).pipe(span("push", id)),
      inspect: (key, kind) => Operations.inspect(store, key, kind).pipe(span("inspect", key)),
      forceRelease: (key, kind = "lock") => Operations.revoke(engine, key, kind, false).pipe(span("forceRelease", key)),
      askRelease: (key, kind = "lock") => Operations.revoke(engine, key, kind, true).pipe(span("askRelease", key))
    }
  })

const firstOf = ({ failed }: MultiLockError): LockAcquisitionError => failed[0]

const claimOf = (key: string): Claim => ({ kind: "lock", key, permits: 1, limit: 1 })
