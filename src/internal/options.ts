/** Decodes what users write in options. What can only be a programming error is a `Mistake`, which names the option. */
import * as Duration from "effect/Duration"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
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
export const finiteMillis = (name: string, input: Duration.DurationInput): Either.Either<number, Mistake> => {
  const millis = toMillis(input)
  return millis !== undefined && millis >= millisMin && millis <= millisMax
    ? Either.right(millis)
    : mistake(name, `a duration of at least ${millisMin} millis and at most 365 days, like "10 seconds"`, input)
}

const toMillis = (input: unknown): number | undefined =>
  // Most options are left out, and `decodeUnknown` throws and catches to say that this is no duration.
  input === undefined ? undefined : Option.getOrUndefined(Option.map(Duration.decodeUnknown(input), Duration.toMillis))

const mistake = (name: string, wanted: string, got: unknown): Either.Either<never, Mistake> =>
  Either.left(new TypeError(`effect-dlock: option \`${name}\` must be ${wanted}, not ${show(got)}`))

const show = (value: unknown): string =>
  Duration.isDuration(value)
    ? Duration.format(value)
    : Either.getOrElse(Either.try(() => JSON.stringify(value) ?? String(value)), () => typeof value)

/** What UTF-8 cannot carry would be changed on the way. */
const isWellFormed = (input: unknown): input is string => typeof input === "string" && !/\p{Surrogate}/u.test(input)

export const prefix = (input: unknown): Either.Either<string, Mistake> =>
  isWellFormed(input)
    ? Either.right(input)
    : mistake("prefix", "a string of well-formed Unicode", input)

/** Also how many permits a writer takes. */
export const permitsMax = 2 ** 31

/** A number of permits. */
export const permits = (input: unknown): Either.Either<number, Mistake> =>
  typeof input === "number" && Number.isInteger(input) && input >= 1 && input <= permitsMax
    ? Either.right(input)
    : mistake("permits", `a whole number from 1 to ${permitsMax}`, input)

/** Milliseconds of an option that is 0 when it is left out. */
const orZero = (name: string, input: Duration.DurationInput | undefined): Either.Either<number, Mistake> =>
  input === undefined || toMillis(input) === 0 ? Either.right(0) : finiteMillis(name, input)

/** Milliseconds to keep a singleton at least. */
export const holdMillis = (input: Duration.DurationInput | undefined): Either.Either<number, Mistake> =>
  orZero("hold", input)

export interface Decoded {
  readonly terms: Terms
  /** 0 is not at all. */
  readonly waitMillis: number
  readonly failsReentrant: boolean
}

const orInfinity = (name: string, input: Duration.DurationInput | undefined): Either.Either<number, Mistake> =>
  input === undefined || toMillis(input) === Infinity ? Either.right(Infinity) : finiteMillis(name, input)

/** What is left of a budget may be next to nothing, and is no mistake. */
const waitMillisOf = (input: Duration.DurationInput | undefined): Either.Either<number, Mistake> => {
  const millis = toMillis(input)
  return millis !== undefined && millis < millisMin ? Either.right(millis) : orInfinity("wait", input)
}

/** The options of one call, on top of the layer's ttl. */
export const decode = (options: Lock.Options | undefined, layerTtlMillis: number): Either.Either<Decoded, Mistake> => {
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
  const ttlMillis = ttl === undefined ? Either.right(layerTtlMillis) : finiteMillis("ttl", ttl)
  if (Either.isLeft(ttlMillis)) return Either.left(ttlMillis.left)
  const waitMillis = waitMillisOf(wait)
  if (Either.isLeft(waitMillis)) return Either.left(waitMillis.left)
  const maxHoldMillis = orInfinity("maxHold", maxHold)
  return Either.map(maxHoldMillis, (maxHoldMillis) => ({
    terms: { ttlMillis: ttlMillis.right, maxHoldMillis, renew, metadata, onHolder: undefined },
    waitMillis: waitMillis.right,
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

export const payloadBytes = (name: string, input: number): Either.Either<number, Mistake> =>
  Number.isSafeInteger(input) && input > 0 && input <= payloadBytesMax
    ? Either.right(input)
    : mistake(name, `a whole number from 1 to ${payloadBytesMax}`, input)

/** Names of headers, and patterns of such names. */
export const headerNames = (
  name: string,
  input: ReadonlyArray<string | RegExp>
): Either.Either<ReadonlyArray<string | RegExp>, Mistake> =>
  Array.isArray(input) && input.every((one) => typeof one === "string" || one instanceof RegExp)
    ? Either.right(input)
    : mistake(name, "a list of names of headers, or patterns of them", input)

/** The options of one call of `fanout` or `push`, on top of the layer's. */
export const decodeFanout = (
  options: Fanout.Options | undefined,
  layer: Pick<FanoutDecoded, "ttlMillis" | "maxPayloadBytes">
): Either.Either<FanoutDecoded, Mistake> => {
  const { keep, maxPayloadBytes, onBackendError = "fail", ttl } = options ?? {}
  if (onBackendError !== "fail" && onBackendError !== "run") {
    return mistake("onBackendError", `"fail" or "run"`, onBackendError)
  }
  const ttlMillis = ttl === undefined ? Either.right(layer.ttlMillis) : finiteMillis("ttl", ttl)
  if (Either.isLeft(ttlMillis)) return Either.left(ttlMillis.left)
  const keepMillis = orZero("keep", keep)
  if (Either.isLeft(keepMillis)) return Either.left(keepMillis.left)
  const bytes = payloadBytes("maxPayloadBytes", maxPayloadBytes ?? layer.maxPayloadBytes)
  return Either.map(bytes, (maxPayloadBytes) => ({
    ttlMillis: ttlMillis.right,
    keepMillis: keepMillis.right,
    maxPayloadBytes,
    runsAlone: onBackendError === "run"
  }))
}
