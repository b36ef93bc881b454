/** What both halves of `#test-edition` speak of, in words of neither Effect. */

/** One line of a log. */
export interface Logged {
  readonly level: string
  readonly message: unknown
  readonly cause: string
  readonly annotations: Readonly<Record<string, unknown>>
}

/** What fibers run on instead of the machine: no promise and no timer of it is used. */
export interface Host {
  /** Milliseconds of a clock that never steps. */
  readonly now: () => number
  readonly wallMillis: () => number
  /** From 0 to 1. */
  readonly random: () => number
  readonly schedule: (task: () => void) => void
  /** Returns what cancels it. */
  readonly timer: (millis: number, run: () => void) => () => void
}
