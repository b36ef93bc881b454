/** Metrics, all of low cardinality: keys go into spans, never into tags. */
import * as Metric from "effect/Metric"

export const droppedMessages = Metric.counter("dlock_messages_dropped_total", {
  description: "Pub/sub messages that this library cannot have sent",
  incremental: true
})

export const lost = Metric.counter("dlock_lost_total", {
  description: "Leases that ended before their scope, by reason",
  incremental: true
})

export const releaseFailures = Metric.counter("dlock_release_failures_total", {
  description: "Releases that Redis did not confirm at first; they are repeated in the background",
  incremental: true
})
