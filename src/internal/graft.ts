import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"

/**
 * Runs the effect in a fiber of its own, and lets what it forks belong to the present fiber: it lives on when the effect
 * ends or is interrupted, as if the present fiber had run the effect itself.
 */
export const fork = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<Fiber.RuntimeFiber<A, E>, never, R> =>
  Effect.transplant((graft) => Effect.fork(graft(effect)))
