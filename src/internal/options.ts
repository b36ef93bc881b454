/** Decodes what users write in options. What can only be a programming error is a `Mistake`, which names the option. */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as Fanout from "../Fanout.js"
import type * as Lock from "../Lock.js"
import type { Terms } from "./engine/lease.js"

const metadataLengthMax = 256

/** Longer than any lease should be, and small enough that sums of a few stay safe integers. */
const millisMax = Duration.toMillis("365 days")

/** To die with. */
export type Mistake = TypeError

/** Below that a lease is over before anybody can use it: 2 ms and 1 % are kept back, and a round trip takes its time. */
const millisMin = 10

/** Milliseconds of an option that must be a finite time. */
export const finiteMillis = (name: string, input: Duration.Input): Result.Result<number, Mistake> => {
  const millis = toMillis(input)
  return millis !== undefined && millis >= millisMin && millis <= millisMax
    ? Result.succeed(millis)
    : mistake(name, `a duration of at least ${millisMin} millis and at most 365 days, like "10 seconds"`, input)
}

const toMillis = (input: Duration.Input | undefined): number | undefined =>
  // Most options are left out, and `decodeUnknown` throws and catches to say that this is no duration.
  input === undefined ? undefined : Option.getOrUndefined(Option.map(Duration.fromInput(input), Duration.toMillis))

const mistake = (name: string, wanted: string, got: unknown): Result.Result<never, Mistake> =>
  Result.fail(new TypeError(`effect-dlock: option \`${name}\` must be ${wanted}, not ${show(got)}`))

const show = (value: unknown): string =>
  Duration.isDuration(value)
    ? Duration.format(value)
    : Result.getOrElse(Result.try(() => JSON.stringify(value) ?? String(value)), () => typeof value)

/** What UTF-8 cannot carry would be changed on the way. */
const isWellFormed = (input: unknown): input is string => typeof input === "string" && !/\p{Surrogate}/u.test(input)

export const prefix = (input: unknown): Result.Result<string, Mistake> =>
  isWellFormed(input)
    ? Result.succeed(input)
    : mistake("prefix", "a string of well-formed Unicode", input)

/** Also how many permits a writer takes. */
export const permitsMax = 2 ** 31

/** A number of permits. */
export const permits = (input: unknown): Result.Result<number, Mistake> =>
  typeof input === "number" && Number.isInteger(input) && input >= 1 && input <= permitsMax
    ? Result.succeed(input)
    : mistake("permits", `a whole number from 1 to ${permitsMax}`, input)

/** Milliseconds of an option that is 0 when it is left out. */
const orZero = (name: string, input: Duration.Input | undefined): Result.Result<number, Mistake> =>
  input === undefined || toMillis(input) === 0 ? Result.succeed(0) : finiteMillis(name, input)

/** Milliseconds to keep a singleton at least. */
export const holdMillis = (input: Duration.Input | undefined): Result.Result<number, Mistake> => orZero("hold", input)

export interface Decoded {
  readonly terms: Terms
  /** 0 is not at all. */
  readonly waitMillis: number
  readonly failsReentrant: boolean
}

const orInfinity = (name: string, input: Duration.Input | undefined): Result.Result<number, Mistake> =>
  input === undefined || toMillis(input) === Infinity ? Result.succeed(Infinity) : finiteMillis(name, input)

/** What is left of a budget may be next to nothing, and is no mistake. */
const waitMillisOf = (input: Duration.Input | undefined): Result.Result<number, Mistake> => {
  const millis = toMillis(input)
  return millis !== undefined && millis < millisMin ? Result.succeed(millis) : orInfinity("wait", input)
}

/** The options of one call, on top of the layer's ttl. */
export const decode = (options: Lock.Options | undefined, layerTtlMillis: number): Result.Result<Decoded, Mistake> => {
  const { maxHold, metadata = "", reentrant = "fail", renew = true, ttl, wait } = options ?? {}
  if (!isWellFormed(metadata) || metadata.length > metadataLengthMax) {
    return mistake(
      "metadata",
      `a string of well-formed Unicode, at most ${metadataLengthMax} characters long`,
      metadata
    )
  }
  if (reentrant !== "fail" && reentrant !== "wait") return mistake("reentrant", `"fail" or "wait"`, reentrant)
  if (typeof renew !== "boolean") return mistake("renew", "true or false", renew)
  const ttlMillis = ttl === undefined ? Result.succeed(layerTtlMillis) : finiteMillis("ttl", ttl)
  if (Result.isFailure(ttlMillis)) return Result.fail(ttlMillis.failure)
  const waitMillis = waitMillisOf(wait)
  if (Result.isFailure(waitMillis)) return Result.fail(waitMillis.failure)
  const maxHoldMillis = orInfinity("maxHold", maxHold)
  return Result.map(maxHoldMillis, (maxHoldMillis) => ({
    terms: { ttlMillis: ttlMillis.success, maxHoldMillis, renew, metadata, onHolder: undefined },
    waitMillis: waitMillis.success,
    failsReentrant: reentrant === "fail"
  }))
}

/** The largest string that Redis stores by default. */
const payloadBytesMax = 512 * 2 ** 20

export interface FanoutDecoded {
  readonly ttlMillis: number
  readonly keepMillis: number
  readonly maxPayloadBytes: number
  readonly runsAlone: boolean
}

export const payloadBytes = (name: string, input: number): Result.Result<number, Mistake> =>
  Number.isSafeInteger(input) && input > 0 && input <= payloadBytesMax
    ? Result.succeed(input)
    : mistake(name, `a whole number from 1 to ${payloadBytesMax}`, input)

/** Names of headers, and patterns of such names. */
export const headerNames = (
  name: string,
  input: ReadonlyArray<string | RegExp>
): Result.Result<ReadonlyArray<string | RegExp>, Mistake> =>
  Array.isArray(input) && input.every((one) => typeof one === "string" || one instanceof RegExp)
    ? Result.succeed(input)
    : mistake(name, "a list of names of headers, or patterns of them", input)

/** The options of one call of `fanout` or `push`, on top of the layer's. */
export const decodeFanout = (
  options: Fanout.Options | undefined,
  layer: Pick<FanoutDecoded, "ttlMillis" | "maxPayloadBytes">
): Result.Result<FanoutDecoded, Mistake> => {
  const { keep, maxPayloadBytes, onBackendError = "fail", ttl } = options ?? {}
  if (onBackendError !== "fail" && onBackendError !== "run") {
    return mistake("onBackendError", `"fail" or "run"`, onBackendError)
  }
  const ttlMillis = ttl === undefined ? Result.succeed(layer.ttlMillis) : finiteMillis("ttl", ttl)
  if (Result.isFailure(ttlMillis)) return Result.fail(ttlMillis.failure)
  const keepMillis = orZero("keep", keep)
  if (Result.isFailure(keepMillis)) return Result.fail(keepMillis.failure)
  const bytes = payloadBytes("maxPayloadBytes", maxPayloadBytes ?? layer.maxPayloadBytes)
  return Result.map(bytes, (maxPayloadBytes) => ({
    ttlMillis: ttlMillis.success,
    keepMillis: keepMillis.success,
    maxPayloadBytes,
    runsAlone: onBackendError === "run"
  }))
}
