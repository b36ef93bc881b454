/**
 * What tests ask of Effect that its majors name differently: logs, metrics, and fibers seen from outside. The edition for
 * Effect 3 is tested with effect3/shim/testing/edition.ts in its place.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as References from "effect/References"
import type * as Scheduler from "effect/Scheduler"
import * as Tracer from "effect/Tracer"
import type { Host, Logged } from "./host.js"

export type { Host, Logged }

/** Logs nothing. */
export const silent = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.provideService(effect, References.MinimumLogLevel, "None")

/** Its log goes there, and nowhere else. */
export const loggedTo =
  (log: (line: Logged) => void) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    effect.pipe(
      Effect.provideService(
        References.CurrentLoggers,
        new Set([
          Logger.make(({ cause, fiber, logLevel, message }) =>
            log({
              level: logLevel.toUpperCase(),
              message,
              cause: cause.reasons.length === 0 ? "" : Cause.pretty(cause),
              annotations: fiber.getRef(References.CurrentLogAnnotations)
            })
          )
        ])
      ),
      Effect.provideService(References.MinimumLogLevel, "Info")
    )

/** Its log goes there as JSON, as Effect's own logger writes it. */
export const loggedAsJson =
  (log: (line: string) => void) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.provideService(effect, References.CurrentLoggers, new Set([Logger.map(Logger.formatJson, log)]))

export const logAnnotations: Effect.Effect<Readonly<Record<string, unknown>>> = Effect.withFiber((fiber) =>
  Effect.succeed(fiber.getRef(References.CurrentLogAnnotations))
)

/** What a counter shows, as an exporter of metrics sees it, in all of its attributes. */
export const counter = (name: string): Effect.Effect<number> =>
  Effect.map(
    Metric.snapshot,
    (all) =>
      all.reduce((sum, one) => one.id === name && one.type === "Counter" ? sum + Number(one.state.count) : sum, 0)
  )

/** How a fiber has ended, if it has. */
export const poll = <A, E>(fiber: Fiber.Fiber<A, E>): Effect.Effect<Option.Option<Exit.Exit<A, E>>> =>
  Effect.sync(() => Option.fromNullishOr(fiber.pollUnsafe()))

/** Interrupts it, and waits for nothing. */
export const interruptFork = (fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<void> =>
  Effect.sync(() => fiber.interruptUnsafe())

/** Interrupts it. Says how it has ended. */
export const interrupted = <A, E>(fiber: Fiber.Fiber<A, E>): Effect.Effect<Exit.Exit<A, E>> =>
  Effect.andThen(Fiber.interrupt(fiber), Fiber.await(fiber))

/** By a clock that shows that. */
export const byClock = (millis: () => number) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.clockWith((clock) => {
    const nanos = () => BigInt(Math.round(millis() * 1e6))
    return Effect.provideService(effect, Clock.Clock, {
      currentTimeMillisUnsafe: millis,
      currentTimeMillis: Effect.sync(millis),
      currentTimeNanosUnsafe: nanos,
      currentTimeNanos: Effect.sync(nanos),
      monotonicTimeNanosUnsafe: nanos,
      monotonicTimeNanos: Effect.sync(nanos),
      sleep: (duration) => clock.sleep(duration)
    })
  })

/** What Config reads. */
export const configured = (entries: Record<string, string>): Layer.Layer<never> =>
  ConfigProvider.layer(ConfigProvider.fromUnknown(entries))

/** Somebody collects the spans: told of the name and the attributes of each that has ended. */
export const traced = (
  onEnd: (
    span: {
      readonly name: string
      readonly attributes: ReadonlyMap<string, unknown>
      readonly exit: Exit.Exit<unknown, unknown>
    }
  ) => void
) =>
<A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.withTracer(
    effect,
    Tracer.make({
      span: (options) => {
        const span = new Tracer.NativeSpan(options)
        const end = span.end.bind(span)
        span.end = (time, exit) => {
          end(time, exit)
          onEnd({ name: span.name, attributes: span.attributes, exit })
        }
        return span
      }
    })
  )

/** Counts the fibers that are alive. */
export interface Crowd {
  readonly size: () => number
  /** Counts what is forked in it from here on. */
  readonly watch: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

export const crowd = (onEnd: (exit: Exit.Exit<unknown, unknown>) => void = () => {}): Crowd => {
  let size = 0
  const service: Metric.FiberRuntimeMetricsService = {
    recordFiberStart: () => void size++,
    recordFiberEnd: (_, exit) => {
      size--
      onEnd(exit)
    }
  }
  return { size: () => size, watch: Effect.provideService(Metric.FiberRuntimeMetrics, service) }
}

export const runOn = (host: Host, { watch }: Crowd) => {
  const nanos = (millis: () => number) => () => BigInt(Math.round(millis() * 1e6))
  const [wallNanos, monotonicNanos] = [nanos(host.wallMillis), nanos(host.now)]
  const clock: Clock.Clock = {
    currentTimeMillisUnsafe: host.wallMillis,
    currentTimeMillis: Effect.sync(host.wallMillis),
    currentTimeNanosUnsafe: wallNanos,
    currentTimeNanos: Effect.sync(wallNanos),
    monotonicTimeNanosUnsafe: monotonicNanos,
    monotonicTimeNanos: Effect.sync(monotonicNanos),
    sleep: (duration) =>
      Effect.callback<void>((resume) => {
        const cancel = host.timer(Duration.toMillis(duration), () => resume(Effect.void))
        return Effect.sync(cancel)
      })
  }
  const random = {
    nextDoubleUnsafe: host.random,
    nextIntUnsafe: () => Math.floor((host.random() - 0.5) * Number.MAX_SAFE_INTEGER)
  }
  const scheduler: Scheduler.Scheduler = {
    executionMode: "async",
    shouldYield: (fiber) => fiber.currentOpCount > 2048,
    makeDispatcher: () => ({ scheduleTask: (task) => host.schedule(task), flush: () => {} })
  }
  return <A, E>(effect: Effect.Effect<A, E>): Fiber.Fiber<A, E> =>
    Effect.runFork(
      silent(watch(effect)).pipe(
        Effect.provideService(Clock.Clock, clock),
        Effect.provideService(Random.Random, random)
      ),
      { scheduler }
    )
}
