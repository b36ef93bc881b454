/**
 * Looking at what is held, and taking it away.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type { BackendError, InvalidKeyError } from "./DlockError.js"
import { here } from "./internal/callSite.js"
import type { Dlock } from "./internal/tag.js"
import { withDlock } from "./internal/tag.js"

/**
 * What a key is used for. Different kinds of one key have nothing to do with each other.
 *
 * @since 0.1.0
 * @category Models
 */
export type Kind = "lock" | "semaphore" | "readWriteLock"

/**
 * One that holds a key. `remaining` is the time to the end of its lease, unless that is renewed; `metadata` is empty when it
 * gave none.
 *
 * @since 0.1.0
 * @category Models
 */
export interface Holder {
  readonly fencingToken: number
  readonly remaining: Duration.Duration
  readonly metadata: string
}

/**
 * A lock, which has one permit, or a semaphore, at one moment.
 *
 * @since 0.1.0
 * @category Models
 */
export interface PermitsInspection {
  readonly key: string
  readonly kind: "lock" | "semaphore"
  /** How many permits there are, by the latest that asked; and how many of them are out. */
  readonly permits: number
  readonly used: number
  /**
   * In the order of their grants. `permits` is what it holds, and `of` how many there are by its own process: if that
   * differs, the processes disagree.
   */
  readonly holders: ReadonlyArray<Holder & { readonly permits: number; readonly of: number }>
  /** How many wait. */
  readonly waiting: number
  /** The highest fencing token given out so far; 0 when none is remembered. */
  readonly lastFencingToken: number
}

/**
 * A read-write lock at one moment.
 *
 * @since 0.1.0
 * @category Models
 */
export interface ReadWriteInspection {
  readonly key: string
  readonly kind: "readWriteLock"
  readonly writer: Holder | undefined
  /** In the order of their grants. */
  readonly readers: ReadonlyArray<Holder>
  /** How many wait, to read or to write. */
  readonly waiting: number
  /** The highest fencing token given out so far; 0 when none is remembered. */
  readonly lastFencingToken: number
}

/**
 * A key at one moment.
 *
 * @since 0.1.0
 * @category Models
 */
export type Inspection<K extends Kind = Kind> = K extends "readWriteLock" ? ReadWriteInspection : PermitsInspection

/**
 * Who holds the key now, for how long, and how many wait. It may have changed by the time it is read. The kind defaults to
 * `"lock"`.
 *
 * @since 0.1.0
 * @category Operations
 */
export const inspect = <K extends Kind = "lock">(
  key: string,
  kind?: K
): Effect.Effect<Inspection<K>, BackendError | InvalidKeyError, Dlock> =>
  withDlock("inspect", here(), (dlock) => dlock.inspect(key, kind))

/**
 * Takes the key from all who hold it now, and says how many that were. The holder is told at once and its
 * guarded effect is interrupted, but the next waiter does not wait for that: only for the emergency. A holder that got the
 * lock meanwhile is not touched.
 *
 * @since 0.1.0
 * @category Operations
 */
export const forceRelease = (
  key: string,
  kind?: Kind
): Effect.Effect<number, BackendError | InvalidKeyError, Dlock> =>
  withDlock("forceRelease", here(), (dlock) => dlock.forceRelease(key, kind))

/**
 * The gentle form of `forceRelease`: asks all who hold the key now to let go, and says how many that were. Their guarded
 * effects are interrupted, `lost` and `check` fail with reason `Revoked`, and the key passes on when they have given it
 * back: so nothing overlaps. One that does not hear of it, or does not care, keeps it; and so does a `withMulti` that has the
 * key and waits for others still, until it has them all.
 *
 * @since 0.1.0
 * @category Operations
 */
export const askRelease = (
  key: string,
  kind?: Kind
): Effect.Effect<number, BackendError | InvalidKeyError, Dlock> =>
  withDlock("askRelease", here(), (dlock) => dlock.askRelease(key, kind))
