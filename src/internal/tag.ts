/** The service's tag, apart from `Dlock.ts` so that the modules it is made of can use it. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { Service } from "../Dlock.js"

export class Dlock extends Context.Tag("effect-dlock/Dlock")<Dlock, Service>() {}

/** What a public operation is. One step of the runtime, where `flatMap` of the tag takes three: thousands may call at once. */
export const withDlock = <A, E, R>(use: (dlock: Service) => Effect.Effect<A, E, R>): Effect.Effect<A, E, R | Dlock> =>
  Effect.withFiberRuntime((fiber) => use(Context.unsafeGet(fiber.currentContext, Dlock)))
