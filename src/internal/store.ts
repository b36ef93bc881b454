/**
 * The store port: what the lease engine needs of a place that keeps leases. Redis is one, memory is another.
 *
 * Everything held is a lease on permits of a `Target`, by a secret token that serves one attempt (R11). The store keeps
 * one first-in-first-out queue for each target, and gives a freed permit to the first live waiter itself: no waiter
 * ever asks twice. All times are durations by the store's own clock; no caller's clock reaches it.
 *
 * Every verb may run twice, or late, with the same token and must give the same answer. `acquire` is the only one that
 * can create something, so a store refuses one that arrives later than `commandTimeout` after it was sent (R3).
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import type * as Effect from "effect/Effect"
import type * as Queue from "effect/Queue"
import type { BackendError } from "../DlockError.js"
import type { LeaseKind } from "./key.js"

/** The most items that one `refresh` or `leave` may carry. */
export const maxBatch = 256

/** What can be held. */
export interface Target {
  readonly kind: LeaseKind
  readonly key: string
}

/** `permits` of the `limit` that a target has. A lock is one permit of one. */
export interface Claim extends Target {
  readonly permits: number
  readonly limit: number
}

export interface AcquireRequest {
  readonly token: string
  readonly claims: ReadonlyArray<Claim>
  /** How long the lease lasts when it is granted at once. */
  readonly ttlMillis: number
  /** How long the waiter counts as alive without a `refresh`, and the longest a grant out of the queue can last (R14). */
  readonly livenessMillis: number
  /** Whether to queue when it cannot be granted at once. Only with a single claim. */
  readonly wait: boolean
  /** Whether this process can be told of grants at present (R7). */
  readonly subscribed: boolean
  /** Shown to others who find the lock held. */
  readonly metadata: string
}

/** `remainingMillis` is read together with the answer: how long the lease, or the waiter's liveness, still lasts (R5). */
export interface Held {
  readonly _tag: "Held"
  readonly remainingMillis: number
  /** Grows from hold to hold where they exclude each other. Of those side by side it says nothing (R18). */
  readonly fence: number
}

export interface Waiting {
  readonly _tag: "Waiting"
  readonly remainingMillis: number
  /** The last fencing token given out. A grant that is not above it is stale (R2). */
  readonly lastFence: number
  /** How many live waiters are before this one. */
  readonly rank: number
  /** Absent when nothing is held. */
  readonly holder: Holder | undefined
}

/** Of the present holders, the one whose lease ends first, unless it is renewed. */
export interface Holder {
  readonly endsMillis: number
  readonly fence: number
  readonly metadata: string
}

/** The store does not know the token, and never will again (R2). */
export interface Gone {
  readonly _tag: "Gone"
}

/** This one could not be looked at. The others of its batch are not affected (R8). */
export interface Failed {
  readonly _tag: "Failed"
  readonly error: BackendError
}

export type Answer = Held | Waiting | Gone | Failed

export interface Blocker {
  readonly key: string
  /** Absent when nothing is held but others wait. */
  readonly holder: Holder | undefined
}

export type AcquireAnswer =
  | { readonly _tag: "Granted"; readonly remainingMillis: number; readonly fences: ReadonlyArray<number> }
  | Waiting
  | { readonly _tag: "Refused"; readonly blockers: NonEmptyReadonlyArray<Blocker> }
  | Gone

export interface Acquired extends Settled<AcquireAnswer> {
  /** Claims whose target others use with that other limit (R12). Told by the acquire that changed it. */
  readonly formerLimits: ReadonlyArray<{ readonly claim: Claim; readonly limit: number }>
}

/** `unsettled` names the targets that have permits and waiters left after the steps of one call: settle them (R22). */
export interface Settled<A> {
  readonly answer: A
  readonly unsettled: ReadonlyArray<Target>
}

export interface RefreshItem {
  readonly target: Target
  readonly token: string
  readonly ttlMillis: number
  readonly livenessMillis: number
}

export interface LeaveItem {
  readonly target: Target
  readonly token: string
  /**
   * Keeps a holder in its place for that long instead, or until its lease ends if that is sooner. Nobody works under it any
   * more: it is not renewed, and asking for it frees it.
   */
  readonly keepMillis?: number
}

/**
 * The token is forgotten. `was` is what the store knew of it at that moment; `Unsure` where the command may have run
 * before, and may have found its own work (R45).
 */
export interface Left {
  readonly _tag: "Left"
  readonly was: "Holder" | "Waiter" | "Unknown" | "Unsure"
}

export type InboxEvent =
  | { readonly _tag: "Granted"; readonly token: string; readonly fence: number }
  | { readonly _tag: "Revoked"; readonly token: string; readonly fence: number }
  /** Somebody wants it back. It is held all the same until its holder leaves, or its lease ends. */
  | { readonly _tag: "Asked"; readonly token: string; readonly fence: number }
  /** The limit was lowered below what the token asks for, and its place in the queue is gone (R12). */
  | { readonly _tag: "OverLimit"; readonly token: string; readonly limit: number }
  /** Messages may have been missed until now; from now on they arrive (R25). */
  | { readonly _tag: "Subscribed" }
  | { readonly _tag: "Unsubscribed" }

export interface Inspection {
  readonly limit: number
  readonly used: number
  readonly waiting: number
  readonly lastFence: number
  readonly holders: ReadonlyArray<{
    readonly fence: number
    readonly permits: number
    /** The limit that its process asked for. */
    readonly limit: number
    readonly remainingMillis: number
    readonly metadata: string
  }>
}

export interface Store {
  /**
   * Grants every claim or none, in one step, behind everybody who waits already. With `wait`, joins the queue instead of
   * being refused. When it fails with `outcome: "Unknown"` the token may hold or wait: `leave` until that is acknowledged.
   */
  readonly acquire: (request: AcquireRequest) => Effect.Effect<Acquired, BackendError>
  /**
   * Renews what is held and keeps alive what waits, never to an earlier end than before (R6), and never creates
   * anything (R2). Answers in the order of the items. Also settles each target in `also`.
   */
  readonly refresh: (options: {
    readonly items: ReadonlyArray<RefreshItem>
    readonly subscribed: boolean
    readonly also?: ReadonlyArray<Target>
  }) => Effect.Effect<Settled<ReadonlyArray<Answer>>, BackendError>
  /**
   * Forgets the tokens, holders and waiters alike, and grants what that frees. A copy of the token's `acquire` that is
   * still under way does nothing afterwards (R15). Answers in the order of the items.
   */
  readonly leave: (
    items: ReadonlyArray<LeaveItem>
  ) => Effect.Effect<Settled<ReadonlyArray<Left | Failed>>, BackendError>
  /** Lowers a holder's permits, and grants what that frees. A token that holds no more than that is left alone. */
  readonly lower: (target: Target, token: string, permits: number) => Effect.Effect<Settled<Answer>, BackendError>
  /**
   * Takes the target from every holder with a fence of at most `fence`, or only asks for it. Says of how many (R17). What is
   * only kept (`keepMillis`) is taken when it is asked for, too.
   */
  readonly revoke: (target: Target, fence: number, asks: boolean) => Effect.Effect<Settled<number>, BackendError>
  /** What is held and how many wait. Never tells a token (R19). */
  readonly inspect: (target: Target) => Effect.Effect<Inspection, BackendError>
  /** Messages for this process. Never fails and never ends while the store's scope is open. */
  readonly inbox: Queue.Dequeue<InboxEvent>
  /** Checks that messages still arrive. When they do not, an `Unsubscribed` follows in the inbox. */
  readonly probe: Effect.Effect<void>
}
