/** The flight port on Redis. It shares connections, inbox and the server's time with the store of leases. */
import * as Effect from "effect/Effect"
import type { BackendError } from "../../DlockError.js"
import type { Answer, FinishRequest, FlightStore, JoinAnswer, JoinRequest, Outcome } from "../flightStore.js"
import * as Key from "../key.js"
import type { FlightKeys } from "./flights.js"
import * as Scripts from "./flights.js"
import { Gatherer } from "./gatherer.js"
import * as Replies from "./replies.js"
import type { Runner } from "./runner.js"
import type { Subscriber } from "./subscriber.js"

interface Joining {
  readonly request: JoinRequest
  readonly mayRepeat: boolean
}

/** Of payloads, in one command. */
const maxSize = 2 ** 18

export class RedisFlightStore implements FlightStore {
  readonly joins: Gatherer<Joining, JoinAnswer>
  readonly finishes: Gatherer<FinishRequest, boolean>
  /** Whether there was a join in this turn of the event loop. */
  hasJoined = false
  /** How many commands are under way that finish flights. */
  finishing = 0
  readonly inbox: FlightStore["inbox"]
  readonly probe: FlightStore["probe"]

  constructor(
    subscriber: Pick<Subscriber, "flightInbox" | "probe">,
    readonly runner: Runner,
    readonly prefix: string,
    readonly inboxName: string,
    readonly commandTimeoutMillis: number
  ) {
    this.inbox = subscriber.flightInbox
    this.probe = subscriber.probe
    this.joins = new Gatherer(() => 0, maxSize, (asked) => this.joinAll(asked))
    this.finishes = new Gatherer(({ payload }) => payload.length, maxSize, (requests) => this.finishAll(requests))
  }

  /** Whatever else concerns a token comes after its join. */
  readonly runAfter: Runner["run"] = (script, input, read) =>
    Effect.suspend(() => {
      this.joins.flush()
      return this.runner.run(script, input, read)
    })

  /** All keys of one flight share its hash tag (see internal/key.ts), and none is made inside Lua. */
  keysOf(id: string): FlightKeys {
    const name = Key.redisName(this.prefix, "flight", id)
    return [`${name}:state`, `${name}:followers`, `${name}:marks`, `${name}:outcomes`]
  }

  /** When a command that is sent now, or a copy of it, may arrive at the latest. */
  notAfter(): number {
    return this.runner.serverMillis() + this.commandTimeoutMillis
  }

  readonly serverMillisAtMost: FlightStore["serverMillisAtMost"] = (localMillis) =>
    this.runner.synchronized() ? this.runner.serverMillisAt(localMillis) : Infinity

  readonly join: FlightStore["join"] = (request) =>
    Effect.suspend(() =>
      this.runner.synchronized()
        ? this.joinInTurn(request, true)
        : Effect.zipRight(this.runner.synchronize, this.joinInTurn(request, true))
    )

  /** The first of a turn of the event loop goes out at once, as alone it is faster so. Those that follow go together. */
  joinInTurn(request: JoinRequest, mayRepeat: boolean): Effect.Effect<JoinAnswer, BackendError> {
    return Effect.suspend(() => {
      // R37: what it gives up may be ended by a finish that waits.
      if (request.gaveUp !== undefined) this.finishes.flush()
      if (!this.hasJoined) {
        this.hasJoined = true
        queueMicrotask(() => {
          this.hasJoined = false
          this.joins.flush()
        })
        return this.joinOnce(request, mayRepeat)
      }
      return Effect.async<JoinAnswer, BackendError>((resume) => {
        if (this.joins.waiting.length === 0) queueMicrotask(() => this.joins.flush())
        this.joins.add({ input: { request, mayRepeat }, resume })
      })
    })
  }

  joinOnce(request: JoinRequest, mayRepeat: boolean): Effect.Effect<JoinAnswer, BackendError> {
    return this.runner.run(
      Scripts.join,
      () => ({ ...this.joining(request), notAfter: this.notAfter(), inbox: this.inboxName }),
      (reply): Effect.Effect<JoinAnswer, BackendError> => {
        switch (reply[1]) {
          case "leads":
          case "follows":
            return Effect.succeed(part(reply[1], reply[2], reply[3]))
          case "outcome":
            return Effect.succeed(outcome(reply[2], reply[3]))
          case "kept":
            return Effect.succeed({ _tag: "Kept", payload: reply[2] })
          case "gone":
            return Effect.succeed({ _tag: "Gone" })
          case "late":
            return this.joinLate(request, mayRepeat)
        }
      }
    )
  }

  /** The server's clock went ahead. Nothing was created, and the reply has told the new time. */
  joinLate(request: JoinRequest, mayRepeat: boolean): Effect.Effect<JoinAnswer, BackendError> {
    return mayRepeat ? this.joinInTurn(request, false) : Effect.fail(Replies.tooLate("join"))
  }

  joining({ gaveUp, id, keepMillis, token, ttlMillis }: JoinRequest) {
    return {
      flight: this.keysOf(id),
      token,
      ttlMillis: Math.ceil(ttlMillis),
      gaveUp: gaveUp ?? "",
      keepMillis: Math.ceil(keepMillis)
    }
  }

  joinAll(asked: ReadonlyArray<Joining>) {
    return this.runner.run(
      Scripts.joinFlights,
      () => ({
        items: asked.map(({ request }) => this.joining(request)),
        notAfter: this.notAfter(),
        inbox: this.inboxName
      }),
      ([, replies]) =>
        Effect.succeed(replies.map((reply, i): Effect.Effect<JoinAnswer, BackendError> => {
          switch (reply[0]) {
            case "outcome":
              return Effect.succeed(outcome(reply[1], reply[2]))
            case "kept":
              return Effect.succeed({ _tag: "Kept", payload: reply[1] })
            case "gone":
              return Effect.succeed({ _tag: "Gone" })
            case "failed":
              return Effect.fail(Replies.refusal("join", reply[1]))
            case "late": {
              const late = asked[i]
              return late === undefined ? Effect.succeed({ _tag: "Gone" }) : this.joinLate(late.request, late.mayRepeat)
            }
            default:
              return Effect.succeed(part(reply[0] === 1 ? "leads" : "follows", reply[1], reply[2]))
          }
        }))
    )
  }

  readonly refresh: FlightStore["refresh"] = (items) =>
    this.runAfter(
      Scripts.refreshFlights,
      () =>
        items.map(({ id, token, ttlMillis }) => ({
          flight: this.keysOf(id),
          token,
          ttlMillis: Math.ceil(ttlMillis)
        })),
      ([, answers]) =>
        Effect.succeed(answers.map((answer): Answer => {
          switch (answer[0]) {
            case "leads":
            case "follows":
              return part(answer[0], answer[1], answer[2])
            case "outcome":
              return outcome(answer[1], answer[2])
            case "stored":
              return { _tag: "Stored", finishedAt: answer[1] }
            case "gone":
              return { _tag: "Gone" }
            case "failed":
              return { _tag: "Failed", error: Replies.refusal("refreshFlights", answer[1]) }
          }
        }))
    )

  /** While one is under way, those that follow wait for its answer and go together, or when they are many. */
  readonly finish: FlightStore["finish"] = (request) =>
    Effect.suspend(() => {
      if (this.finishing === 0) return this.finishOnce(request)
      return Effect.async<boolean, BackendError>((resume) => {
        this.finishes.add({ input: request, resume })
        if (this.finishing === 0) this.finishes.flush()
      })
    })

  finishOnce(request: FinishRequest): Effect.Effect<boolean, BackendError> {
    return this.underWay(this.runner.run(
      Scripts.finish,
      () => ({ ...this.ending(request), notAfter: this.notAfter() }),
      ([, what]) => Effect.succeed(what === "accepted")
    ))
  }

  finishAll(requests: ReadonlyArray<FinishRequest>) {
    return this.underWay(this.runner.run(
      Scripts.finishFlights,
      () => ({ items: requests.map((request) => this.ending(request)), notAfter: this.notAfter() }),
      ([, replies]) =>
        Effect.succeed(
          replies.map((reply) =>
            typeof reply === "number" ? Effect.succeed(reply === 1) : Effect.fail(Replies.refusal("finish", reply[1]))
          )
        )
    ))
  }

  underWay<A>(finish: Effect.Effect<A, BackendError>): Effect.Effect<A, BackendError> {
    this.finishing++
    return Effect.ensuring(
      finish,
      Effect.sync(() => {
        if (--this.finishing === 0) this.finishes.flush()
      })
    )
  }

  ending({ id, keepMillis, payload, retentionMillis, token }: FinishRequest) {
    return {
      flight: this.keysOf(id),
      token,
      payload,
      retentionMillis: Math.ceil(retentionMillis),
      keepMillis: Math.ceil(keepMillis)
    }
  }

  readonly refuse: FlightStore["refuse"] = ({ id, token }) =>
    this.runAfter(Scripts.refuse, () => ({ flight: this.keysOf(id), token }), () => Effect.void)

  // Its tombstone stands until then: that must be a time of the server's.
  readonly leave: FlightStore["leave"] = (request) =>
    Effect.suspend(() =>
      this.runner.synchronized()
        ? this.leaveOnce(request)
        : Effect.zipRight(this.runner.synchronize, this.leaveOnce(request))
    )

  leaveOnce({ id, token }: Parameters<FlightStore["leave"]>[0]): Effect.Effect<void, BackendError> {
    return this.runAfter(
      Scripts.leaveFlight,
      () => ({ flight: this.keysOf(id), token, buriedUntil: this.notAfter() }),
      () => Effect.void
    )
  }

  readonly fetch: FlightStore["fetch"] = ({ id, token }) =>
    this.runAfter(
      Scripts.fetch,
      () => ({ flight: this.keysOf(id), token }),
      (reply) => Effect.succeed(reply[1] === "gone" ? { _tag: "Gone" as const } : outcome(reply[2], reply[3]))
    )
}

const outcome = (finishedAt: number, payload: string): Outcome => ({ _tag: "Outcome", payload, finishedAt })

const part = (what: "leads" | "follows", remainingMillis: number, other: number) =>
  what === "leads"
    ? { _tag: "Leads" as const, remainingMillis, followers: other }
    : { _tag: "Follows" as const, remainingMillis, leaderEndsMillis: other }
