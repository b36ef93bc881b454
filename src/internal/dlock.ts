/** The assembly: options, keys, engine and store become the service. */
import * as Context from "effect/Context"
import * as DefaultServices from "effect/DefaultServices"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import type * as Dlock from "../Dlock.js"
import type { BackendError, InvalidKeyError, LockAcquisitionError } from "../DlockError.js"
import type * as Lock from "../Lock.js"
import type { Engine, Request } from "./engine/engine.js"
import * as EngineModule from "./engine/engine.js"
import type { Lease } from "./engine/lease.js"
import * as Key from "./key.js"
import { guard, LockImpl } from "./lock.js"
import * as Memory from "./memory/store.js"
import * as Options from "./options.js"
import type { Connection } from "./redis/link.js"
import * as RedisStore from "./redis/store.js"
import type { Store, Target } from "./store.js"
import * as Telemetry from "./telemetry.js"

type AcquireError = LockAcquisitionError | BackendError | InvalidKeyError

const defaults = { prefix: "dlock", ttl: "10 seconds", commandTimeout: "5 seconds" } as const

/** A secret of 122 random bits. */
const makeSecret = (): string => globalThis.crypto.randomUUID()

export const makeRedis = (
  redis: Connection,
  pubSub: Connection,
  options: Dlock.Options
): Effect.Effect<Dlock.Service, never, Scope.Scope> =>
  Effect.flatMap(commandTimeoutOf(options), (commandTimeout) =>
    Effect.flatMap(
      RedisStore.make({
        redis,
        pubSub,
        prefix: options.prefix ?? defaults.prefix,
        commandTimeout,
        inboxId: makeSecret()
      }),
      (store) => make(store, options)
    ))

export const makeMemory = (options: Dlock.Options): Effect.Effect<Dlock.Service, never, Scope.Scope> =>
  Memory.makeServer.pipe(
    Effect.flatMap((server) => server.connect(makeSecret())),
    Effect.flatMap((store) => make(store, options))
  )

const commandTimeoutOf = (options: Dlock.Options): Effect.Effect<Duration.Duration> =>
  Effect.map(
    orDie(Options.finiteMillis("commandTimeout", options.commandTimeout ?? defaults.commandTimeout)),
    Duration.millis
  )

export const make = (store: Store, options: Dlock.Options): Effect.Effect<Dlock.Service, never, Scope.Scope> =>
  Effect.gen(function*() {
    const ttlMillis = yield* orDie(Options.finiteMillis("ttl", options.ttl ?? defaults.ttl))
    const commandTimeout = yield* commandTimeoutOf(options)
    const engine = yield* EngineModule.make({ store, commandTimeout, makeToken: makeSecret })

    const requestOf = (
      key: string,
      callOptions: Lock.Options | undefined,
      waits: boolean
    ): Effect.Effect<Request, InvalidKeyError> => {
      const valid = Key.validate(key)
      if (Either.isLeft(valid)) return Effect.fail(valid.left)
      const decoded = Options.decode(callOptions, ttlMillis)
      if (Either.isLeft(decoded)) return Effect.die(decoded.left)
      return Effect.succeed({
        ...decoded.right,
        waitMillis: waits && decoded.right.waitMillis > 0 ? decoded.right.waitMillis : undefined,
        claims: [{ kind: "lock", key, permits: 1, limit: 1 }]
      })
    }

    const scoped = (key: string, callOptions: Lock.Options | undefined, waits: boolean) =>
      Effect.flatMap(requestOf(key, callOptions, waits), (request) => acquireScoped(engine, request))

    const inspect: Dlock.Service["inspect"] = (key) =>
      Effect.flatMap(Key.validate(key), (key) => Effect.map(store.inspect(target(key)), toInspection(key)))

    return {
      once: (key, callOptions) => retrying(scoped(key, callOptions, false), options.retry).pipe(span("once", key)),
      lock: (key, callOptions) => scoped(key, callOptions, true).pipe(span("lock", key)),
      withLock: (effect, key, callOptions) =>
        Effect.flatMap(requestOf(key, callOptions, true), (request) => withLease(engine, request, effect)).pipe(
          span("withLock", key)
        ),
      inspect: (key) => inspect(key).pipe(span("inspect", key)),
      forceRelease: (key) =>
        Effect.flatMap(inspect(key), ({ holders }) => {
          const fence = Math.max(0, ...holders.map((holder) => holder.fencingToken))
          return Effect.map(store.revoke(target(key), fence), ({ answer, unsettled }) => {
            engine.keeper.options.settle(unsettled)
            return answer
          })
        }).pipe(span("forceRelease", key))
    }
  })

const target = (key: string): Target => ({ kind: "lock", key })

const orDie = <A>(decoded: Either.Either<A, Options.Mistake>): Effect.Effect<A> =>
  Either.isLeft(decoded) ? Effect.die(decoded.left) : Effect.succeed(decoded.right)

/** Effect's own tracer keeps spans that nobody reads. */
const nativeTracer = Context.get(DefaultServices.liveServices, Tracer.Tracer)

/** One span for a public operation, where somebody collects spans. */
const span = (operation: string, key: unknown) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.withFiberRuntime((fiber) =>
    fiber.currentTracer === nativeTracer
      ? effect
      // SAFETY: `withSpan` takes the span out of the requirements, and no effect here has one there.
      : Effect.withSpan(effect, `Dlock.${operation}`, {
        attributes: { "dlock.key": key },
        captureStackTrace: false
      }) as Effect.Effect<A, E, R>
  )

/** I2: from the grant to the finalizer nothing can interrupt. */
const acquireScoped = (
  engine: Engine,
  request: Request
): Effect.Effect<Lock.Lock, LockAcquisitionError | BackendError, Scope.Scope> =>
  Effect.scopeWith((scope) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(engine.acquire(request, restore), (lease) =>
        Effect.as(
          Scope.addFinalizer(scope, releaseQuietly(engine, lease)),
          new LockImpl(engine, lease, fenceOf(lease))
        ))
    )
  )

const withLease = <A, E, R>(engine: Engine, request: Request, effect: Effect.Effect<A, E, R>) =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(
      engine.acquire(request, restore),
      (lease) =>
        Effect.flatMap(Effect.exit(restore(guard(engine, lease, effect))), (exit) =>
          Effect.zipRight(releaseQuietly(engine, lease), exit))
    )
  )

const fenceOf = (lease: Lease): number => lease.state._tag === "Held" ? lease.state.fences[0] ?? 0 : 0

/** A finalizer has nobody to fail to. The release goes on in the background, and the ttl is behind it. */
const releaseQuietly = (engine: Engine, lease: Lease): Effect.Effect<void> =>
  Effect.catchAll(engine.release(lease), (error) => {
    Telemetry.releaseFailures.unsafeUpdate(1, [])
    return Effect.logWarning("A lock was not released at once; trying again in the background", error).pipe(
      Effect.annotateLogs({ package: "effect-dlock" })
    )
  })

/** Only "held" is worth another try by schedule: the other errors have other remedies. */
const retrying = <A, R>(
  acquire: Effect.Effect<A, AcquireError, R>,
  schedule: Schedule.Schedule<unknown, LockAcquisitionError> | undefined
): Effect.Effect<A, AcquireError, R> =>
  schedule === undefined ? acquire : acquire.pipe(
    Effect.map(Effect.succeed),
    Effect.catchAll((error): Effect.Effect<Effect.Effect<A, AcquireError>, LockAcquisitionError> =>
      error._tag === "LockAcquisitionError" ? Effect.fail(error) : Effect.succeed(Effect.fail(error))
    ),
    Effect.retry(schedule),
    Effect.flatten
  )

const toInspection =
  (key: string) => (found: Effect.Effect.Success<ReturnType<Store["inspect"]>>): Dlock.Inspection => ({
    key,
    waiting: found.waiting,
    lastFencingToken: found.lastFence,
    holders: found.holders.map(({ fence, metadata, remainingMillis }) => ({
      fencingToken: fence,
      remaining: Duration.millis(remainingMillis),
      metadata
    }))
  })
