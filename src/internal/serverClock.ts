/**
 * What a store's clock shows at most by now, from what it has told (R3, R32). No lease is ever judged by it.
 *
 * A reply bounds the difference of the two clocks on both sides: the server read its clock after the command was sent, and
 * before the reply came. The lowest upper bound counts, loosened by what two clocks may drift apart: a single slow reply
 * would be off by all the time that it took. One that lies above it shows that the server's clock was stepped forward, and
 * counts alone.
 */
export interface ServerClock {
  readonly synchronized: () => boolean
  /** The server showed `serverMillis` at some moment between the two. */
  readonly learn: (serverMillis: number, sentAt: number, receivedAt: number) => void
  /** An upper bound of what the server shows at a local time, before or after what was learned last. */
  readonly atMost: (at: number) => number
}

const drift = 0.01

export const make = (): ServerClock => {
  let offset: number | undefined
  let learnedAt = 0
  const offsetAt = (at: number): number => (offset ?? 0) + drift * Math.abs(at - learnedAt)
  return {
    synchronized: () => offset !== undefined,
    learn: (serverMillis, sentAt, receivedAt) => {
      const known = offsetAt(receivedAt)
      const isStepped = serverMillis - receivedAt > known + 1
      const atMost = serverMillis - sentAt + drift * (receivedAt - sentAt)
      offset = offset === undefined || isStepped ? atMost : Math.min(known, atMost)
      learnedAt = receivedAt
    },
    // One millisecond more: the server's reading was rounded down.
    atMost: (at) => Math.ceil(at + offsetAt(at)) + 1
  }
}
