import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"

type Finalizer = (exit: Exit.Exit<unknown, unknown>) => Effect.Effect<void>

/**
 * Adds a finalizer to the scope, and gives back what takes it out again: a scope that stays open must not keep everything
 * that was ever released in it. A child scope for each would do the same, and take a sixth of the time of taking a lock.
 */
export const add = (scope: Scope.Scope, finalizer: Finalizer): Effect.Effect<() => void> => {
  const finalizers = finalizersOf(scope)
  // Closed, or not Effect's own.
  if (finalizers === undefined) return Effect.as(Scope.addFinalizerExit(scope, finalizer), () => {})
  const key = {}
  finalizers.set(key, finalizer)
  return Effect.succeed(() => void finalizers.delete(key))
}

/** Of an open scope. The type does not tell of them, so they are looked for. */
const finalizersOf = (scope: Scope.Scope): Map<object, Finalizer> | undefined => {
  // SAFETY: nothing is said of what is there.
  const { state } = scope as { readonly state?: { readonly finalizers?: unknown } }
  return state?.finalizers instanceof Map ? state.finalizers : undefined
}
