/** Decodes what users write in options. What can only be a programming error is a `Mistake`, which names the option. */
import * as Duration from "effect/Duration"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import type * as Lock from "../Lock.js"
import type { Terms } from "./engine/lease.js"

const metadataLengthMax = 256

/** Longer than any lease should be, and small enough that sums of a few stay safe integers. */
const millisMax = Duration.toMillis("365 days")

/** To die with. */
export type Mistake = TypeError

/** Milliseconds of an option that must be a finite time above zero. */
export const positiveMillis = (name: string, input: Duration.DurationInput): Either.Either<number, Mistake> => {
  const millis = Option.map(Duration.decodeUnknown(input), Duration.toMillis)
  return Option.isSome(millis) && millis.value > 0 && millis.value <= millisMax
    ? Either.right(millis.value)
    : mistake(name, `a duration above zero and at most 365 days, like "10 seconds"`, input)
}

const mistake = (name: string, wanted: string, got: unknown): Either.Either<never, Mistake> =>
  Either.left(new TypeError(`effect-dlock: option \`${name}\` must be ${wanted}, not ${show(got)}`))

const show = (value: unknown): string =>
  Duration.isDuration(value)
    ? Duration.format(value)
    : Either.getOrElse(Either.try(() => JSON.stringify(value) ?? String(value)), () => typeof value)

export interface Decoded extends Omit<Terms, "claims"> {
  readonly waitMillis: number
}

const orInfinity = (name: string, input: Duration.DurationInput | undefined): Either.Either<number, Mistake> =>
  input === undefined || input === Duration.infinity || input === Infinity
    ? Either.right(Infinity)
    : positiveMillis(name, input)

/** The options of one call, on top of the layer's ttl. */
export const decode = (options: Lock.Options | undefined, layerTtlMillis: number): Either.Either<Decoded, Mistake> => {
  const { maxHold, metadata = "", renew = true, ttl, wait } = options ?? {}
  if (typeof metadata !== "string" || metadata.length > metadataLengthMax) {
    return mistake("metadata", `a string of at most ${metadataLengthMax} characters`, metadata)
  }
  if (typeof renew !== "boolean") return mistake("renew", "true or false", renew)
  const ttlMillis = ttl === undefined ? Either.right(layerTtlMillis) : positiveMillis("ttl", ttl)
  if (Either.isLeft(ttlMillis)) return Either.left(ttlMillis.left)
  const waitMillis = orInfinity("wait", wait)
  if (Either.isLeft(waitMillis)) return Either.left(waitMillis.left)
  const maxHoldMillis = orInfinity("maxHold", maxHold)
  return Either.map(maxHoldMillis, (maxHoldMillis) => ({
    ttlMillis: ttlMillis.right,
    waitMillis: waitMillis.right,
    maxHoldMillis,
    renew,
    metadata
  }))
}
