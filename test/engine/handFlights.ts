/** A flight store that answers when the test says so, and an engine on it: see handStore.ts. */
import * as Edition from "#edition"
import * as TestEdition from "#test-edition"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import { BackendError } from "../../src/DlockError.js"
import { ask } from "../../src/internal/engine/callers.js"
import type { Caller, Landing, Produced } from "../../src/internal/engine/flight.js"
import * as Flights from "../../src/internal/engine/flights.js"
import type {
  Answer,
  FinishRequest,
  FlightEvent,
  FlightStore,
  Gone,
  JoinAnswer,
  JoinRequest,
  Outcome,
  RefreshItem
} from "../../src/internal/flightStore.js"
import { settleFibers } from "./handStore.js"

export const ttlMillis = 9_000
export const commandTimeoutMillis = 5_000

interface Asked<In, Out> {
  readonly input: In
  readonly reply: (answer: Out) => void
  readonly fail: (reason?: BackendError["reason"]) => void
}

const failure = (reason: BackendError["reason"]) =>
  new BackendError({ operation: "test", reason, outcome: "Unknown", cause: new Error("cut") })

const verb = <In, Out>() => {
  const calls: Array<Asked<In, Out>> = []
  const open: Array<() => void> = []
  let hungUp = false
  const call = (input: In) =>
    Effect.callback<Out, BackendError>((resume) => {
      const fail = (reason: BackendError["reason"] = "Unreachable") => resume(Effect.fail(failure(reason)))
      if (hungUp) return fail()
      open.push(fail)
      calls.push({ input, reply: (answer) => resume(Effect.succeed(answer)), fail })
    })
  const take = (patience: number): Effect.Effect<Asked<In, Out>> =>
    Effect.suspend(() => {
      const first = calls.shift()
      if (first) return Effect.succeed(first)
      return patience === 0
        ? Effect.die(new Error("nothing was asked"))
        : Effect.andThen(Effect.yieldNow, take(patience - 1))
    })
  /** From now on every call fails, and those that were never answered do. A test is over. */
  const hangUp = () => {
    hungUp = true
    open.forEach((fail) => fail())
  }
  return { call, next: take(1_000), calls, hangUp }
}

interface Part {
  readonly id: string
  readonly token: string
}

/** An engine on a hand-driven store, subscribed. The server's clock shows `serverMillis` more than the local one. */
export const setup = Effect.gen(function*() {
  const inbox = yield* Queue.make<FlightEvent>()
  const join = verb<JoinRequest, JoinAnswer>()
  const refresh = verb<ReadonlyArray<RefreshItem>, ReadonlyArray<Answer>>()
  const finish = verb<FinishRequest, boolean>()
  const refuse = verb<Part, void>()
  const leave = verb<Part, void>()
  const fetch = verb<Part, Outcome | Gone>()
  let ahead = 0
  const store: FlightStore = {
    inbox,
    probe: Effect.void,
    join: join.call,
    refresh: refresh.call,
    finish: finish.call,
    refuse: refuse.call,
    leave: leave.call,
    fetch: fetch.call,
    serverMillisAtMost: (localMillis) => localMillis + 1 + ahead
  }
  /** What the store has learned of the server's clock last. */
  const clock = {
    serverIsAhead: (millis: number) => {
      ahead = millis
    }
  }
  let tokens = 0
  const flights = yield* Flights.make({
    store,
    commandTimeoutMillis,
    tokens: { make: () => `token-${++tokens}`, isOwn: (token) => token.startsWith("token-") },
    refused: "refused",
    interrupted: "interrupted"
  })
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => [join, refresh, finish, refuse, leave, fetch].forEach((verb) => verb.hangUp()))
  )
  /** Sends a message, and lets it arrive. */
  const send = (event: FlightEvent) => Effect.andThen(Queue.offer(inbox, event), settleFibers)
  yield* send({ _tag: "Subscribed" })

  const start = Edition.starter<never>(yield* Effect.withFiber<Edition.AnyFiber>((fiber) => Effect.succeed(fiber)))
  /** A caller whose job ends when the test says so. */
  const call = (
    options: Partial<Pick<Caller, "keepMillis" | "arrivedAt" | "ttlMillis" | "patient">> & {
      readonly cleanup?: Effect.Effect<void>
      readonly alone?: boolean
    } = {}
  ) =>
    Effect.gen(function*() {
      const produced = yield* Deferred.make<Produced>()
      let started = 0
      let onGo = (): void => {}
      let interrupted = 0
      const job = Deferred.await(produced).pipe(
        Effect.onInterrupt(() => Effect.andThen(Effect.sync(() => interrupted++), options.cleanup ?? Effect.void))
      )
      const caller: Caller = {
        ttlMillis,
        retentionMillis: 15_000,
        keepMillis: 0,
        arrivedAt: flights.keeper.now(),
        patient: true,
        listens: false,
        prepare: () => {
          started++
          return { job: start(job), go: () => onGo() }
        },
        onRole: undefined,
        ...options
      }
      const end = (payload: string) =>
        Effect.andThen(Deferred.succeed(produced, { payload, keepMillis: 0 }), settleFibers)
      const fiber = yield* Effect.forkChild(ask(flights, "id", caller, options.alone))
      yield* settleFibers
      return {
        fiber,
        started: () => started,
        interrupted: () => interrupted,
        /** What happens in the first step of its job. */
        onGo: (what: () => Effect.Effect<void>) =>
          Effect.sync(() => {
            onGo = () => void start(Effect.suspend(what))
          }),
        /** The job ends. */
        end,
        /** The job ends, and the store has been told. */
        finish: (payload: string) =>
          end(payload).pipe(
            Effect.andThen(finish.next),
            Effect.tap((asked) => Effect.sync(() => asked.reply(true))),
            Effect.andThen(settleFibers)
          )
      }
    })
  return { flights, join, refresh, finish, refuse, leave, fetch, send, call, clock }
})

export const leads = (followers = 0, remainingMillis = ttlMillis) =>
  ({ _tag: "Leads", remainingMillis, followers }) as const

export const follows = (leaderEndsMillis = ttlMillis, remainingMillis = ttlMillis) =>
  ({ _tag: "Follows", remainingMillis, leaderEndsMillis }) as const

export const outcome = (payload: string, finishedAt = 0) => ({ _tag: "Outcome", payload, finishedAt }) as const

export const isWaiting = (fiber: Fiber.Fiber<unknown, unknown>) =>
  Effect.map(TestEdition.poll(fiber), (exit) => exit._tag === "None")

export const payloadOf = (fiber: Fiber.Fiber<Landing, BackendError>) =>
  Effect.map(Fiber.join(fiber), (landing) => landing.payload)
