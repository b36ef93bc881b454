/** The service's tag, apart from `Dlock.ts` so that the modules it is made of can use it. */
import * as Edition from "#edition"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { Service } from "../Dlock.js"
import * as CallSite from "./callSite.js"

export class Dlock extends Context.Service<Dlock, Service>()("effect-dlock/Dlock") {}

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
    Effect.withFiber<A, E, R | Dlock>((fiber) => use(Context.getUnsafe(Edition.contextOf(fiber), Dlock)))
  )
