/**
 * Pins the inferred error and requirement types, so that none slips into a signature unnoticed.
 * Nothing here runs: `npm run check` compiles it with ioredis 6, `npm run test-types` with ioredis 5.
 */
import type { DlockError, Lock } from "effect-dlock"
import { Dlock } from "effect-dlock"
import * as Effect from "effect/Effect"
import { expectTypeOf } from "vitest"

type AcquireError = DlockError.LockAcquisitionError | DlockError.BackendError | DlockError.InvalidKeyError

expectTypeOf(Effect.scoped(Dlock.once("k"))).toEqualTypeOf<Effect.Effect<Lock.Lock, AcquireError, Dlock.Dlock>>()

expectTypeOf(Effect.succeed(1).pipe(Dlock.withLock("k")))
  .toEqualTypeOf<Effect.Effect<number, AcquireError | DlockError.LockLostError, Dlock.Dlock>>()

expectTypeOf(Dlock.withLock(Effect.succeed(1), "k"))
  .toEqualTypeOf<Effect.Effect<number, AcquireError | DlockError.LockLostError, Dlock.Dlock>>()
