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
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import type { BackendError, LockAcquisitionError } from "../../DlockError.js"
import type { Attempt, Engine, Request, Restore } from "./engine.js"
import type { Keeper } from "./keeper.js"
import * as Late from "./late.js"
import type { Lease, Terms } from "./lease.js"
import * as L from "./lease.js"
import * as Whole from "./whole.js"

interface Refused {
  readonly _tag: "Refused"
  readonly failed: NonEmptyReadonlyArray<LockAcquisitionError>
}

/** To be run as `Engine.acquire` is. A single claim is its business alone. */
export const acquire = <E>(
  engine: Engine,
  request: Request<E>,
  restore: Restore
): Effect.Effect<Lease, E | BackendError> =>
  request.claims.length === 1 || !request.waits
    ? engine.acquire(request, restore)
    : Effect.suspend(() => atOnce(engine, { request, restore, startedAt: engine.keeper.now(), late: undefined }))

const atOnce = <E>(engine: Engine, attempt: Attempt<E>): Effect.Effect<Lease, E | BackendError> => {
  const { request, restore, startedAt } = attempt
  const refuse = (failed: Refused["failed"]): Refused => ({ _tag: "Refused", failed })
  return Effect.catchTag(
    engine.acquire({ ...request, waits: false, refuse }, restore, startedAt),
    "Refused",
    ({ failed }) =>
      // Its time was over before the answer came.
      failed[0].reason === "Timeout" ? Effect.fail(request.refuse(failed)) : inTurn(engine, attempt)
  )
}

const inTurn = <E>(engine: Engine, attempt: Attempt<E>): Effect.Effect<Lease, E | BackendError> => {
  const { request, restore, startedAt } = attempt
  const beganAt = engine.keeper.now()
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
      if (lease === undefined) return again(engine, attempt, parts, beganAt)
      if (request.terms.renew) return Effect.succeed(lease)
      return Whole.extend(engine, attempt, lease, Effect.suspend(() => atOnce(engine, attempt)))
    }
  })
}

/** A key that was renewed before it was lost says nothing about the ttl. */
const again = <E>(
  engine: Engine,
  attempt: Attempt<E>,
  parts: ReadonlyArray<Lease>,
  beganAt: number
): Effect.Effect<Lease, E | BackendError> => {
  const now = engine.keeper.now()
  const late = parts.some(L.isTooShort) ? { since: attempt.late?.since ?? now, tookMillis: now - beganAt } : undefined
  for (const part of parts) engine.giveBack(part)
  const next = { ...attempt, late }
  const what = `taking ${parts.length} keys one after the other`
  return Late.unlessInVain(engine, next, what, atOnce(engine, next))
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
