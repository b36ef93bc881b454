/** What a lease is asked for between its grant and the moment it is handed over. */
import * as Effect from "effect/Effect"
import type { BackendError, LockLostError } from "../../DlockError.js"
import type { Attempt, Engine, Restore } from "./engine.js"
import type { Lease } from "./lease.js"

/**
 * To be run in an uninterruptible region. Gives the lease back if that fails, and goes on with `again` when it was lost, or
 * asked for.
 */
export const first = <E>(
  engine: Engine,
  restore: Restore,
  lease: Lease,
  what: Effect.Effect<void, LockLostError | BackendError>,
  again: Effect.Effect<Lease, E | BackendError>
): Effect.Effect<Lease, E | BackendError> =>
  restore(Effect.as(what, lease)).pipe(
    Effect.onError(() => Effect.sync(() => engine.giveBack(lease))),
    Effect.catchTag("LockLostError", () => again)
  )

/** A lease that is not renewed is to last for a whole ttl, also when it was granted for less: as to a waiter, or in parts. */
export const extend = <E>(
  engine: Engine,
  { request, restore }: Attempt<E>,
  lease: Lease,
  again: Effect.Effect<Lease, E | BackendError>
): Effect.Effect<Lease, E | BackendError> =>
  first(engine, restore, lease, engine.extend(lease, request.terms.ttlMillis), again)
