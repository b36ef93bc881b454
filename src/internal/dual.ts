/** What Effect's `dual` is for functions whose subject is an effect, or a function that gives one. */
import * as Effect from "effect/Effect"

/** A tag is an effect, and a class besides. */
export const isBody = (u: unknown): boolean => Effect.isEffect(u) || typeof u === "function"

/** `f(key, body, options)`, and piped: `body.pipe(f(key, options))`. */
export const keyFirst = <Overloads, Options, Body = Effect.Effect<unknown, unknown, unknown>>(
  run: (key: string, body: Body, options: Options | undefined) => Effect.Effect<unknown, unknown, unknown>
): Overloads => {
  const either = (key: string, second: Body & Options, third?: Options) =>
    isBody(second) ? run(key, second, third) : (body: Body) => run(key, body, second)
  // SAFETY: the overloads say which of the two it is, and give `run` its types.
  return either as Overloads
}
