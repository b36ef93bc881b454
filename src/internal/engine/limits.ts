/** Says in the log that processes disagree about how many permits there are (R12). */
import * as Effect from "effect/Effect"
import type { Acquired } from "../store.js"

export class Limits {
  readonly warnedOf = new Set<string>()

  constructor(readonly fork: (effect: Effect.Effect<void>) => void) {}

  /** Once for each, not at every acquire of a busy semaphore. */
  warn(formerLimits: Acquired["formerLimits"]): void {
    for (const { claim, limit } of formerLimits) {
      const name = `${claim.kind}:${claim.key}`
      if (this.warnedOf.has(name)) continue
      this.warnedOf.add(name)
      this.fork(
        Effect.logWarning(
          `The semaphore "${claim.key}" is used with ${claim.limit} permits here and with ${limit} elsewhere. ` +
            "The latest to ask sets the limit. Give all processes the same number"
        ).pipe(Effect.annotateLogs({ package: "effect-dlock" }))
      )
    }
  }
}
