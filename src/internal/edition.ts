/**
 * What the two majors of Effect name differently and no renaming can bridge: what the library needs to know of a fiber, a
 * clock, a counter, a scope and a cause, and the types in public signatures. This is Effect 4's; the edition for Effect 3
 * has effect3/shim/edition.ts in its place.
 */
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import type * as Config from "effect/Config"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import * as Scope from "effect/Scope"

export type DurationInput = Duration.Input
export type ConfigError = Config.ConfigError
export type ConfigWrap<A> = Config.Wrap<A>
export type Codec<A, I> = Schema.Codec<A, I>
export type AnyCodec = Schema.Codec<unknown, unknown>
export type AnyFiber = Fiber.Fiber<unknown, unknown>

/** Milliseconds of a clock that never steps. */
export const monotonicMillis = (clock: Clock.Clock): number => Number(clock.monotonicTimeNanosUnsafe()) / 1e6

/** Milliseconds since 1970, as the machine says. */
export const wallMillis = (clock: Clock.Clock): number => clock.currentTimeMillisUnsafe()

/** What is provided around what it does. */
export const contextOf = (fiber: AnyFiber): Context.Context<never> => fiber.context

/** What it goes on with, until the end of what has provided its services. */
export const goOnWith = (fiber: AnyFiber, context: Context.Context<never>): Effect.Effect<void> =>
  Effect.sync(() => fiber.setContext(context))

export const hasEnded = (fiber: AnyFiber): boolean => fiber.pollUnsafe() !== undefined

/** Waits for nothing. */
export const interrupt = (fiber: AnyFiber): void => fiber.interruptUnsafe()

/** Whether somebody collects its spans. Effect's own tracer keeps spans that nobody reads. */
export const isTraced = (fiber: AnyFiber): boolean => fiber.cache.tracer !== undefined

/** Starts an effect at once in a fiber of its own, which nobody waits for. */
export type Start<R> = <A, E>(effect: Effect.Effect<A, E, R>) => Fiber.Fiber<A, E>

/** With all that the fiber has. */
export const starter = <R>(fiber: AnyFiber): Start<R> =>
  // SAFETY: the fiber runs an effect that requires R.
  Effect.runForkWith(fiber.context as Context.Context<R>)

/**
 * Runs the effect in a fiber of its own, and lets what it forks belong to the present fiber: it lives on when the effect
 * ends or is interrupted, as if the present fiber had run the effect itself.
 */
export const forkGrafted = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<Fiber.Fiber<A, E>, never, R> =>
  Effect.withFiber((parent) =>
    Effect.forkChild(
      Effect.onExit(effect, () => Effect.withFiber((child) => Effect.sync(() => adopt(parent, child)))),
      { startImmediately: true, uninterruptible: "inherit" }
    )
  )

/** The types do not tell of them, so they are looked for: without them, what the child has forked ends with it. */
interface Parent {
  readonly children?: () => Set<{ _parent?: unknown }>
  readonly _children?: Set<{ _parent?: unknown }> | undefined
}

const adopt = (parent: AnyFiber & Parent, child: AnyFiber & Parent): void => {
  const adopted = parent.children?.()
  if (adopted === undefined) return
  for (const one of [...child._children ?? []]) {
    child._children?.delete(one)
    adopted.add(one)
    one._parent = parent
  }
}

/**
 * Adds a finalizer to the scope, and gives back what takes it out again: a scope that stays open must not keep everything
 * that was ever released in it.
 */
export const addFinalizer = (
  scope: Scope.Scope,
  finalizer: (exit: Exit.Exit<unknown, unknown>) => Effect.Effect<void>
): Effect.Effect<() => void> =>
  Effect.suspend(() => {
    const own = Scope.forkUnsafe(scope)
    // What is closed by hand gives its finalizer back instead of running it.
    return Effect.as(Scope.addFinalizerExit(own, finalizer), () => void Scope.closeUnsafe(own, Exit.void))
  })

/** One within a graph of layers. A `provide` inside of another makes its own, which it does not with other layers. */
export const perProvide = <A, E, R>(make: () => Layer.Layer<A, E, R>): Layer.Layer<A, E, R> => {
  const layers = new WeakMap<Layer.MemoMap, Layer.Layer<A, E, R>>()
  // Each `provide` has a map of its own: what it does not find there it looks for in that of the one around it.
  return Layer.fromBuild((memoMap, scope) => {
    const layer = layers.get(memoMap) ?? make()
    layers.set(memoMap, layer)
    return Layer.buildWithMemoMap(layer, memoMap, scope)
  })
}

export const count = (counter: Metric.Counter<number>, attributes?: Record<string, string>): void =>
  (attributes === undefined ? counter : Metric.withAttributes(counter, attributes)).updateUnsafe(1, Context.empty())

/** A number from 0 to 1, of the random numbers that are provided around it. */
export const randomOf = (fiber: AnyFiber): () => number => {
  const random = fiber.getRef(Random.Random)
  return () => random.nextDoubleUnsafe()
}

/** All that it failed with or died of. */
export const errorsIn = (cause: Cause.Cause<unknown>): ReadonlyArray<unknown> =>
  cause.reasons.flatMap((reason) =>
    Cause.isFailReason(reason) ? [reason.error] : Cause.isDieReason(reason) ? [reason.defect] : []
  )

export const withoutInterrupts = <E>(cause: Cause.Cause<E>): Cause.Cause<E> =>
  Cause.fromReasons(cause.reasons.filter((reason) => !Cause.isInterruptReason(reason)))

/** An element that a tuple may end without. */
export const optionalElement = <S extends Schema.Top>(schema: S): Schema.optionalKey<S> => Schema.optionalKey(schema)

/** How what it describes is JSON. */
export const jsonCodec = (schema: AnyCodec): AnyCodec => Schema.toCodecJson(schema)

/** What is read in one step, or is not what is expected. */
export const readBy = <A extends {}>(
  expected: string,
  read: (input: unknown) => A | undefined
): Schema.Codec<A, unknown> =>
  Schema.declareConstructor<A, unknown>()([], () => (input, ast, options) => {
    const value = read(input)
    return value === undefined
      ? Effect.fail(new SchemaIssue.InvalidType(ast, input, options))
      : Effect.succeed(value)
  }, { expected })
