/**
 * The local end of something that the store keeps for a while: a lease, or a place in the queue. Answers tell it, each
 * counted from before its command was sent (R5). Two bounds, of which the earlier counts (R43):
 *
 * - What was asked for: nothing is counted on for longer than a command has asked that was answered. A server whose clock
 *   went back says that more remains, until its clock is set right.
 * - What was told: nor for longer than the answer to the newest command says. A clock that went ahead has moved the end
 *   closer, and a replica that was promoted may know an earlier one.
 */

/** What two clocks may disagree on over that time: 1 %, and 2 ms for rounding. */
const drift = (millis: number): number => millis * 0.01 + 2

/** The local end of something of which the store said, in answer to a command sent at `sentAt`, how long it lasts. */
export const localEnd = (sentAt: number, remainingMillis: number): number =>
  sentAt + remainingMillis - drift(remainingMillis)

/** When to ask again: after a third of what was asked for at the latest, whatever the store says that remains (R43). */
export const askAgainAt = (sentAt: number, remainingMillis: number, askedMillis: number): number =>
  sentAt + Math.min(remainingMillis, askedMillis) / 3

/** Moves with the answers: an object for each renewal of thousands would be work for the collector. */
export class Deadline {
  constructor(private asked = -Infinity, private told = -Infinity, private toldAt = -Infinity) {}

  /** Of several that end together: as early as the earliest. */
  static earliest(all: ReadonlyArray<Deadline>): Deadline {
    return new Deadline(
      Math.min(...all.map(({ asked }) => asked)),
      Math.min(...all.map(({ told }) => told)),
      Math.max(...all.map(({ toldAt }) => toldAt))
    )
  }

  get at(): number {
    return Math.min(this.asked, this.told)
  }

  /** The answer to a command that was sent then, and asked for so much. */
  hear(sentAt: number, remainingMillis: number, askedMillis: number): Deadline {
    this.asked = Math.max(this.asked, localEnd(sentAt, Math.min(remainingMillis, askedMillis)))
    if (sentAt >= this.toldAt) {
      this.told = localEnd(sentAt, remainingMillis)
      this.toldAt = sentAt
    }
    return this
  }
}
