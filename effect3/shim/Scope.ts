import type * as Effect from "effect3/Effect"
import * as ExecutionStrategy from "effect3/ExecutionStrategy"
import * as Scope from "effect3/Scope"

export * from "effect3/Scope"
export { type CloseableScope as Closeable, extend as provide } from "effect3/Scope"

type Strategy = "sequential" | "parallel"

export const make = (strategy: Strategy = "sequential"): Effect.Effect<Scope.CloseableScope> =>
  Scope.make(ExecutionStrategy[strategy])

export const fork = (self: Scope.Scope, strategy: Strategy = "sequential"): Effect.Effect<Scope.CloseableScope> =>
  Scope.fork(self, ExecutionStrategy[strategy])
