/** Reads a body up to a limit of size and time. Past it, what was read is followed by the rest: nothing is lost. */
import * as Chunk from "effect/Chunk"
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

/** All of it, or a stream of it, which the scope of the reading must outlive. */
export type Body<E> =
  | { readonly _tag: "Whole"; readonly bytes: Uint8Array }
  | { readonly _tag: "Long"; readonly stream: Stream.Stream<Uint8Array, E> }

export const read = <E, R>(
  stream: Stream.Stream<Uint8Array, E, R>,
  { maxBytes, maxTime }: Limits
): Effect.Effect<Body<E>, E, R | Scope.Scope> =>
  Effect.gen(function*() {
    const pull = Effect.provide(yield* Stream.toPull(stream), yield* Effect.context<R>())
    const parts: Array<Uint8Array> = []
    let size = 0
    let isLate = false
    /** Whether that was all. */
    const readOn: Effect.Effect<boolean, E> = Effect.matchEffect(pull, {
      onFailure: Option.match({ onNone: () => Effect.succeed(true), onSome: (error) => Effect.fail(error) }),
      onSuccess: (chunk) => {
        for (const part of chunk) {
          parts.push(part)
          size += part.length
        }
        return size > maxBytes || isLate ? Effect.succeed(false) : readOn
      }
    })
    // A pull that is interrupted may have taken what it does not give: the fiber goes on when the time is over.
    const reading = yield* Effect.forkScoped(Effect.interruptible(readOn))
    const isWhole = yield* Effect.timeoutOption(Fiber.join(reading), maxTime)
    if (Option.contains(isWhole, true)) return { _tag: "Whole", bytes: join(parts, size) }

    isLate = true
    const sofar = parts.splice(0)
    const since = Effect.map(Fiber.join(reading), (isAll) => {
      const read = Stream.fromChunk(Chunk.unsafeFromArray(parts.splice(0)))
      return isAll ? read : Stream.concat(read, Stream.repeatEffectChunkOption(pull))
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
