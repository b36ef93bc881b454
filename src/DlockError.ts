/**
 * The errors of this library. There is one tag for each different thing a caller can do about it:
 *
 * - `LockAcquisitionError`: somebody else holds it. Come back later; but see its reasons.
 * - `MultiLockError`: at least one of several keys was not had. None is held now; come back later.
 * - `LockLostError`: the lease ended before the work did. Stop, write nothing more.
 * - `BackendError`: Redis is down, silent or refuses. Retry unless its reason is `Refused`; what was asked for is cleaned up
 *   for you.
 * - `InvalidKeyError`: the key cannot be a lock's name. Fix the call.
 * - `FanoutError`: the outcome of a job could not be shared. Give a schema, or shrink it.
 *
 * A printed error shows the line of the call that failed, as a span would, and no frames of this library. Calls look at the
 * stack for that 1,000 times a second at most: a program that makes more has some errors without the line. As JSON, and so
 * in a log, an error is its message and its fields.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"

/**
 * Somebody else holds the lock. Nothing is held or queued for the caller any more.
 *
 * - `reason`: `Held` when the call does not wait, `Timeout` when its `wait` was over; an outage is neither, but a
 *   `BackendError`. `OverLimit` when it asks for more permits than there are, `Reentrant` when it would wait for what the
 *   code around it holds (see `Lock.lock`). The last two do not pass by themselves: fix the call, and do not retry it.
 * - `holder`: the `metadata` of the holder whose lease ends first, when it gave one.
 * - `retryAfter`: when that lease would end if it were not renewed. A hint, not a promise; absent when it is not known.
 * - `permits`, `requested`: how many there are, and how many the call asks for; of `OverLimit` only.
 * - `waited`: how long this call has waited.
 *
 * @since 0.1.0
 * @category Errors
 */
export class LockAcquisitionError extends Schema.TaggedError<LockAcquisitionError>()("LockAcquisitionError", {
  key: Schema.String,
  reason: Schema.Literals(["Held", "Timeout", "OverLimit", "Reentrant"]),
  holder: Schema.optionalKey(Schema.String),
  retryAfter: Schema.optionalKey(Schema.DurationFromMillis),
  permits: Schema.optionalKey(Schema.Number),
  requested: Schema.optionalKey(Schema.Number),
  waited: Schema.DurationFromMillis
}) {
  /**
   * @since 0.1.0
   */
  override get message(): string {
    return `${whyNot(this)} ${whatToDo[this.reason]}`.trimEnd()
  }

  /**
   * @since 0.1.0
   */
  override toJSON(): unknown {
    return messageFirst(this)
  }
}

const whyNot = (error: LockAcquisitionError): string => {
  const { holder, permits, reason, requested, retryAfter, waited } = error
  const key = `"${shorten(error.key)}"`
  const by = holder === undefined ? "" : ` by ${holder}`
  switch (reason) {
    case "Held":
      return `${key} is held${by}${
        retryAfter === undefined ? "" : `, for at most ${Duration.format(retryAfter)} if not renewed`
      }.`
    case "Timeout":
      return `${key} was still held${by} after waiting ${Duration.format(waited)}.`
    case "OverLimit":
      return permits === undefined || requested === undefined
        ? `Semaphore ${key} has fewer permits than were requested.`
        : `Semaphore ${key} has ${permits} ${permits === 1 ? "permit" : "permits"}; ${requested} were requested.`
    case "Reentrant":
      return `${key} is held by the code around this call.`
  }
}

const whatToDo: Record<LockAcquisitionError["reason"], string> = {
  Held: "Try again later.",
  Timeout: "Try again later, or give it a longer `wait`.",
  OverLimit: "",
  Reentrant: "Take it once, outside, or release it first; if its holder does not wait for this fiber, use " +
    "`reentrant: \"wait\"`."
}

/**
 * At least one of several keys was not had. Nothing of it is held or queued for the caller any more.
 *
 * - `keys`: all that were asked for, each once.
 * - `failed`: for each key that was not had, why. With `wait`, the one that was waited for last.
 *
 * @since 0.1.0
 * @category Errors
 */
export class MultiLockError extends Schema.TaggedError<MultiLockError>()("MultiLockError", {
  keys: Schema.Array(Schema.String),
  failed: Schema.NonEmptyArray(LockAcquisitionError)
}) {
  /**
   * @since 0.1.0
   */
  override get message(): string {
    const why = this.failed.map(whyNot).join(" ")
    return `None of ${this.keys.length} keys was acquired. ${why} ${whatToDo[this.failed[0].reason]}`
  }

  /**
   * @since 0.1.0
   */
  override toJSON(): unknown {
    return messageFirst(this)
  }
}

/**
 * The lease ended before the scope that held it. Another owner may be running already: stop, and do not retry the
 * write that was under way.
 *
 * - `Expired`: the lease's time was over and it had not been renewed: `renew` was off, this process was paused or its
 *   event loop blocked, or the layer was closed.
 * - `Unreachable`: Redis did not confirm a renewal in time.
 * - `Revoked`: somebody released it by force, or asked for it (`forceRelease`, `askRelease`).
 * - `Superseded`: Redis no longer knows the lease. Its data was lost, or the lock passed on.
 * - `MaxHold`: it was held for `maxHold`.
 * - `Released`: its own holder has released it.
 *
 * `keys` are all keys of the lease, whichever of them was lost; `fencingToken` is that of the first.
 *
 * @since 0.1.0
 * @category Errors
 */
export class LockLostError extends Schema.TaggedError<LockLostError>()("LockLostError", {
  keys: Schema.Array(Schema.String),
  reason: Schema.Literals(["Expired", "Unreachable", "Revoked", "Superseded", "MaxHold", "Released"]),
  fencingToken: Schema.Number
}) {
  /**
   * @since 0.1.0
   */
  override get message(): string {
    const lock = `The lock on ${this.keys.map((key) => `"${shorten(key)}"`).join(", ")}`
    const stop = `Stop, and write nothing more (fencing token ${this.fencingToken}).`
    return this.reason === "Released"
      ? `${lock} is not held any more: its own holder released it. ${stop}`
      : `${lock} was lost: ${lostBecause[this.reason]}. Another owner may hold it now. ${stop}`
  }

  /**
   * @since 0.1.0
   */
  override toJSON(): unknown {
    return messageFirst(this)
  }
}

const lostBecause: Record<Exclude<LockLostError["reason"], "Released">, string> = {
  Expired: "its lease was over",
  Unreachable: "Redis did not confirm its renewal in time",
  Revoked: "somebody else released it, or asked for it",
  Superseded: "Redis no longer knows this lease",
  MaxHold: "it was held for `maxHold`"
}

/**
 * Redis could not be asked, did not answer in time, or refused.
 *
 * - `reason`:
 *   - `Unreachable`: there is no connection, or the layer is closed.
 *   - `Timeout`: no answer within `commandTimeout`.
 *   - `RefusedForNow`: Redis answered with an error that passes by itself: it is read-only (`READONLY`), full (`OOM`), loading
 *     its data (`LOADING`), busy with a slow script (`BUSY`), without its primary (`MASTERDOWN`) or its replicas
 *     (`NOREPLICAS`), cannot save (`MISCONF`), and the like. Retry with back-off.
 *   - `Refused`: Redis answered with any other error: a missing right (`NOPERM`), a password (`NOAUTH`, `WRONGPASS`), a key
 *     of another type (`WRONGTYPE`). A retry is refused as well.
 * - `outcome`: `NotApplied` when nothing was changed, `Unknown` when the command may have run. Either way it is safe to
 *   try again: a token that may hold or wait is given back in the background.
 * - `operation`: the function that was called.
 * - `cause`: what happened, in words without secrets. Where the driver or Redis said it in others, those are its own `cause`.
 *
 * @since 0.1.0
 * @category Errors
 */
export class BackendError extends Schema.TaggedError<BackendError>()("BackendError", {
  operation: Schema.String,
  reason: Schema.Literals(["Unreachable", "Timeout", "Refused", "RefusedForNow"]),
  outcome: Schema.Literals(["NotApplied", "Unknown"]),
  cause: Schema.Defect()
}) {
  /**
   * @since 0.1.0
   */
  override get message(): string {
    const words = this.cause instanceof Error ? this.cause.message : String(this.cause)
    return `${this.operation} failed: ${backendDid[this.reason]}${words}. ${backendAdvice[this.outcome]}.`
  }

  /**
   * @since 0.1.0
   */
  override toJSON(): unknown {
    return messageFirst(this)
  }
}

const backendDid: Record<BackendError["reason"], string> = {
  Unreachable: "",
  Timeout: "",
  Refused: "Redis refused: ",
  RefusedForNow: "Redis refuses for now: "
}

const backendAdvice: Record<BackendError["outcome"], string> = {
  NotApplied: "Nothing was changed",
  Unknown: "It may have been carried out; what it took is given back in the background. It is safe to try again"
}

/**
 * The outcome of a shared job could not be handed to those who wait for it. All of them fail alike, in every process; the
 * job itself may have run to its end.
 *
 * - `Encode`: JSON would change what it came to, at the place that the message names, or it is not what `schema` says. Fix
 *   the schema, or give one.
 * - `Decode`: it is not what this process's `schema` says. Two versions of the program may be running.
 * - `TooLarge`: it is longer than `maxPayloadBytes`. Shrink it, or store it elsewhere and share its name.
 * - `Interrupted`: the job interrupted itself. An interruption is nobody else's outcome.
 * - `Abandoned`: whoever was to complete it (`push`) closed its scope or died.
 * - `Refused`: Redis would not take the outcome.
 *
 * @since 0.1.0
 * @category Errors
 */
export class FanoutError extends Schema.TaggedError<FanoutError>()("FanoutError", {
  id: Schema.String,
  reason: Schema.Literals(["Encode", "Decode", "TooLarge", "Interrupted", "Abandoned", "Refused"]),
  cause: Schema.Defect()
}) {
  /**
   * @since 0.1.0
   */
  override get message(): string {
    const words = this.cause instanceof Error ? this.cause.message : String(this.cause)
    return `The outcome of "${shorten(this.id)}" ${fanoutBecause[this.reason]}: ${words}`
  }

  /**
   * @since 0.1.0
   */
  override toJSON(): unknown {
    return messageFirst(this)
  }
}

const fanoutBecause: Record<FanoutError["reason"], string> = {
  Encode: "cannot be sent to other processes",
  Decode: "cannot be read",
  TooLarge: "is too large to be shared",
  Interrupted: "is no outcome",
  Abandoned: "will never be known",
  Refused: "could not be stored"
}

/**
 * The key cannot be the name of a lock: it is not a string, empty, over 1024 bytes long, or not well-formed Unicode
 * (Redis would store two different such strings under one name).
 *
 * @since 0.1.0
 * @category Errors
 */
export class InvalidKeyError extends Schema.TaggedError<InvalidKeyError>()("InvalidKeyError", {
  key: Schema.String,
  reason: Schema.Literals(["Empty", "TooLong", "NotAString", "NotWellFormed"])
}) {
  /**
   * @since 0.1.0
   */
  override get message(): string {
    return `${JSON.stringify(this.key)} cannot be a lock's key: ${keyBecause[this.reason]}.`
  }

  /**
   * @since 0.1.0
   */
  override toJSON(): unknown {
    return messageFirst(this)
  }
}

const keyBecause: Record<InvalidKeyError["reason"], string> = {
  Empty: "it is empty. Give it at least one character",
  TooLong: "it is longer than 1024 bytes in UTF-8. Use a hash of it",
  NotAString: "it is not a string",
  NotWellFormed: "it has a lone surrogate, which UTF-8 cannot carry. Encode it first"
}

/** What a logger prints of a value. An Error inside would be printed as nothing. */
const messageFirst = (error: Error): unknown => {
  const { cause, message } = error
  const shown = cause instanceof Error ? { name: cause.name, message: cause.message } : cause
  return Object.assign({ message }, error, cause === undefined ? {} : { cause: shown })
}

const shorten = (key: string): string => key.length <= 64 ? key : `${key.slice(0, 61)}...`
