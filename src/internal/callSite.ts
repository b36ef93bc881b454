/**
 * What an error says of where it comes from: not the ten frames inside of this library, but the line of the program that made
 * the call. By the time that a call fails the stack shows nothing of that, so the call notes it, as a span of Effect does.
 *
 * Looking at the stack takes 2 us, a good part of what taking a lock takes. So `burst` calls look, and one more for each
 * millisecond since: all calls of a program that is not busy, and 0.2 % of the time of one that is.
 */
import * as Edition from "#edition"
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import {
  BackendError,
  FanoutError,
  InvalidKeyError,
  LockAcquisitionError,
  LockLostError,
  MultiLockError
} from "../DlockError.js"

/** Its `stack` becomes text when it is read. */
export interface CallSite {
  readonly stack?: string
}

const burst = 100

let left = burst
let refilledAt = 0

/** To be called often, with a clock that counts milliseconds. */
export const refill = (clock: { readonly now: () => number }): void => {
  if (left > 0) return
  const at = clock.now()
  left = Math.min(burst, Math.floor(Math.abs(at - refilledAt)))
  if (left > 0) refilledAt = at
}

/** Who has called the function that calls this. */
export const here = (): CallSite | undefined => {
  if (left === 0 || Error.captureStackTrace === undefined) return undefined
  left--
  const { stackTraceLimit } = Error
  const site: CallSite = {}
  Error.stackTraceLimit = 2
  Error.captureStackTrace(site, here)
  Error.stackTraceLimit = stackTraceLimit
  return site
}

/** The errors of an operation tell who called it. One of a call inside of it has told of that one already. */
export const at =
  (operation: string, site: CallSite | undefined) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    site === undefined
      ? effect
      : Effect.tapCause(effect, (cause) => Effect.sync(() => show(cause, frameOf(operation, site))))

const frameOf = (operation: string, { stack = "" }: CallSite): string => {
  const [, inside, alone] = /^ *at (?:.* \((.*)\)|(.*))$/.exec(stack.split("\n")[2] ?? "") ?? []
  return inside === undefined && alone === undefined ? "" : `\n    at ${operation} (${inside ?? alone})`
}

/**
 * The errors of this library in it show that in place of their frames. What is final stays so: it is a call site, or the
 * error is shared by several calls.
 */
export const show = (cause: Cause.Cause<unknown>, frames: string, isFinal = frames !== ""): void => {
  for (const error of Edition.errorsIn(cause)) {
    if (!isOwn(error) || Reflect.get(error, final) === true) continue
    replaceFrames(error, frames, isFinal)
    if (error instanceof MultiLockError) { for (const one of error.failed) replaceFrames(one, "", isFinal) }
  }
}

const isOwn = (error: unknown): error is Error =>
  error instanceof LockAcquisitionError || error instanceof MultiLockError || error instanceof LockLostError ||
  error instanceof BackendError || error instanceof InvalidKeyError || error instanceof FanoutError ||
  (error instanceof TypeError && error.message.startsWith("effect-dlock: "))

const final = Symbol.for("effect-dlock/final")

/** Node prints it as it prints any error, and not as what it is as JSON. */
const inspect = Symbol.for("nodejs.util.inspect.custom")

function itself(this: Error): Error {
  return this
}

/** The text is made when it is read: errors of a lock that many try are made often, and read seldom. */
const replaceFrames = (error: Error, frames: string, isFinal: boolean): void =>
  void Object.defineProperties(error, {
    [final]: { configurable: true, value: isFinal },
    [inspect]: { configurable: true, value: itself },
    stack: {
      configurable: true,
      get: () => `${error.name}: ${error.message}${frames}`,
      set: (stack: unknown) => void Object.defineProperty(error, "stack", { value: stack, writable: true })
    }
  })
