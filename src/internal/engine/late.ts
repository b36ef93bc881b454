/**
 * A ttl that is shorter than the way to the store: whatever is granted is over before it can be used, and so it would be
 * the next time. Once, it may be that this process was paused.
 */
import * as Effect from "effect/Effect"
import type { BackendError } from "../../DlockError.js"
import type { JoinAnswer } from "../flightStore.js"
import type { AcquireAnswer } from "../store.js"
import { localEnd } from "./deadline.js"
import type { Attempt, Engine } from "./engine.js"
import * as Errors from "./errors.js"

/** All that the store gave since then was over too soon; and how long it took to have it, the last time. */
export interface Late {
  readonly since: number
  readonly tookMillis: number
}

/** After an answer of the store to what was asked at `sentAt`. */
export const after = (
  before: Late | undefined,
  sentAt: number,
  now: number,
  answer: AcquireAnswer | JoinAnswer
): Late | undefined => {
  const isOver = "remainingMillis" in answer
    ? localEnd(sentAt, answer.remainingMillis) <= now
    : answer._tag === "Gone"
  return isOver ? { since: before?.since ?? now, tookMillis: now - sentAt } : undefined
}

export const isInVain = (late: Late | undefined, now: number, commandTimeoutMillis: number): late is Late =>
  late !== undefined && now >= late.since + commandTimeoutMillis

/** Asks anew, unless that has been in vain for `commandTimeout`. */
export const unlessInVain = <A, E>(
  engine: Engine,
  { late, request }: Pick<Attempt<E>, "late" | "request">,
  what: string,
  again: Effect.Effect<A, E | BackendError>
): Effect.Effect<A, E | BackendError> =>
  Effect.suspend(() =>
    isInVain(late, engine.keeper.now(), engine.commandTimeoutMillis)
      ? Effect.fail(Errors.tooSlow(request.terms.ttlMillis, what, late.tookMillis))
      : again
  )
