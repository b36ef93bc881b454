/**
 * One resource for those who have the same connections, however often a layer is used in a graph. A layer that is memoized
 * has one for all of the graph, whatever it is provided with; one that is not has one for each use.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"

interface Shared<A, E> {
  readonly scope: Scope.Closeable
  readonly made: Deferred.Deferred<A, E>
  users: number
}

export class Sharing<A, E> {
  readonly #shared = new WeakMap<object, Map<object, Shared<A, E>>>()

  /** Made by the first who asks, and closed with the last. */
  of(key: object, other: object, make: Effect.Effect<A, E, Scope.Scope>): Effect.Effect<A, E, Scope.Scope> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(Scope.make(), (scope) => {
        const all = this.#shared.get(key) ?? new Map<object, Shared<A, E>>()
        this.#shared.set(key, all)
        const found = all.get(other)
        const shared = found ?? { scope, made: Deferred.makeUnsafe<A, E>(), users: 0 }
        all.set(other, shared)
        shared.users++
        const leave = Effect.suspend(() => {
          if (--shared.users > 0) return Effect.void
          all.delete(other)
          return Scope.close(shared.scope, Exit.void)
        })
        const begin = found === undefined
          ? Deferred.into(restore(Scope.provide(make, shared.scope)), shared.made)
          : Effect.void
        return Effect.addFinalizer(() => leave).pipe(
          Effect.andThen(begin),
          Effect.andThen(restore(Deferred.await(shared.made)))
        )
      })
    )
  }
}
