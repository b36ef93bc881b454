/** What a worker process is told to do, and what it tells of it. */
import type { Turn } from "../contender.js"

export interface CycleWork {
  readonly kind: "cycle" | "multi"
  readonly keys: ReadonlyArray<string>
  readonly times: number
}

export interface ContendWork {
  readonly kind: "contend" | "semaphore"
  readonly key: string
  readonly permits: number
  /** In each process. */
  readonly waiters: number
  readonly holdMillis: number
  /** For how long they ask again. 0 is once. */
  readonly millis: number
}

export interface FanoutWork {
  readonly kind: "fanout"
  readonly ids: ReadonlyArray<string>
  /** In each process, of each id. */
  readonly callers: number
  readonly jobMillis: number
  readonly payloadBytes: number
}

export interface HoldWork {
  readonly kind: "hold"
  readonly keys: ReadonlyArray<string>
  readonly ttlMillis: number
}

export type Work = CycleWork | ContendWork | FanoutWork | HoldWork

export type Order =
  | { readonly type: "prepare"; readonly work: Work; readonly isFirst: boolean }
  /** On the clock of `monotonicMicros`. */
  | { readonly type: "go"; readonly startAt: number }
  | { readonly type: "report" }

export interface Run {
  readonly id: string
  readonly startedAt: number
  readonly endedAt: number
}

/** What one process did. Stamps are of `monotonicMicros`. */
export interface Done {
  readonly startedAt: number
  readonly endedAt: number
  /** How often what was to run did run. */
  readonly executions: number
  /** How often a caller got what it asked for. */
  readonly landed: number
  readonly turns: ReadonlyArray<Turn>
  /** Runs of jobs that were to be shared. */
  readonly runs: ReadonlyArray<Run>
  /** Processor time that this process used meanwhile: it says the same on a busy machine. */
  readonly cpuMicros: number
  /** Commands by name, that this process sent meanwhile. */
  readonly sent: Readonly<Record<string, number>>
}

/** What held locks cost a process. */
export interface Held {
  readonly rssBytes: number
  readonly heapBytes: number
  readonly delayP99: number
}

/** What the process of a contender gets as its argument, as JSON. */
export interface WorkerOptions {
  readonly contender: string
  readonly url: string
}
