/** What a caller is told when the store did not say it. */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import { BackendError, LockAcquisitionError } from "../../DlockError.js"
import { said } from "../said.js"
import type { Holder } from "../store.js"

export const notAcquired = (
  key: string,
  reason: LockAcquisitionError["reason"],
  waited: Duration.Duration,
  holder?: Holder | undefined
): LockAcquisitionError =>
  new LockAcquisitionError({
    key,
    reason,
    waited,
    ...(holder?.metadata ? { holder: holder.metadata } : {}),
    ...(holder ? { retryAfter: Duration.millis(holder.endsMillis) } : {})
  })

export const overLimit = (
  key: string,
  permits: number,
  requested: number,
  waited: Duration.Duration
): LockAcquisitionError => new LockAcquisitionError({ key, reason: "OverLimit", permits, requested, waited })

const backendError = (
  operation: string,
  reason: BackendError["reason"],
  outcome: BackendError["outcome"],
  words: string
) => new BackendError({ operation, reason, outcome, cause: said(words) })

export const closed = (operation = "acquire"): BackendError =>
  backendError(operation, "Unreachable", "NotApplied", "the Dlock layer is closed")

export const tooSlow = (ttlMillis: number, what: string, tookMillis: number, operation = "acquire"): BackendError =>
  backendError(
    operation,
    "Timeout",
    "Unknown",
    `\`ttl\` (${Duration.format(Duration.millis(ttlMillis))}) is shorter than ${what} ` +
      `(${Duration.format(Duration.millis(Math.round(tookMillis)))}), so each lease is over before it can be used`
  )

export const silent = (): BackendError =>
  backendError("refresh", "Timeout", "Unknown", "no heartbeat was answered for as long as a waiter stays in the queue")

export const unheard = (): BackendError =>
  backendError(
    "refreshFlights",
    "Timeout",
    "Unknown",
    "nothing was heard of the flight for as long as a follower counts"
  )

/** Why a call of the store failed. A defect in it is no reason for anybody to wait for ever. */
export const ofCause = (cause: Cause.Cause<BackendError>): BackendError =>
  Option.getOrElse(
    Cause.findErrorOption(cause),
    () => backendError("join", "Unreachable", "Unknown", Cause.pretty(cause))
  )
