/** For Effect 3, what `src/internal/edition.ts` is for Effect 4. */
import * as Cause from "effect3/Cause"
import type * as Clock from "effect3/Clock"
import type * as Config from "effect3/Config"
import type * as ConfigErrors from "effect3/ConfigError"
import * as Context from "effect3/Context"
import * as DefaultServices from "effect3/DefaultServices"
import type * as Duration from "effect3/Duration"
import * as Effect from "effect3/Effect"
import type * as Exit from "effect3/Exit"
import type * as Fiber from "effect3/Fiber"
import * as FiberId from "effect3/FiberId"
import * as FiberRef from "effect3/FiberRef"
import * as Layer from "effect3/Layer"
import * as Metric from "effect3/Metric"
import * as ParseResult from "effect3/ParseResult"
import * as Runtime from "effect3/Runtime"
import * as Schema from "effect3/Schema"
import * as Scope from "effect3/Scope"
import * as Tracer from "effect3/Tracer"

export type DurationInput = Duration.DurationInput
export type ConfigError = ConfigErrors.ConfigError
export type ConfigWrap<A> = Config.Config.Wrap<A>
export type Codec<A, I> = Schema.Schema<A, I>
export type AnyCodec = Schema.Schema.AnyNoContext
export type AnyFiber = Fiber.RuntimeFiber<unknown, unknown>

export const monotonicMillis = (clock: Clock.Clock): number => Number(clock.unsafeCurrentTimeNanos()) / 1e6

export const wallMillis = (clock: Clock.Clock): number => clock.unsafeCurrentTimeMillis()

export const contextOf = (fiber: AnyFiber): Context.Context<never> => fiber.currentContext

export const goOnWith = (_fiber: AnyFiber, context: Context.Context<never>): Effect.Effect<void> =>
  FiberRef.set(FiberRef.currentContext, context)

export const hasEnded = (fiber: AnyFiber): boolean => fiber.unsafePoll() !== null

export const interrupt = (fiber: AnyFiber): void => fiber.unsafeInterruptAsFork(FiberId.none)

const nativeTracer = Context.get(DefaultServices.liveServices, Tracer.Tracer)

export const isTraced = (fiber: AnyFiber): boolean => fiber.currentTracer !== nativeTracer

export type Start<R> = <A, E>(effect: Effect.Effect<A, E, R>) => Fiber.RuntimeFiber<A, E>

export const starter = <R>(fiber: AnyFiber): Start<R> => {
  const runtime = Runtime.make({
    // SAFETY: the fiber runs an effect that requires R.
    context: fiber.currentContext as Context.Context<R>,
    runtimeFlags: Runtime.defaultRuntimeFlags,
    fiberRefs: fiber.getFiberRefs()
  })
  // Not an interruption of this fiber that may be pending.
  return Runtime.runFork(Runtime.deleteFiberRef(runtime, FiberRef.interruptedCause))
}

export const forkGrafted = <A, E, R>(
  effect: Effect.Effect<A, E, R>
): Effect.Effect<Fiber.RuntimeFiber<A, E>, never, R> => Effect.transplant((graft) => Effect.fork(graft(effect)))

type Finalizer = (exit: Exit.Exit<unknown, unknown>) => Effect.Effect<void>

/** A child scope for each would do the same, and take a sixth of the time of taking a lock. */
export const addFinalizer = (scope: Scope.Scope, finalizer: Finalizer): Effect.Effect<() => void> => {
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

/** As layers are. */
export const perProvide = Layer.suspend

export const count = (counter: Metric.Metric.Counter<number>, attributes: Record<string, string> = {}): void =>
  Object.entries(attributes)
    .reduce((counter, [name, value]) => Metric.tagged(counter, name, value), counter)
    .unsafeUpdate(1, [])

export const randomOf = (fiber: AnyFiber): () => number => {
  const run = Runtime.runSync(Runtime.make({
    context: fiber.currentContext,
    runtimeFlags: Runtime.defaultRuntimeFlags,
    fiberRefs: fiber.getFiberRefs()
  }))
  return () => run(Effect.flatMap(Effect.random, (random) => random.next))
}

export const errorsIn = (cause: Cause.Cause<unknown>): ReadonlyArray<unknown> => [
  ...Cause.failures(cause),
  ...Cause.defects(cause)
]

export const withoutInterrupts = <E>(cause: Cause.Cause<E>): Cause.Cause<E> =>
  Cause.filter(cause, (part) => !Cause.isInterruptType(part))

export const optionalElement = Schema.optionalElement

/** A schema says so itself. */
export const jsonCodec = (schema: AnyCodec): AnyCodec => schema

export const readBy = <A extends {}>(
  expected: string,
  read: (input: unknown) => A | undefined
): Schema.Schema<A, unknown> =>
  Schema.declare([], {
    decode: () => (input, _, ast) => {
      const value = read(input)
      return value === undefined
        ? ParseResult.fail(new ParseResult.Type(ast, input, expected))
        : ParseResult.succeed(value)
    },
    encode: () => (input) => ParseResult.succeed(input)
  })
