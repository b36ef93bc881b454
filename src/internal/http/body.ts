/** Reads a body up to a limit of size and time. Past it, what was read is followed by the rest: nothing is lost. */
import * as Edition from "#http-edition"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"

export interface Limits {
  readonly maxBytes: number
  readonly maxTime: Duration.Duration
}

export interface Whole {
  readonly _tag: "Whole"
  readonly bytes: Uint8Array
}

/** All of it, or a stream of it, which the scope of the reading must outlive. */
export type Body<E> = Whole | { readonly _tag: "Long"; readonly stream: Stream.Stream<Uint8Array, E> }

export const read = <E, R>(
  stream: Stream.Stream<Uint8Array, E, R>,
  { maxBytes, maxTime }: Limits
): Effect.Effect<Body<E>, E, R | Scope.Scope> =>
  Effect.gen(function*() {
    const next = yield* Edition.partsOf(stream)
    const parts: Array<Uint8Array> = []
    let size = 0
    let isLate = false
    /** Whether that was all. */
    const readOn: Effect.Effect<boolean, E> = Effect.flatMap(next, (some) => {
      if (some === undefined) return Effect.succeed(true)
      for (const part of some) {
        parts.push(part)
        size += part.length
      }
      return size > maxBytes || isLate ? Effect.succeed(false) : readOn
    })
    // What is interrupted may have taken parts that it does not give: the fiber goes on when the time is over.
    const reading = yield* Effect.forkScoped(Effect.interruptible(readOn))
    const isWhole = yield* Effect.timeoutOption(Fiber.join(reading), maxTime)
    if (Option.contains(isWhole, true)) return { _tag: "Whole", bytes: join(parts, size) }

    isLate = true
    const sofar = parts.splice(0)
    const since = Effect.map(Fiber.join(reading), (isAll) => {
      const read = Stream.fromIterable(parts.splice(0))
      return isAll ? read : Stream.concat(read, Edition.fromParts(next))
    })
    return { _tag: "Long", stream: Stream.concat(Stream.fromIterable(sofar), Stream.unwrap(since)) }
  })

const join = (parts: ReadonlyArray<Uint8Array>, size: number): Uint8Array => {
  const bytes = new Uint8Array(size)
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}
