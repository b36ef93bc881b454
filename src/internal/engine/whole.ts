/** A lease that is not renewed is to last for a whole ttl, also when it was granted for less: as to a waiter, or in parts. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { BackendError } from "../../DlockError.js"
import type { Attempt, Engine } from "./engine.js"
import type { Lease } from "./lease.js"

/** Not for longer than the caller waits. */
export const inTime = <A, E, F>(
  engine: Engine,
  { request, startedAt }: Pick<Attempt<E>, "request" | "startedAt">,
  now: number,
  effect: Effect.Effect<A, F>
): Effect.Effect<A, E | F> => {
  const left = startedAt + request.waitMillis - now
  return left === Infinity ? effect : Effect.timeoutFail(effect, {
    duration: Duration.millis(left),
    onTimeout: () => engine.timedOut(request, startedAt)
  })
}

/**
 * To be run in an uninterruptible region. Gives the lease back if it fails, and goes on with `again` when it was lost, or
 * asked for.
 */
export const extend = <E>(
  engine: Engine,
  attempt: Attempt<E>,
  lease: Lease,
  again: Effect.Effect<Lease, E | BackendError>
): Effect.Effect<Lease, E | BackendError> => {
  const giveBack = Effect.sync(() => engine.giveBack(lease))
  const extended = Effect.as(engine.extend(lease, attempt.request.terms.ttlMillis), lease)
  return attempt.restore(inTime(engine, attempt, engine.keeper.now(), extended)).pipe(
    Effect.onError(() => giveBack),
    Effect.catchTag("LockLostError", () => again)
  )
}
