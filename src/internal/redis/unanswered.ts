/**
 * Acquires without an answer on the connection that they were first sent on (R15). The network may keep a copy of one and
 * deliver it after its leave, when the leave ran on a later connection; only then is a tombstone worth its memory. Past
 * `notAfter` the server refuses the copy itself (R3).
 */
export interface Unanswered {
  readonly sent: (token: string, notAfter: number) => void
  /** Counts only on the connection that it was sent on: an answer on another one is the answer to another copy. */
  readonly answered: (token: string) => void
  /** Until when the token's tombstone must stand, by the server's clock; 0 for none. */
  readonly buriedUntil: (token: string) => number
}

export const make = (
  epoch: () => number,
  /** An upper bound that may be too high by one slow reply, so by `slackMillis` at most. */
  serverMillis: () => number,
  slackMillis: number
): Unanswered => {
  const acquires = new Map<string, { readonly epoch: number; readonly notAfter: number }>()
  return {
    sent: (token, notAfter) => {
      // In order of `notAfter`, so the first that may still matter ends the clean-up.
      for (const [old, acquire] of acquires) {
        if (acquire.notAfter + slackMillis >= serverMillis()) break
        acquires.delete(old)
      }
      acquires.set(token, { epoch: epoch(), notAfter })
    },
    answered: (token) => {
      if (acquires.get(token)?.epoch === epoch()) acquires.delete(token)
    },
    buriedUntil: (token) => {
      const acquire = acquires.get(token)
      return acquire === undefined || acquire.epoch === epoch() ? 0 : acquire.notAfter
    }
  }
}
