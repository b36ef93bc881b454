/** What Effect's `dual` is for functions that take their subject first, for those that take a key before it. */
import * as Effect from "effect/Effect"

/** `f(key, effect, options)`, and piped: `effect.pipe(f(key, options))`. */
export const keyFirst = <Overloads, Options>(
  body: <A, E, R>(
    key: string,
    effect: Effect.Effect<A, E, R>,
    options: Options | undefined
  ) => Effect.Effect<unknown, unknown, unknown>
): Overloads => {
  const either = (key: string, second?: Effect.Effect<unknown, unknown, unknown> | Options, third?: Options) =>
    Effect.isEffect(second)
      ? body(key, second, third)
      : (effect: Effect.Effect<unknown, unknown, unknown>) => body(key, effect, second)
  // SAFETY: the overloads say which of the two it is, and give `body` its types.
  return either as Overloads
}
