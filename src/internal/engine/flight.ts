/**
 * What one process knows of the flight of one id: the state machine of fanout, and those who wait for its end.
 *
 *   Joining --> Leading --------> Finishing --> Ended
 *    ^   |       ^   |
 *    |   +--> Following --------> Fetching --> Ended
 *    |             |
 *    +-- Stopping <+-- Leading, Alone (the job's end is awaited)
 *
 * `Leading` only while `deadline` lies ahead, as with a lease: a local, monotonic time that is over before the store lets
 * somebody else lead. `Ended` is final. A flight that has lost its part joins again with another token (R11), and takes
 * those who wait along.
 */
import type * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type { BackendError } from "../../DlockError.js"
import type { Deadline } from "./deadline.js"
import type { Waking } from "./heap.js"
import type * as Late from "./late.js"

/** What a job came to, as it is sent to others. */
export interface Produced {
  readonly payload: string
  /** How long it may serve those who ask later; 0 for not at all. */
  readonly keepMillis: number
  /**
   * Local time at which a push was completed: its flight may have lost its lease by then, and be led again only later.
   * Of a job's own run it is the end of that, which is now.
   */
  readonly completedAt?: number
}

export type Job = Fiber.Fiber<Produced>

/** A job that has not begun. */
export interface Prepared {
  readonly job: Job
  /** Lets it begin, at once: its first step may call back, so all that is to be known of it is known by then. */
  readonly go: () => void
}

/** What a flight came to, for those who wait. */
export interface Landing {
  readonly payload: string
  /** Whoever arrived until then, by local time, certainly arrived before the end. */
  readonly provenAt: number
  /** By the store's clock. */
  readonly finishedAt: number
  /** The age that the request allowed, when it is the outcome of an earlier flight. */
  readonly keptFor: number | undefined
}

/** What a job of this very process came to. */
export const own = ({ completedAt = Infinity, payload }: Produced): Landing => ({
  payload,
  provenAt: completedAt,
  finishedAt: -Infinity,
  keptFor: undefined
})

/** Nobody came before the end of this one, so all who wait ask again (R32): in the flight that is open by now, if any. */
export const nobodys: Landing = { payload: "", provenAt: -Infinity, finishedAt: -Infinity, keptFor: undefined }

/** Somebody who waits for the outcome. */
export interface Caller {
  readonly ttlMillis: number
  readonly retentionMillis: number
  readonly keepMillis: number
  /** Local time. */
  readonly arrivedAt: number
  /** Whether to wait for a store that is known to be away. */
  readonly patient: boolean
  readonly prepare: () => Prepared
  /** Whether its job is worth starting only when there is no other: it can but say that the leader is gone. */
  listens: boolean
  /** Told when it is known whether its own job has started. */
  readonly onRole: ((leads: boolean) => void) | undefined
}

/** Resumes a caller. All get the same effect. */
export type Wake = (landed: Effect.Effect<Landing, BackendError>) => void

export type State =
  | Joining
  | Leading
  | Following
  | Fetching
  | Finishing
  | Stopping
  | Alone
  | Ended

/** Its join is under way. */
export interface Joining {
  readonly _tag: "Joining"
  readonly token: string
  readonly sentAt: number
}

/** The job runs here, for all processes. */
export interface Leading {
  readonly _tag: "Leading"
  readonly token: string
  /** When that was learned. An answer to an older command says nothing about it (R13). */
  readonly since: number
  readonly deadline: Deadline
  readonly job: Job
}

/** The job runs elsewhere. */
export interface Following {
  readonly _tag: "Following"
  readonly token: string
  /** When the last command was sent that found the flight under way (R32). */
  readonly provenAt: number
  /** When the store must have answered, or it counts as unreachable. */
  readonly giveUpAt: number
}

/** It has ended elsewhere. The outcome was too large to be sent along. */
export interface Fetching {
  readonly _tag: "Fetching"
  readonly token: string
  /** When its end was learned. An answer to an older command says nothing about it (R13). */
  readonly since: number
  readonly provenAt: number
  readonly giveUpAt: number
}

/** The job has ended, and the store is told. */
export interface Finishing {
  readonly _tag: "Finishing"
  readonly token: string
  /** What it came to, if that was in time. Or else the store says whether it was too late (R33). */
  readonly landing: Landing | undefined
}

/** Nobody wants the job any more, or its lease is lost: it was interrupted, and has not ended yet (R31). */
export interface Stopping {
  readonly _tag: "Stopping"
  readonly job: Job
  /** The lease, while it is not lost. It is renewed until the job has ended. */
  readonly held: Leading | undefined
}

/** The job runs here, and for this process only: the store could not be reached. */
export interface Alone {
  readonly _tag: "Alone"
  readonly job: Job
}

export interface Ended {
  readonly _tag: "Ended"
}

export interface Flight extends Waking {
  readonly id: string
  readonly ttlMillis: number
  readonly keepMillis: number
  readonly retentionMillis: number
  readonly alone: boolean
  state: State
  /** In the order in which they came. */
  readonly callers: Map<Caller, Wake>
  /** A token whose part is over, whatever the store thinks of it (R37). */
  gaveUp: string | undefined
  /**
   * Before the answer to its join there was a message that nobody leads any more, or the subscription came or went, so that
   * messages may have been lost: the answer may be out of date (R25, R30).
   */
  overtaken: boolean
  late: Late.Late | undefined
  /** When to refresh next. */
  refreshAt: number
  /** Whether a refresh is under way. */
  refreshing: boolean
  /** Why the last refresh failed, until one works. */
  failure: BackendError | undefined
}

export const make = (id: string, first: Caller, wake: Wake, alone: boolean): Flight => ({
  id,
  ttlMillis: first.ttlMillis,
  keepMillis: first.keepMillis,
  retentionMillis: first.retentionMillis,
  alone,
  state: { _tag: "Ended" },
  callers: new Map([[first, wake]]),
  gaveUp: undefined,
  overtaken: false,
  late: undefined,
  refreshAt: Infinity,
  refreshing: false,
  failure: undefined,
  wakeAt: Infinity,
  place: -1
})

/** The token by which the store and its messages know the flight. */
export const tokenOf = ({ state }: Flight): string | undefined => {
  switch (state._tag) {
    case "Stopping":
      return state.held?.token
    case "Alone":
    case "Ended":
      return undefined
    default:
      return state.token
  }
}

/** The lease of the flight that this process leads. */
export const leaseOf = ({ state }: Flight): Leading | undefined =>
  state._tag === "Leading" ? state : state._tag === "Stopping" ? state.held : undefined

/** When the flight must be looked at next: refreshed, or ended. */
export const nextLook = (flight: Flight): number => {
  const { state } = flight
  const refreshAt = flight.refreshing ? Infinity : flight.refreshAt
  if (state._tag === "Following" || state._tag === "Fetching") return Math.min(refreshAt, state.giveUpAt)
  const lease = leaseOf(flight)
  return lease ? Math.min(refreshAt, lease.deadline.at) : Infinity
}

/** They wait for nothing any more. */
export const wakeAll = ({ callers }: Flight, landed: Effect.Effect<Landing, BackendError>): void => {
  const woken = [...callers.values()]
  callers.clear()
  woken.forEach((wake) => wake(landed))
}
