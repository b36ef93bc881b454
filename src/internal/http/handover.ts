/** A response that cannot be shared goes to the one caller whose job has got it, if that one still waits. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import { alone, type Outcome } from "./outcome.js"

/** What a job came to. Its response, where that is not shared, lives as long as the scope of the job. */
export interface Produced<A> {
  readonly outcome: Outcome
  readonly live?: A
}

export const notShared = <A>(live: A): Produced<A> => ({ outcome: alone, live })

export class Handover<A> {
  private live: { readonly response: A; readonly scope: Scope.CloseableScope } | undefined
  private isLeft = false

  /** The job, in a scope of its own: that of its caller may close while others wait. */
  job<E, R>(produce: Effect.Effect<Produced<A>, E, R>): Effect.Effect<Outcome, E, Exclude<R, Scope.Scope>> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(
        Scope.make(),
        (scope) =>
          Effect.flatMap(Effect.exit(restore(Scope.extend(produce, scope))), (exit) => {
            const outcome = Exit.map(exit, ({ outcome }) => outcome)
            return Exit.isSuccess(exit) && exit.value.live !== undefined
              ? Effect.zipRight(this.put(exit.value.live, scope), outcome)
              : Effect.zipRight(Scope.close(scope, Exit.void), outcome)
          })
      )
    )
  }

  private put(response: A, scope: Scope.CloseableScope): Effect.Effect<void> {
    if (this.isLeft) return Scope.close(scope, Exit.void)
    const before = this.live
    this.live = { response, scope }
    return before === undefined ? Effect.void : Scope.close(before.scope, Exit.void)
  }

  /** It lives on with the caller's scope; where there is none, until it was read. */
  readonly take: Effect.Effect<Option.Option<A>> = Effect.flatMap(Effect.serviceOption(Scope.Scope), (mine) => {
    const { live } = this
    if (live === undefined) return Effect.succeedNone
    this.live = undefined
    return Effect.as(
      Option.isSome(mine) ? Scope.addFinalizer(mine.value, Scope.close(live.scope, Exit.void)) : Effect.void,
      Option.some(live.response)
    )
  })

  /** The caller has gone, or has another answer. */
  readonly leave: Effect.Effect<void> = Effect.suspend(() => {
    this.isLeft = true
    const { live } = this
    this.live = undefined
    return live === undefined ? Effect.void : Scope.close(live.scope, Exit.void)
  })
}
