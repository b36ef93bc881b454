import type * as Duration from "effect3/Duration"
import * as Schedule from "effect3/Schedule"

export * from "effect3/Schedule"

export const upTo: {
  (limit: { readonly duration: Duration.DurationInput }): <Out, In, R>(
    self: Schedule.Schedule<Out, In, R>
  ) => Schedule.Schedule<Out, In, R>
} = ({ duration }) => Schedule.upTo(duration)

/** Comes again when the first of two does. */
export const min = <A, B, In, R>(
  [one, other]: readonly [Schedule.Schedule<A, In, R>, Schedule.Schedule<B, In, R>]
): Schedule.Schedule<[A, B], In, R> => Schedule.union(one, other)
