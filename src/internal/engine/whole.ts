/** A lease that is not renewed is to last for a whole ttl, also when it was granted for less: as to a waiter, or in parts. */
import * as Effect from "effect/Effect"
import type { BackendError } from "../../DlockError.js"
import type { Attempt, Engine } from "./engine.js"
import type { Lease } from "./lease.js"

/**
 * To be run in an uninterruptible region. Gives the lease back if it fails, and goes on with `again` when it was lost, or
 * asked for.
 */
export const extend = <E>(
  engine: Engine,
  { request, restore }: Attempt<E>,
  lease: Lease,
  again: Effect.Effect<Lease, E | BackendError>
): Effect.Effect<Lease, E | BackendError> =>
  restore(Effect.as(engine.extend(lease, request.terms.ttlMillis), lease)).pipe(
    Effect.onError(() => Effect.sync(() => engine.giveBack(lease))),
    Effect.catchTag("LockLostError", () => again)
  )
