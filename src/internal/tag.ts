/** The service's tag, apart from `Dlock.ts` so that the modules it is made of can use it. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { Service } from "../Dlock.js"
import * as CallSite from "./callSite.js"

export class Dlock extends Context.Tag("effect-dlock/Dlock")<Dlock, Service>() {}

/**
 * What a public operation is, called from there. One step of the runtime, where `flatMap` of the tag takes three: thousands
 * may call at once.
 */
export const withDlock = <A, E, R>(
  operation: string,
  site: CallSite.CallSite | undefined,
  use: (dlock: Service) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R | Dlock> =>
  CallSite.at(`Dlock.${operation}`, site)(
    Effect.withFiberRuntime<A, E, R | Dlock>((fiber) => use(Context.unsafeGet(fiber.currentContext, Dlock)))
  )
