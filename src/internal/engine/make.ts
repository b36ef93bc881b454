/** Puts the engine together, and runs what it needs in the background for as long as the scope is open. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import * as Alarm from "../alarm.js"
import type { Store, Target } from "../store.js"
import type { Tokens } from "../tokens.js"
import { Engine } from "./engine.js"
import * as Heartbeat from "./heartbeat.js"
import { Keeper } from "./keeper.js"
import * as Leaver from "./leaver.js"
import { readAll } from "./reader.js"

export const make = (options: {
  readonly store: Store
  readonly commandTimeout: Duration.Duration
  readonly tokens: Tokens
}): Effect.Effect<Engine, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { store, tokens } = options
    const commandTimeoutMillis = Duration.toMillis(options.commandTimeout)
    const fork = yield* Effect.map(
      Effect.flatMap(FiberSet.make<void>(), (set) => FiberSet.runtime(set)()),
      (run) => (effect: Effect.Effect<void>): void => void run(Effect.interruptible(effect))
    )
    const settle = (targets: ReadonlyArray<Target>): void => {
      if (targets.length > 0) fork(settleAll(store, targets))
    }
    const leaver = yield* Leaver.make({ store, commandTimeoutMillis, settle, fork })
    const clock = yield* Effect.clockWith(Effect.succeed)
    const keeper = new Keeper({
      store,
      clock,
      commandTimeoutMillis,
      fork,
      leave: leaver.later,
      giveUpKept: leaver.giveUpKept,
      settle,
      isOwnToken: tokens.isOwn
    })
    keeper.alarm = yield* Alarm.make(() => Heartbeat.ring(keeper))
    yield* readAll(store.inbox, (event) => keeper.onEvent(event))
    const engine = new Engine(store, keeper, leaver, tokens.make, commandTimeoutMillis)
    yield* Effect.addFinalizer(() => Effect.sync(() => engine.close()))
    return engine
  })

/** One call takes at most 64 steps, so that no script is long (R22). */
const settleAll = (store: Store, targets: ReadonlyArray<Target>): Effect.Effect<void> =>
  Effect.flatMap(
    Effect.option(store.refresh({ items: [], subscribed: true, also: targets })),
    (reply) =>
      reply._tag === "Some" && reply.value.unsettled.length > 0 ? settleAll(store, reply.value.unsettled) : Effect.void
  )
