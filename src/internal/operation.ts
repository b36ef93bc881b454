/** What an operation is called where it fails: a caller knows the name that it called, and not the steps that this takes. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import { BackendError } from "../DlockError.js"
import * as CallSite from "./callSite.js"

/** The errors of these have not been named yet. Those of a caller's own effect have, by the call that failed in it. */
const steps: ReadonlySet<string> = new Set([
  ...["acquire", "refresh", "leave", "lower", "revoke", "look"],
  ...["join", "refreshFlights", "finish", "refuse", "leaveFlight", "fetch"]
])

export const rename = (error: BackendError, operation: string): BackendError => {
  const { cause, outcome, reason } = error
  return steps.has(error.operation) ? new BackendError({ operation, reason, outcome, cause }) : error
}

export const named = (operation: string) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.catchCause(effect, (cause) => {
    // SAFETY: where a BackendError is one of the errors, so is every other.
    const rightly = (error: E) => error instanceof BackendError ? rename(error, operation) as E & BackendError : error
    const told = Cause.map(cause, rightly)
    CallSite.show(told, "")
    return Effect.failCause(told)
  })
