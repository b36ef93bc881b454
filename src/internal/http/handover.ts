/** What cannot be shared goes to the one caller whose job has got it, if that one still waits. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import { alone, type Outcome } from "./outcome.js"

/** What a job came to. Where that is not shared, it is live: good for as long as the scope of the job. */
export interface Produced<A, E> {
  readonly outcome: Outcome
  readonly live?: Effect.Effect<A, E>
}

export const notShared = <A, E>(live: Effect.Effect<A, E>): Produced<A, E> => ({ outcome: alone, live })

export class Handover<A, E> {
  private live: { readonly response: Effect.Effect<A, E>; readonly scope: Scope.Closeable } | undefined
  private isLeft = false

  /** The job, in a scope of its own: that of its caller may close while others wait. */
  job<R>(produce: Effect.Effect<Produced<A, E>, never, R>): Effect.Effect<Outcome, never, Exclude<R, Scope.Scope>> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(
        Scope.make(),
        (scope) =>
          Effect.flatMap(Effect.exit(restore(Scope.provide(produce, scope))), (exit) => {
            const outcome = Exit.map(exit, ({ outcome }) => outcome)
            return Exit.isSuccess(exit) && exit.value.live !== undefined
              ? Effect.andThen(this.put(exit.value.live, scope), outcome)
              : Effect.andThen(Scope.close(scope, Exit.void), outcome)
          })
      )
    )
  }

  private put(response: Effect.Effect<A, E>, scope: Scope.Closeable): Effect.Effect<void> {
    if (this.isLeft) return Scope.close(scope, Exit.void)
    const before = this.live
    this.live = { response, scope }
    return before === undefined ? Effect.void : Scope.close(before.scope, Exit.void)
  }

  /** It lives on with the caller's scope; where there is none, until it was read. */
  readonly take: Effect.Effect<Option.Option<Effect.Effect<A, E>>> = Effect.uninterruptible(
    Effect.flatMap(Effect.serviceOption(Scope.Scope), (mine) => {
      const { live } = this
      if (live === undefined) return Effect.succeedNone
      this.live = undefined
      return Effect.as(
        Option.isSome(mine) ? Scope.addFinalizer(mine.value, Scope.close(live.scope, Exit.void)) : Effect.void,
        Option.some(live.response)
      )
    })
  )

  /** The caller has gone, or has another answer. */
  readonly leave: Effect.Effect<void> = Effect.suspend(() => {
    this.isLeft = true
    const { live } = this
    this.live = undefined
    return live === undefined ? Effect.void : Scope.close(live.scope, Exit.void)
  })
}
