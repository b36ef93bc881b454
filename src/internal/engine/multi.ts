/**
 * Several claims as one lease.
 *
 *   all at once --granted-----------------------------------------------> Held
 *     |     ^                                                              ^
 *     |     +---one was lost on the way: give back the others---+          |
 *     | refused, and the caller waits                           |          |
 *     +--> one after the other, keeping those before ------all had, merged-+   (extended first, if it is not renewed)
 *
 * Invariants:
 * - Claims are in canonical order. Whoever waits while it holds waits only for a claim that comes later in the one order
 *   of all, so no circle of waiters can close (R20).
 * - Whatever ends the attempt other than with the merged lease gives back every part, in the background: a store that is
 *   silent must hold up neither a `wait` that is over nor an interruption.
 */
import * as Effect from "effect/Effect"
import type { BackendError, LockAcquisitionError } from "../../DlockError.js"
import type { Engine, Request, Restore } from "./engine.js"
import type { Keeper } from "./keeper.js"
import type { Lease, Terms } from "./lease.js"
import * as L from "./lease.js"
import * as Whole from "./whole.js"

interface Refused {
  readonly _tag: "Refused"
  readonly failed: ReadonlyArray<LockAcquisitionError>
}

/** To be run as `Engine.acquire` is. A single claim is its business alone. */
export const acquire = <E>(
  engine: Engine,
  request: Request<E>,
  restore: Restore
): Effect.Effect<Lease, E | BackendError> =>
  request.claims.length === 1 || !request.waits
    ? engine.acquire(request, restore)
    : Effect.suspend(() => attempt(engine, request, restore, engine.keeper.now()))

const attempt = <E>(
  engine: Engine,
  request: Request<E>,
  restore: Restore,
  startedAt: number
): Effect.Effect<Lease, E | BackendError> => {
  const refuse = (failed: ReadonlyArray<LockAcquisitionError>): Refused => ({ _tag: "Refused", failed })
  return Effect.catchTag(
    engine.acquire({ ...request, waits: false, refuse }, restore, startedAt),
    "Refused",
    ({ failed: [first] }) =>
      // Its time may have been over before an answer came.
      first?.reason === "Timeout"
        ? Effect.fail(request.refuse([first]))
        : inTurn(engine, request, restore, startedAt)
  )
}

const inTurn = <E>(
  engine: Engine,
  request: Request<E>,
  restore: Restore,
  startedAt: number
): Effect.Effect<Lease, E | BackendError> => {
  const parts: Array<Lease> = []
  // The terms that limit how long it is held begin when all are had.
  const terms = { ...request.terms, renew: true, maxHoldMillis: Infinity }
  const take = (claim: Request<E>["claims"][number]) =>
    Effect.map(engine.acquire({ ...request, terms, claims: [claim] }, restore, startedAt), (part) => parts.push(part))
  return Effect.matchCauseEffect(Effect.forEach(request.claims, take, { discard: true }), {
    onFailure: (cause) => {
      for (const part of parts) engine.giveBack(part)
      return Effect.failCause(cause)
    },
    onSuccess: () => {
      const lease = merge(engine.keeper, parts, request.terms)
      const again = Effect.suspend(() => attempt(engine, request, restore, startedAt))
      if (lease === undefined) {
        for (const part of parts) engine.giveBack(part)
        return again
      }
      if (request.terms.renew) return Effect.succeed(lease)
      return Whole.extend(engine, { request, restore, startedAt }, lease, again)
    }
  })
}

/** Makes one lease of several: from here on they are kept, lost and given back together. */
const merge = (keeper: Keeper, parts: ReadonlyArray<Lease>, terms: Terms): Lease | undefined => {
  const now = keeper.now()
  // R20: one of them may have been lost while the others were waited for.
  if (parts.some((part) => keeper.endIfDue(part, now))) return undefined
  const merged = L.merge(parts, terms, now)
  if (merged === undefined) return undefined
  const [lease, held] = merged
  for (const part of parts) {
    keeper.drop(part)
    keeper.leases.set(part.token, lease)
  }
  keeper.become(lease, held)
  return lease
}
