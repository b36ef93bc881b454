/**
 * What the contract suite asks of a backend, and a short language for asking. A test has three processes `a`, `b` and `c`
 * of one server, and a key of its own.
 */
import { assert } from "@effect/vitest"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import { randomUUID } from "node:crypto"
import type { BackendError } from "../../src/DlockError.js"
import type { Stores } from "../../src/internal/flightStore.js"
import type {
  AcquireAnswer,
  AcquireRequest,
  Answer,
  Claim,
  Held,
  InboxEvent,
  Inspection,
  Settled,
  Target,
  Waiting
} from "../../src/internal/store.js"

/** One client of a server. */
export interface Process {
  readonly store: Stores
  /** From when this is done nobody hears what is sent to its inbox. Its store works on. */
  readonly deafen: Effect.Effect<void>
}

export interface Server {
  /** Subscribed already, and its inbox is empty. */
  readonly connect: Effect.Effect<Process, never, Scope.Scope>
  /** All that the server keeps of the target is lost. */
  readonly lose: (target: Target) => Effect.Effect<void>
}

export interface Backend {
  /** One test, by the clock that `elapse` moves. */
  readonly theorem: (name: string, body: () => Effect.Effect<void, unknown, Scope.Scope>) => void
  readonly make: Effect.Effect<Server, never, Scope.Scope>
  /** Lets time pass. Tests only use it to get past a deadline: a late test must not fail. */
  readonly elapse: (millis: number) => Effect.Effect<void>
}

/** So long that it never ends in a test. */
export const long = 60_000
/** The time of what is to end in a test. What must come before its end is sent along with it: see `within`. */
export const short = 60
/** More than `short`. */
export const pastShort = 100

/** What a request differs in from one lock of `long`. */
export interface Terms {
  readonly key?: string
  readonly permits?: number
  readonly limit?: number
  readonly ttl?: number
  readonly liveness?: number
  readonly subscribed?: boolean
  readonly metadata?: string
}

export const target = (key: string): Target => ({ kind: "lock", key })

export class Client {
  constructor(readonly process: Process, readonly key: string) {}

  get store(): Stores {
    return this.process.store
  }

  request(token: string, wait: boolean, terms: Terms = {}): AcquireRequest {
    const { key = this.key, limit = 1, liveness = long, metadata = "", permits = 1, subscribed = true, ttl = long } =
      terms
    const claims: ReadonlyArray<Claim> = [{ ...target(key), permits, limit }]
    return { token, claims, ttlMillis: ttl, livenessMillis: liveness, wait, subscribed, metadata }
  }

  /** Without waiting. */
  once(token: string, terms?: Terms): Effect.Effect<AcquireAnswer, BackendError> {
    return answerOf(this.store.acquire(this.request(token, false, terms)))
  }

  /** Queues when it must. */
  lock(token: string, terms?: Terms): Effect.Effect<AcquireAnswer, BackendError> {
    return answerOf(this.store.acquire(this.request(token, true, terms)))
  }

  refresh(token: string, terms: Terms = {}): Effect.Effect<Answer, BackendError> {
    const { key = this.key, liveness = long, subscribed = true, ttl = long } = terms
    const items = [{ target: target(key), token, ttlMillis: ttl, livenessMillis: liveness }]
    return Effect.map(this.store.refresh({ items, subscribed }), ({ answer }) => {
      assert.lengthOf(answer, 1)
      return answer[0]!
    })
  }

  leave(...tokens: ReadonlyArray<string>): Effect.Effect<void, BackendError> {
    return Effect.map(
      this.store.leave(tokens.map((token) => ({ target: target(this.key), token }))),
      ({ answer }) => assert.deepStrictEqual(answer.map(({ _tag }) => _tag), tokens.map(() => "Left"))
    )
  }

  revoke(fence: number, asks = false): Effect.Effect<number, BackendError> {
    return answerOf(this.store.revoke(target(this.key), fence, asks))
  }

  inspect(key = this.key): Effect.Effect<Inspection, BackendError> {
    return this.store.inspect(target(key))
  }

  /** All messages since the last time. A probe comes back after whatever was sent before it. */
  get events(): Effect.Effect<ReadonlyArray<InboxEvent>> {
    const isMessage = ({ _tag }: InboxEvent) => _tag !== "Subscribed" && _tag !== "Unsubscribed"
    return this.store.probe.pipe(
      Effect.andThen(Queue.clear(this.store.inbox)),
      Effect.map((events) => events.filter(isMessage))
    )
  }
}

const answerOf = <A, E>(settled: Effect.Effect<Settled<A>, E>): Effect.Effect<A, E> =>
  Effect.map(settled, ({ answer }) => answer)

export const world = (make: Backend["make"]) =>
  Effect.gen(function*() {
    const server = yield* make
    const key = randomUUID()
    const client = Effect.map(server.connect, (process) => new Client(process, key))
    return { server, key, ...yield* Effect.all({ a: client, b: client, c: client }, { concurrency: 3 }) }
  })

/** The machine was too busy to set the stage of a test before a deadline that was part of it. */
class TooSlow extends Data.TaggedError("TooSlow") {}

/** Sends all at once and in this order. All of one client: what two send at once comes to the server in either order. */
export const together = <const Effects extends ReadonlyArray<Effect.Effect<unknown, unknown>>>(effects: Effects) =>
  Effect.all(effects, { concurrency: "unbounded" })

/** Sends each when the one before it is answered, so that the server does them in this order whoever sends them. */
export const inTurn = <const Effects extends ReadonlyArray<Effect.Effect<unknown, unknown>>>(effects: Effects) =>
  Effect.all(effects)

/** Sets the stage of a test: none of it comes later than the shortest time that is to end in the test. */
export const within = <A, E, R>(deadlineMillis: number, stage: Effect.Effect<A, E, R>) =>
  Effect.flatMap(
    Effect.timed(stage),
    ([took, answers]) => Duration.toMillis(took) < deadlineMillis - 1 ? Effect.succeed(answers) : new TooSlow()
  )

/** Begins anew when the stage could not be set in time. Nothing that was asserted is tried again. */
export const patiently = (body: Effect.Effect<void, unknown, Scope.Scope>): Effect.Effect<void, unknown> =>
  Effect.retry(Effect.scoped(body), { while: (error) => error instanceof TooSlow, times: 100 })

// What an answer must be.

export const granted = (answer: AcquireAnswer): number => {
  assert.strictEqual(answer._tag, "Granted")
  assert(answer._tag === "Granted" && answer.fences.length === 1)
  return answer.fences[0]!
}

export const held = (answer: Answer): Held => {
  assert.strictEqual(answer._tag, "Held")
  assert(answer._tag === "Held")
  return answer
}

export const waiting = (answer: AcquireAnswer | Answer): Waiting => {
  assert.strictEqual(answer._tag, "Waiting")
  assert(answer._tag === "Waiting")
  return answer
}

export const refused = (answer: AcquireAnswer) => {
  assert.strictEqual(answer._tag, "Refused")
  assert(answer._tag === "Refused")
  return answer.blockers
}

export const gone = (answer: AcquireAnswer | Answer): void => assert.strictEqual(answer._tag, "Gone")

/** What is left of `millis` just after they began. A slow machine may have used up some. */
export const almost = (actual: number | undefined, millis: number): void => {
  assert.isDefined(actual)
  assert.isAtMost(actual!, millis)
  assert.isAbove(actual!, millis - 20_000)
}
