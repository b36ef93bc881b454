/** Metrics, all of low cardinality: keys go into spans, never into tags. */
import * as Edition from "#edition"
import * as Metric from "effect/Metric"

const lateMessages = Metric.counter("dlock_messages_late_total", {
  description: "Pub/sub messages for calls of this process that had left or ended, and repeated ones",
  incremental: true
})

export const malformedMessages = Metric.counter("dlock_messages_malformed_total", {
  description: "Pub/sub messages that this library cannot have sent to this process",
  incremental: true
})

/** A message for nobody here. */
export const unexpectedMessage = (isOwnToken: boolean): void =>
  Edition.count(isOwnToken ? lateMessages : malformedMessages)

export const lost = Metric.counter("dlock_lost_total", {
  description: "Leases that ended before their scope, by reason",
  incremental: true
})

export const releaseFailures = Metric.counter("dlock_release_failures_total", {
  description: "Releases that Redis did not confirm at first; they are repeated in the background",
  incremental: true
})
