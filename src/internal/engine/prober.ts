/**
 * Has it checked that messages arrive, while somebody waits for one.
 *
 * Invariant: while somebody waits, the next check is at most `probeEveryMillis` away. Whoever begins to wait after a quiet
 * time is spared it for a moment, as most are told before that. But not twice in a row: many short waits without a
 * message are what a dead subscriber looks like.
 */
import * as Timing from "./timing.js"

export class Prober {
  waiting = 0
  at = 0
  spared = false

  constructor(readonly probe: () => void) {}

  /** So many more wait, or less. The answer is when to ring at the latest. */
  moved(more: number, now: number): number {
    const wasQuiet = this.waiting === 0
    this.waiting += more
    if (!wasQuiet || more <= 0) return Infinity
    if (this.at <= now && !this.spared) {
      this.at = now + Timing.probeAfterMillis
      this.spared = true
    }
    return this.at
  }

  /** The answer is when to ring next. */
  ring(now: number): number {
    if (this.waiting === 0) return Infinity
    if (now >= this.at) {
      this.at = now + Timing.probeEveryMillis
      this.spared = false
      this.probe()
    }
    return this.at
  }
}
