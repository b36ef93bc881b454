import type * as Cause from "effect3/Cause"
import type * as Duration from "effect3/Duration"
import * as Effect from "effect3/Effect"
import * as Option from "effect3/Option"
import * as Result from "./Result.js"

export * from "effect3/Effect"
export {
  async as callback,
  catchAll as catch,
  catchAllCause as catchCause,
  fork as forkChild,
  forkDaemon as forkDetach,
  tapErrorCause as tapCause,
  withFiberRuntime as withFiber
} from "effect3/Effect"

export type Success<T extends Effect.Effect<unknown, unknown, unknown>> = Effect.Effect.Success<T>

export const fromResult = <A, E>(self: Result.Result<A, E>): Effect.Effect<A, E> =>
  Result.isFailure(self) ? Effect.fail(self.failure) : Effect.succeed(self.success)

export const result = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<Result.Result<A, E>, never, R> =>
  Effect.match(self, { onFailure: Result.fail, onSuccess: Result.succeed })

/** Effect 3 notes with the span what `fail` fails with, and not what `failCause` does. */
export const failCause = <E>(cause: Cause.Cause<E>): Effect.Effect<never, E> =>
  cause._tag === "Fail" ? Effect.fail(cause.error) : Effect.failCause(cause)

export const timeoutOrElse = <A, E, R, A2, E2, R2>(
  self: Effect.Effect<A, E, R>,
  { duration, orElse }: {
    readonly duration: Duration.DurationInput
    readonly orElse: () => Effect.Effect<A2, E2, R2>
  }
): Effect.Effect<A | A2, E | E2, R | R2> =>
  Effect.flatten(Effect.timeoutTo(self, {
    duration,
    onTimeout: orElse,
    onSuccess: (a): Effect.Effect<A | A2, E2, R2> => Effect.succeed(a)
  }))

export const transposeOption = <A, E, R>(
  self: Option.Option<Effect.Effect<A, E, R>>
): Effect.Effect<Option.Option<A>, E, R> => Option.isNone(self) ? Effect.succeedNone : Effect.asSome(self.value)

export const yieldNow: Effect.Effect<void> = Effect.yieldNow()
