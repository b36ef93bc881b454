/**
 * The flight port: what the flight engine needs of a place that several processes share. It keeps, for each id, at most
 * one leader with a lease, those who follow, and what finished flights came to for as long as somebody may ask.
 *
 * A process takes part by a secret token, made before it joins and good for one attempt (R11, R30). Followers belong to
 * the id, not to one run of its job: whoever leads next has them all (R34). All times are durations by the store's own
 * clock, but for `finishedAt`, which only `serverMillisAtMost` is compared with.
 *
 * Every verb may run twice, or late, with the same token and must give the same answer. Only `join` can create something,
 * so a store refuses one that arrives later than `commandTimeout` after it was sent (R3).
 */
import type * as Effect from "effect/Effect"
import type * as Queue from "effect/Queue"
import type { BackendError } from "../DlockError.js"
import type { Store } from "./store.js"

export interface JoinRequest {
  readonly id: string
  readonly token: string
  /** A token of the same process whose part in the flight is over, whatever the store thinks of it (R37). */
  readonly gaveUp: string | undefined
  /** The leader's lease, and how long a follower counts as alive without a `refresh`. */
  readonly ttlMillis: number
  /** An outcome of that age will do; 0 for none. */
  readonly keepMillis: number
  /** Whether to wait for a store that is known to be away. Who has something else to do then is told at once. */
  readonly patient: boolean
}

/** `remainingMillis` is read together with the answer: how long the lease, or the follower's liveness, still lasts (R5). */
export interface Leads {
  readonly _tag: "Leads"
  readonly remainingMillis: number
  /** How many live ones follow (R35). */
  readonly followers: number
}

export interface Follows {
  readonly _tag: "Follows"
  readonly remainingMillis: number
  /** When the leader's lease ends, unless it is renewed. 0 when nobody leads. */
  readonly leaderEndsMillis: number
}

/** The flight that this token followed has ended. */
export interface Outcome {
  readonly _tag: "Outcome"
  readonly payload: string
  /** By the store's clock, in milliseconds (R32). */
  readonly finishedAt: number
}

/** As `Outcome`, of a payload that is too large to be sent unasked: `fetch` it. */
export interface Stored {
  readonly _tag: "Stored"
  readonly finishedAt: number
}

/** The outcome of an earlier flight, young enough for the `keepMillis` of the request. */
export interface Kept {
  readonly _tag: "Kept"
  readonly payload: string
}

/** The token has no part in any flight, and never will again (R36). */
export interface Gone {
  readonly _tag: "Gone"
}

/** This one could not be looked at. The others of its batch are not affected (R8). */
export interface Failed {
  readonly _tag: "Failed"
  readonly error: BackendError
}

export type JoinAnswer = Leads | Follows | Outcome | Kept | Gone

export type Answer = Leads | Follows | Outcome | Stored | Gone | Failed

export interface RefreshItem {
  readonly id: string
  readonly token: string
  readonly ttlMillis: number
}

export interface FinishRequest {
  readonly id: string
  readonly token: string
  readonly payload: string
  /** How long those who follow now may read the payload. */
  readonly retentionMillis: number
  /** How long a `join` with `keepMillis` may; 0 for not at all. */
  readonly keepMillis: number
  /** As of a `join`. */
  readonly patient: boolean
}

export type FlightEvent =
  | { readonly _tag: "Outcome"; readonly token: string; readonly payload: string; readonly finishedAt: number }
  | { readonly _tag: "Stored"; readonly token: string; readonly finishedAt: number }
  /** Nobody leads any more. `refresh`: the first to do so leads. */
  | { readonly _tag: "Moved"; readonly token: string }
  /** The flight has ended, and the store would not take its outcome (R38). */
  | { readonly _tag: "Refused"; readonly token: string }
  /** Messages may have been missed until now; from now on they arrive (R25). */
  | { readonly _tag: "Subscribed" }
  | { readonly _tag: "Unsubscribed" }

export interface FlightStore {
  /**
   * Leads when nobody does, follows otherwise, in one step. When it fails with `outcome: "Unknown"` the token may lead or
   * follow: `leave` until that is acknowledged.
   */
  readonly join: (request: JoinRequest) => Effect.Effect<JoinAnswer, BackendError>
  /**
   * Renews who leads, keeps alive who follows, never to an earlier end than before (R6). A follower of a flight whose
   * leader's lease is over leads from now on. Answers in the order of the items; at most 256 of them.
   */
  readonly refresh: (items: ReadonlyArray<RefreshItem>) => Effect.Effect<ReadonlyArray<Answer>, BackendError>
  /**
   * Ends the flight that the token leads, tells its outcome to those who follow, and keeps it for them. Accepted when the
   * lease is over, too, as long as nobody else has led since (R33). False when somebody has.
   */
  readonly finish: (request: FinishRequest) => Effect.Effect<boolean, BackendError>
  /** Ends the flight that the token leads and tells its followers that there will be no outcome. Only deletes (R38). */
  readonly refuse: (part: { readonly id: string; readonly token: string }) => Effect.Effect<void, BackendError>
  /**
   * Takes the token out of the flight. When it led, the followers are told, and one of them leads next (R34). A copy of
   * the token's `join` that is still under way does nothing afterwards (R36).
   */
  readonly leave: (part: { readonly id: string; readonly token: string }) => Effect.Effect<void, BackendError>
  /** The outcome of the flight that the token followed, of any size. */
  readonly fetch: (
    part: { readonly id: string; readonly token: string }
  ) => Effect.Effect<Outcome | Gone, BackendError>
  /** What the store's clock showed at most at the local, monotonic time. */
  readonly serverMillisAtMost: (localMillis: number) => number
  /** Messages for this process. Never fails and never ends while the store's scope is open. */
  readonly inbox: Queue.Dequeue<FlightEvent>
  /** Checks that messages still arrive. When they do not, an `Unsubscribed` follows in the inbox. */
  readonly probe: Effect.Effect<void>
}

/** A place that keeps leases and flights. */
export interface Stores extends Store {
  readonly flights: FlightStore
}
