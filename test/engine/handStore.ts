/**
 * A store that answers when the test says so, in any order, and sends what messages the test wants. With it each
 * interleaving of docs/protocol.md can be played by hand, under TestClock.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type { LockAcquisitionError } from "../../src/DlockError.js"
import { BackendError } from "../../src/DlockError.js"
import type { Engine, Request } from "../../src/internal/engine/engine.js"
import type { Lease, Terms } from "../../src/internal/engine/lease.js"
import * as EngineModule from "../../src/internal/engine/make.js"
import type {
  AcquireAnswer,
  Acquired,
  AcquireRequest,
  Answer,
  Failed,
  InboxEvent,
  LeaveItem,
  Left,
  RefreshItem,
  Store,
  Target
} from "../../src/internal/store.js"

interface Asked<In, Out> {
  readonly input: In
  readonly reply: (answer: Out, unsettled?: ReadonlyArray<Target>) => void
  readonly fail: () => void
}

interface Refresh {
  readonly items: ReadonlyArray<RefreshItem>
  readonly subscribed: boolean
  readonly also?: ReadonlyArray<Target>
}

const failure = new BackendError({
  operation: "test",
  reason: "Unreachable",
  outcome: "Unknown",
  cause: new Error("cut")
})

/** The calls of one verb that wait for their answer. */
const verb = <In, Out>() => {
  const calls: Array<Asked<In, Out>> = []
  const open: Array<() => void> = []
  let hungUp = false
  const call = (input: In) =>
    Effect.callback<
      { answer: Out; unsettled: ReadonlyArray<Target>; formerLimits: Acquired["formerLimits"] },
      BackendError
    >((resume) => {
      const fail = () => resume(Effect.fail(failure))
      if (hungUp) return fail()
      open.push(fail)
      calls.push({
        input,
        reply: (answer, unsettled = []) => resume(Effect.succeed({ answer, unsettled, formerLimits: [] })),
        fail
      })
    })
  /** From now on every call fails, and those that were never answered do. A test is over. */
  const hangUp = () => {
    hungUp = true
    open.forEach((fail) => fail())
  }
  /** The oldest call that has not been taken yet. */
  const next: Effect.Effect<Asked<In, Out>> = Effect.suspend(() => {
    const first = calls.shift()
    return first ? Effect.succeed(first) : Effect.andThen(Effect.yieldNow, next)
  })
  return { call, next, calls, hangUp }
}

export const makeHands = Effect.gen(function*() {
  const inbox = yield* Queue.make<InboxEvent>()
  const acquire = verb<AcquireRequest, AcquireAnswer>()
  const refresh = verb<Refresh, ReadonlyArray<Answer>>()
  const leave = verb<ReadonlyArray<LeaveItem>, ReadonlyArray<Left | Failed>>()
  let probes = 0
  const store: Store = {
    acquire: acquire.call,
    refresh: refresh.call,
    leave: leave.call,
    lower: () => Effect.die("not used here"),
    revoke: () => Effect.die("not used here"),
    inspect: () => Effect.die("not used here"),
    inbox,
    probe: Effect.sync(() => {
      probes++
    })
  }
  /** Sends a message, and lets it arrive. */
  const send = (event: InboxEvent) => Effect.andThen(Queue.offer(inbox, event), settleFibers)
  return { store, acquire, refresh, leave, send, probes: () => probes }
})

/** A leave that found what it was to find. */
export const wasHeld: Left = { _tag: "Left", was: "Holder" }

/** Lets every fiber run until it waits for something. */
export const settleFibers = Effect.repeat(Effect.yieldNow, { times: 20 })

export const ttlMillis = 9_000
export const commandTimeoutMillis = 5_000

const request: Request<LockAcquisitionError> = {
  claims: [{ kind: "lock", key: "k", permits: 1, limit: 1 }],
  terms: { ttlMillis, renew: true, maxHoldMillis: Infinity, metadata: "", onHolder: undefined },
  waits: true,
  waitMillis: Infinity,
  refuse: ([first]) => first
}

/** An engine on a hand-driven store, subscribed; and how to make another one on it. */
export const setup = Effect.gen(function*() {
  const hands = yield* makeHands
  let tokens = 0
  type Options = Partial<Request<LockAcquisitionError> & Terms>
  const makeEngine = Effect.map(
    EngineModule.make({
      store: hands.store,
      commandTimeout: Duration.millis(commandTimeoutMillis),
      tokens: { make: () => `token-${++tokens}`, isOwn: (token) => token.startsWith("token-") }
    }),
    (engine) => ({
      engine,
      start: (options: Options = {}) =>
        Effect.forkChild(
          Effect.uninterruptibleMask((restore) =>
            engine.acquire({ ...request, ...options, terms: { ...request.terms, ...options } }, restore)
          )
        )
    })
  )
  const made = yield* makeEngine
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      for (const { hangUp } of [hands.acquire, hands.refresh, hands.leave]) hangUp()
    })
  )
  yield* hands.send({ _tag: "Subscribed" })
  return { ...hands, ...made, makeEngine, request }
})

export const waiting = (options: Partial<Extract<AcquireAnswer, { readonly _tag: "Waiting" }>> = {}) => ({
  _tag: "Waiting" as const,
  remainingMillis: ttlMillis,
  lastFence: 100,
  rank: 0,
  holder: undefined,
  ...options
})

export const granted = (fence: number, remainingMillis = ttlMillis) => ({
  _tag: "Granted" as const,
  remainingMillis,
  fences: [fence]
})

/** Milliseconds that the lease still has; -1 when it was lost. */
export const left = (engine: Engine, lease: Lease): Effect.Effect<number> =>
  Effect.orElseSucceed(engine.remaining(lease), () => -1)
