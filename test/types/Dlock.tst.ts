import type * as Edition from "#edition"
/**
 * Pins the inferred error and requirement types, so that none slips into a signature unnoticed.
 * Nothing here runs: `npm run check` compiles it with ioredis 6, `npm run test-types` with ioredis 5.
 */
import type { DlockError, Lock, Operations, ReadWriteLock, Semaphore } from "effect-dlock"
import { Dlock } from "effect-dlock"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Option from "effect/Option"
import { expectTypeOf } from "vitest"

type AcquireError = DlockError.LockAcquisitionError | DlockError.BackendError | DlockError.InvalidKeyError

expectTypeOf(Effect.scoped(Dlock.once("k"))).toEqualTypeOf<Effect.Effect<Lock.Lock, AcquireError, Dlock.Dlock>>()

expectTypeOf(Effect.succeed(1).pipe(Dlock.withLock("k")))
  .toEqualTypeOf<Effect.Effect<number, AcquireError | DlockError.LockLostError, Dlock.Dlock>>()

expectTypeOf(Dlock.withLock(Effect.succeed(1), "k"))
  .toEqualTypeOf<Effect.Effect<number, AcquireError | DlockError.LockLostError, Dlock.Dlock>>()

// A function of the handle in place of the effect.

expectTypeOf(Dlock.withLock((lock) => Effect.succeed(lock.fencingToken), "k"))
  .toEqualTypeOf<Effect.Effect<number, AcquireError | DlockError.LockLostError, Dlock.Dlock>>()

expectTypeOf(Dlock.withLock("k", { ttl: "1 second" })((lock) => lock.extend("1 minute")))
  .toEqualTypeOf<Effect.Effect<void, AcquireError | DlockError.LockLostError, Dlock.Dlock>>()

expectTypeOf(Effect.fail("no" as const).pipe(Dlock.withLock("k")))
  .toEqualTypeOf<Effect.Effect<never, "no" | AcquireError | DlockError.LockLostError, Dlock.Dlock>>()

class Prices extends Context.Service<Prices, ReadonlyArray<number>>()("test/Prices") {}

// A tag is an effect, and a class besides.
expectTypeOf(Dlock.withLock(Prices, "k"))
  .toEqualTypeOf<
    Effect.Effect<ReadonlyArray<number>, AcquireError | DlockError.LockLostError, Dlock.Dlock | Prices>
  >()

type TryError = DlockError.BackendError | DlockError.InvalidKeyError | DlockError.LockLostError

expectTypeOf(Effect.succeed(1).pipe(Dlock.withLockIfAvailable("k")))
  .toEqualTypeOf<Effect.Effect<Option.Option<number>, TryError, Dlock.Dlock>>()

expectTypeOf(Dlock.withLockIfAvailable((lock) => Effect.succeed(lock.key), "k", { ttl: "1 second" }))
  .toEqualTypeOf<Effect.Effect<Option.Option<string>, TryError, Dlock.Dlock>>()

// @ts-expect-error no function of the handle
Dlock.withLock((key: string) => Effect.succeed(key), "k")

// @ts-expect-error no effect
Dlock.withLock(1, "k")

type MultiError = DlockError.MultiLockError | DlockError.BackendError | DlockError.InvalidKeyError
type PermitError = DlockError.LockAcquisitionError | DlockError.BackendError

expectTypeOf(Effect.scoped(Dlock.multi("a", ["b", "c"]))).toEqualTypeOf<
  Effect.Effect<Lock.MultiLock, MultiError, Dlock.Dlock>
>()

// @ts-expect-error at least one key
Dlock.multi()

expectTypeOf(Dlock.withMulti(Effect.succeed(1), ["a", "b"], { wait: "1 second" }))
  .toEqualTypeOf<Effect.Effect<number, MultiError | DlockError.LockLostError, Dlock.Dlock>>()

expectTypeOf(Effect.succeed(1).pipe(Dlock.withMulti(["a", "b"])))
  .toEqualTypeOf<Effect.Effect<number, MultiError | DlockError.LockLostError, Dlock.Dlock>>()

expectTypeOf(Dlock.withMulti((lock) => Effect.succeed(lock.fencingTokens), ["a", "b"]))
  .toEqualTypeOf<Effect.Effect<ReadonlyMap<string, number>, MultiError | DlockError.LockLostError, Dlock.Dlock>>()

expectTypeOf(Dlock.semaphore("k", { permits: 2 }))
  .toEqualTypeOf<Effect.Effect<Semaphore.Semaphore, DlockError.InvalidKeyError, Dlock.Dlock>>()

declare const semaphore: Semaphore.Semaphore

expectTypeOf(Effect.scoped(semaphore.tryTake(2))).toEqualTypeOf<
  Effect.Effect<Option.Option<Lock.Lock>, PermitError>
>()

expectTypeOf(Effect.fail("no" as const).pipe(semaphore.withPermitsIfAvailable(1))).toEqualTypeOf<
  Effect.Effect<Option.Option<never>, "no" | PermitError | DlockError.LockLostError>
>()

expectTypeOf(semaphore.withPermits(1)((lock) => Effect.succeed(lock.token))).toEqualTypeOf<
  Effect.Effect<string, PermitError | DlockError.LockLostError>
>()

declare const both: ReadWriteLock.ReadWriteLock

expectTypeOf(Effect.scoped(both.write)).toEqualTypeOf<Effect.Effect<ReadWriteLock.WriteLock, PermitError>>()

expectTypeOf(both.withRead(Effect.succeed(1))).toEqualTypeOf<
  Effect.Effect<number, PermitError | DlockError.LockLostError>
>()

expectTypeOf(both.withWrite((lock) => lock.downgrade)).toEqualTypeOf<
  Effect.Effect<void, PermitError | DlockError.LockLostError>
>()

// @ts-expect-error a reader has no way back
both.withRead((lock) => lock.downgrade)

// The loss of the lease is the singleton's own business.
expectTypeOf(Dlock.singleton("k", Effect.fail("no" as const), { hold: "1 second" })).toEqualTypeOf<
  Effect.Effect<never, "no" | PermitError | DlockError.InvalidKeyError, Dlock.Dlock>
>()

expectTypeOf(Effect.fail("no" as const).pipe(Dlock.singleton("k", { hold: "1 second" }))).toEqualTypeOf<
  Effect.Effect<never, "no" | PermitError | DlockError.InvalidKeyError, Dlock.Dlock>
>()

expectTypeOf(Dlock.singleton("k", (lock) => Effect.succeed(lock.fencingToken))).toEqualTypeOf<
  Effect.Effect<number, PermitError | DlockError.InvalidKeyError, Dlock.Dlock>
>()

type LookError = DlockError.BackendError | DlockError.InvalidKeyError

expectTypeOf(Dlock.inspect("k")).toEqualTypeOf<Effect.Effect<Operations.PermitsInspection, LookError, Dlock.Dlock>>()

expectTypeOf(Dlock.inspect("k", "semaphore"))
  .toEqualTypeOf<Effect.Effect<Operations.PermitsInspection, LookError, Dlock.Dlock>>()

expectTypeOf(Dlock.inspect("k", "readWriteLock"))
  .toEqualTypeOf<Effect.Effect<Operations.ReadWriteInspection, LookError, Dlock.Dlock>>()

declare const kind: Dlock.Kind
expectTypeOf(Dlock.inspect("k", kind)).toEqualTypeOf<Effect.Effect<Dlock.Inspection, LookError, Dlock.Dlock>>()

expectTypeOf(Dlock.layerRedisConfig({
  url: Config.Redacted("URL"),
  prefix: Config.succeed("shop"),
  ttl: Config.Duration("TTL"),
  fanout: { maxPayloadBytes: Config.Int("BYTES") }
})).toEqualTypeOf<Layer.Layer<Dlock.Dlock, DlockError.BackendError | Edition.ConfigError>>()

expectTypeOf(Dlock.layerMemoryOptions({ ttl: "1 second" })).toEqualTypeOf<Layer.Layer<Dlock.Dlock>>()
