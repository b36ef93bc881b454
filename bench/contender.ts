/** What the bench compares: each library, floor and yardstick is a `Contender`, played by worker processes. */

/** Takes and gives back free locks: each key that often, one after the other; different keys at once. */
export interface Cycles {
  readonly keys: ReadonlyArray<string>
  readonly times: number
  /** To be called once while the lock is held. */
  readonly body: () => void
}

/** Takes and gives back all the free keys at once, that often. */
export interface Multi {
  readonly keys: ReadonlyArray<string>
  readonly times: number
  readonly body: () => void
}

/** Waiters that take a lock, or one of the permits, in turns. */
export interface Contention {
  readonly key: string
  /** 1 is a lock. */
  readonly permits: number
  readonly waiters: number
  readonly holdMillis: number
  /** Each takes its turn once, and again while this is true. */
  readonly again: () => boolean
  readonly record: (turn: Turn) => void
}

/** Three stamps of `monotonicMicros` for each time that it was held. */
export interface Turn {
  /** Numbered in its process. */
  readonly waiter: number
  readonly fence: number | undefined
  readonly askedAt: number
  readonly enteredAt: number
  readonly leftAt: number
}

/** Callers who want the outcome of one job for each id. */
export interface Flights {
  readonly ids: ReadonlyArray<string>
  readonly callers: number
  readonly job: (id: string) => Promise<string>
  /** To be called by every caller with what it got. */
  readonly landed: (result: string) => void
}

/** What everybody is told before it starts, and is not measured. */
export interface Preparation {
  readonly kind: "cycle" | "multi" | "contend" | "fanout" | "hold"
  readonly keys: ReadonlyArray<string>
  readonly permits: number
  readonly waiters: number
  /** Whether this process is the first of those that take part. */
  readonly isFirst: boolean
}

/** A contender at work in one process. What it leaves out it cannot do. */
export interface Session {
  readonly prepare?: ((preparation: Preparation) => Promise<unknown>) | undefined
  readonly cycle?: ((work: Cycles) => Promise<unknown>) | undefined
  readonly multi?: ((work: Multi) => Promise<unknown>) | undefined
  readonly contend?: ((work: Contention) => Promise<unknown>) | undefined
  readonly semaphore?: ((work: Contention) => Promise<unknown>) | undefined
  readonly fanout?: ((work: Flights) => Promise<unknown>) | undefined
  /** Takes the locks and keeps them, renewed, until what it resolves with is called. */
  readonly hold?: ((keys: ReadonlyArray<string>, ttlMillis: number) => Promise<() => Promise<unknown>>) | undefined
}

export interface Contender {
  readonly name: string
  /** How it is configured, and why so. */
  readonly options: string
  /** The Effect that its process runs on. Defaults to 4. */
  readonly edition?: 3 | 4
  readonly open: (url: string) => Promise<Session>
}
