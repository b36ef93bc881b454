/**
 * Pins the inferred error and requirement types, so that none slips into a signature unnoticed.
 * Nothing here runs: `npm run check` compiles it with ioredis 6, `npm run test-types` with ioredis 5.
 */
import type { DlockError, Lock, ReadWriteLock, Semaphore } from "effect-dlock"
import { Dlock } from "effect-dlock"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import { expectTypeOf } from "vitest"

type AcquireError = DlockError.LockAcquisitionError | DlockError.BackendError | DlockError.InvalidKeyError

expectTypeOf(Effect.scoped(Dlock.once("k"))).toEqualTypeOf<Effect.Effect<Lock.Lock, AcquireError, Dlock.Dlock>>()

expectTypeOf(Effect.succeed(1).pipe(Dlock.withLock("k")))
  .toEqualTypeOf<Effect.Effect<number, AcquireError | DlockError.LockLostError, Dlock.Dlock>>()

expectTypeOf(Dlock.withLock(Effect.succeed(1), "k"))
  .toEqualTypeOf<Effect.Effect<number, AcquireError | DlockError.LockLostError, Dlock.Dlock>>()

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

expectTypeOf(Dlock.semaphore("k", { permits: 2 }))
  .toEqualTypeOf<Effect.Effect<Semaphore.Semaphore, DlockError.InvalidKeyError, Dlock.Dlock>>()

declare const semaphore: Semaphore.Semaphore

expectTypeOf(Effect.scoped(semaphore.tryTake(2))).toEqualTypeOf<
  Effect.Effect<Option.Option<Lock.Lock>, PermitError>
>()

expectTypeOf(Effect.fail("no" as const).pipe(semaphore.withPermitsIfAvailable(1))).toEqualTypeOf<
  Effect.Effect<Option.Option<never>, "no" | PermitError | DlockError.LockLostError>
>()

declare const both: ReadWriteLock.ReadWriteLock

expectTypeOf(Effect.scoped(both.write)).toEqualTypeOf<Effect.Effect<ReadWriteLock.WriteLock, PermitError>>()

expectTypeOf(both.withRead(Effect.succeed(1))).toEqualTypeOf<
  Effect.Effect<number, PermitError | DlockError.LockLostError>
>()

// The loss of the lease is the singleton's own business.
expectTypeOf(Dlock.singleton("k", Effect.fail("no" as const), { hold: "1 second" })).toEqualTypeOf<
  Effect.Effect<never, "no" | PermitError | DlockError.InvalidKeyError, Dlock.Dlock>
>()
