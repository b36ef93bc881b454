/** For Effect 3, what `test/support/edition.ts` is for Effect 4. */
import * as Cause from "effect3/Cause"
import * as Clock from "effect3/Clock"
import * as ConfigProvider from "effect3/ConfigProvider"
import * as Duration from "effect3/Duration"
import * as Effect from "effect3/Effect"
import type * as Exit from "effect3/Exit"
import * as Fiber from "effect3/Fiber"
import * as FiberRef from "effect3/FiberRef"
import * as Layer from "effect3/Layer"
import * as Logger from "effect3/Logger"
import * as LogLevel from "effect3/LogLevel"
import * as Metric from "effect3/Metric"
import * as MetricState from "effect3/MetricState"
import type * as Option from "effect3/Option"
import * as Random from "effect3/Random"
import type * as Scheduler from "effect3/Scheduler"
import * as Supervisor from "effect3/Supervisor"
import * as Tracer from "effect3/Tracer"
import type { Host, Logged } from "../../../test/support/host.js"

export type { Host, Logged }

export const silent = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Logger.withMinimumLogLevel(effect, LogLevel.None)

const withLogger = (logger: Logger.Logger<unknown, void>) =>
  Effect.provide(Logger.replace(Logger.defaultLogger, logger))

export const loggedTo =
  (log: (line: Logged) => void) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    effect.pipe(
      withLogger(Logger.make(({ annotations, cause, logLevel, message }) =>
        log({
          level: logLevel.label,
          message,
          cause: Cause.isEmpty(cause) ? "" : Cause.pretty(cause),
          annotations: Object.fromEntries(annotations)
        })
      )),
      Logger.withMinimumLogLevel(LogLevel.Info)
    )

export const loggedAsJson =
  (log: (line: string) => void) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    withLogger(Logger.map(Logger.jsonLogger, log))(effect)

export const logAnnotations: Effect.Effect<Readonly<Record<string, unknown>>> = Effect.map(
  FiberRef.get(FiberRef.currentLogAnnotations),
  (annotations) => Object.fromEntries(annotations)
)

export const counter = (name: string): Effect.Effect<number> =>
  Effect.map(
    Metric.snapshot,
    (pairs) =>
      pairs.reduce((sum, { metricKey, metricState }) =>
        metricKey.name === name && MetricState.isCounterState(metricState) ? sum + Number(metricState.count) : sum, 0)
  )

export const poll = <A, E>(fiber: Fiber.RuntimeFiber<A, E>): Effect.Effect<Option.Option<Exit.Exit<A, E>>> =>
  Fiber.poll(fiber)

export const interruptFork = (fiber: Fiber.RuntimeFiber<unknown, unknown>): Effect.Effect<void> =>
  Fiber.interruptFork(fiber)

export const interrupted = <A, E>(fiber: Fiber.RuntimeFiber<A, E>): Effect.Effect<Exit.Exit<A, E>> =>
  Fiber.interrupt(fiber)

export const byClock = (millis: () => number) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.clockWith((clock) => {
    const nanos = () => BigInt(Math.round(millis() * 1e6))
    return Effect.withClock(effect, {
      [Clock.ClockTypeId]: Clock.ClockTypeId,
      unsafeCurrentTimeMillis: millis,
      currentTimeMillis: Effect.sync(millis),
      unsafeCurrentTimeNanos: nanos,
      currentTimeNanos: Effect.sync(nanos),
      sleep: (duration) => clock.sleep(duration)
    })
  })

export const configured = (entries: Record<string, string>): Layer.Layer<never> =>
  Layer.setConfigProvider(ConfigProvider.fromMap(new Map(Object.entries(entries))))

interface Ended {
  readonly name: string
  readonly attributes: ReadonlyMap<string, unknown>
  readonly exit: Exit.Exit<unknown, unknown>
}

export const traced =
  (onEnd: (span: Ended) => void) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.withTracer(
      effect,
      Tracer.make({
        context: (f) => f(),
        span: (name, parent, context, links, startTime, kind) => {
          const attributes = new Map<string, unknown>()
          return {
            _tag: "Span",
            name,
            parent,
            context,
            links,
            kind,
            spanId: name,
            traceId: name,
            sampled: true,
            status: { _tag: "Started", startTime },
            attributes,
            attribute: (key, value) => void attributes.set(key, value),
            addLinks: () => {},
            end: (_, exit) => onEnd({ name, attributes, exit }),
            event: () => {}
          }
        }
      })
    )

class Counting extends Supervisor.AbstractSupervisor<void> {
  readonly value = Effect.void
  size = 0

  constructor(readonly told: (exit: Exit.Exit<unknown, unknown>) => void) {
    super()
  }

  override onStart(): void {
    this.size++
  }

  override onEnd<A, E>(exit: Exit.Exit<A, E>): void {
    this.size--
    this.told(exit)
  }
}

export interface Crowd {
  readonly size: () => number
  readonly watch: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

export const crowd = (onEnd: (exit: Exit.Exit<unknown, unknown>) => void = () => {}): Crowd => {
  const supervisor = new Counting(onEnd)
  return {
    size: () => supervisor.size,
    watch: (effect) => Effect.provide(effect, Supervisor.addSupervisor(supervisor))
  }
}

export const runOn = (host: Host, { watch }: Crowd) => {
  const nanos = () => BigInt(Math.round(host.now() * 1e6))
  const clock: Clock.Clock = {
    [Clock.ClockTypeId]: Clock.ClockTypeId,
    unsafeCurrentTimeMillis: host.wallMillis,
    currentTimeMillis: Effect.sync(host.wallMillis),
    // The only one that never steps.
    unsafeCurrentTimeNanos: nanos,
    currentTimeNanos: Effect.sync(nanos),
    sleep: (duration) =>
      Effect.async<void>((resume) => {
        const cancel = host.timer(Duration.toMillis(duration), () => resume(Effect.void))
        return Effect.sync(cancel)
      })
  }
  const random = Random.make(host.random())
  const scheduler: Scheduler.Scheduler = {
    shouldYield: (fiber) => fiber.currentOpCount > 2048 ? 0 : false,
    scheduleTask: (task) => host.schedule(task)
  }
  return <A, E>(effect: Effect.Effect<A, E>): Fiber.RuntimeFiber<A, E> =>
    Effect.runFork(silent(watch(effect)).pipe(Effect.withClock(clock), Effect.withRandom(random)), { scheduler })
}
