/** What Effect's `dual` is for functions whose subject is an effect, or a function that gives one. They know their caller. */
import * as Effect from "effect/Effect"
import * as CallSite from "./callSite.js"

/** A tag is an effect, and a class besides. */
const isBody = (u: unknown): boolean => Effect.isEffect(u) || typeof u === "function"

type Result = Effect.Effect<unknown, unknown, unknown>

/** `f(body, key, options)`, and piped: `body.pipe(f(key, options))`. */
export const bodyFirst = <Overloads, Body, Key, Options>(
  run: (site: CallSite.CallSite | undefined, body: Body, key: Key, options: Options | undefined) => Result
): Overloads => {
  const either = (first: Body & Key, second: Key & Options, third?: Options) => {
    const site = CallSite.here()
    return isBody(first) ? run(site, first, second, third) : (body: Body) => run(site, body, first, second)
  }
  // SAFETY: the overloads say which of the two it is, and give `run` its types.
  return either as Overloads
}

/** `f(key, body, options)`, and piped: `body.pipe(f(key, options))`. */
export const keyFirst = <Overloads, Options, Body = Result>(
  run: (site: CallSite.CallSite | undefined, key: string, body: Body, options: Options | undefined) => Result
): Overloads => {
  const either = (key: string, second: Body & Options, third?: Options) => {
    const site = CallSite.here()
    return isBody(second) ? run(site, key, second, third) : (body: Body) => run(site, key, body, second)
  }
  // SAFETY: as above.
  return either as Overloads
}
