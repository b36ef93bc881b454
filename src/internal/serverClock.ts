/**
 * What a store's clock shows at most by now, from the last time it was read (R3). It only bounds how late a command may
 * still be carried out; no lease is ever judged by it.
 */
export interface ServerClock {
  readonly synchronized: () => boolean
  /** The server showed `serverMillis` at some moment after `sentAt`. */
  readonly learn: (serverMillis: number, sentAt: number) => void
  /** An upper bound of what the server shows at the local time `now`. */
  readonly atMost: (now: number) => number
}

export const make = (): ServerClock => {
  let offset: number | undefined
  return {
    synchronized: () => offset !== undefined,
    learn: (serverMillis, sentAt) => {
      offset = serverMillis - sentAt
    },
    // One millisecond more: the server's reading was rounded down.
    atMost: (now) => Math.ceil(now + (offset ?? 0)) + 1
  }
}
