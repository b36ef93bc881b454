/** Decodes what users write in options. What can only be a programming error dies, and the message names the option. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import type * as Lock from "../Lock.js"
import type { Terms } from "./engine/lease.js"

const metadataLengthMax = 256

/** Longer than any lease should be, and small enough that sums of a few stay safe integers. */
const millisMax = Duration.toMillis("365 days")

/** Milliseconds of an option that must be a finite time above zero. */
export const positiveMillis = (name: string, input: Duration.DurationInput): Effect.Effect<number> => {
  const millis = Option.map(Duration.decodeUnknown(input), Duration.toMillis)
  return Option.isSome(millis) && millis.value > 0 && millis.value <= millisMax
    ? Effect.succeed(millis.value)
    : die(name, `a duration above zero and at most 365 days, like "10 seconds"`, input)
}

const die = (name: string, wanted: string, got: unknown): Effect.Effect<never> =>
  Effect.die(
    new TypeError(
      `effect-dlock: option \`${name}\` must be ${wanted}, not ${Either.getOrElse(show(got), () => "that")}`
    )
  )

const show = (value: unknown): Either.Either<string, unknown> =>
  Either.try(() => Duration.isDuration(value) ? Duration.format(value) : JSON.stringify(value) ?? String(value))

export interface Decoded extends Omit<Terms, "claims"> {
  readonly waitMillis: number
}

const orInfinity = (name: string, input: Duration.DurationInput | undefined): Effect.Effect<number> =>
  input === undefined || input === Duration.infinity || input === Infinity
    ? Effect.succeed(Infinity)
    : positiveMillis(name, input)

/** The options of one call, on top of the layer's ttl. */
export const decode = (options: Lock.Options, ttlMillis: number): Effect.Effect<Decoded> => {
  const { maxHold, metadata = "", renew = true, ttl, wait } = options
  if (typeof metadata !== "string" || metadata.length > metadataLengthMax) {
    return die("metadata", `a string of at most ${metadataLengthMax} characters`, metadata)
  }
  if (typeof renew !== "boolean") return die("renew", "true or false", renew)
  return Effect.all({
    ttlMillis: ttl === undefined ? Effect.succeed(ttlMillis) : positiveMillis("ttl", ttl),
    waitMillis: orInfinity("wait", wait),
    maxHoldMillis: orInfinity("maxHold", maxHold),
    renew: Effect.succeed(renew),
    metadata: Effect.succeed(metadata)
  })
}
