/** The flight port on Redis. It shares connections, inbox and the server's time with the store of leases. */
import * as Effect from "effect/Effect"
import type { BackendError } from "../../DlockError.js"
import type { Answer, FlightStore, JoinAnswer, JoinRequest, Outcome } from "../flightStore.js"
import * as Key from "../key.js"
import type { FlightKeys } from "./flights.js"
import * as Scripts from "./flights.js"
import * as Replies from "./replies.js"
import type { Runner } from "./runner.js"
import type { Subscriber } from "./subscriber.js"

export class RedisFlightStore implements FlightStore {
  readonly inbox: FlightStore["inbox"]
  readonly probe: FlightStore["probe"]
  /** Tokens that have asked to join, have no answer, and have not been left. */
  readonly joining = new Set<string>()

  constructor(
    subscriber: Pick<Subscriber, "flightInbox" | "probe">,
    readonly runner: Runner,
    readonly prefix: string,
    readonly inboxName: string,
    readonly commandTimeoutMillis: number
  ) {
    this.inbox = subscriber.flightInbox
    this.probe = subscriber.probe
  }

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
    Effect.suspend(() => {
      this.joining.add(request.token)
      return this.runner.synchronized()
        ? this.joinOnce(request, true)
        : Effect.andThen(
          this.runner.synchronize("join", { patient: request.patient }),
          this.joinUnlessLeft(request, true)
        )
    }).pipe(Effect.tapCause(() => Effect.sync(() => this.joining.delete(request.token))))

  /** For a second step (R47). What was left meanwhile must not come back. */
  joinUnlessLeft(request: JoinRequest, mayRepeat: boolean): Effect.Effect<JoinAnswer, BackendError> {
    return Effect.suspend(() =>
      this.joining.has(request.token) ? this.joinOnce(request, mayRepeat) : Effect.fail(Replies.tooLate("join"))
    )
  }

  joinOnce(request: JoinRequest, mayRepeat: boolean): Effect.Effect<JoinAnswer, BackendError> {
    return this.runner.run(
      Scripts.join,
      () => ({
        flight: this.keysOf(request.id),
        token: request.token,
        ttlMillis: Math.ceil(request.ttlMillis),
        notAfter: this.notAfter(),
        inbox: this.inboxName,
        gaveUp: request.gaveUp ?? "",
        keepMillis: Math.ceil(request.keepMillis)
      }),
      (reply): Effect.Effect<JoinAnswer, BackendError> => {
        // The server's clock went ahead. Nothing was created, and this reply has told the new time.
        if (reply[1] === "late" && mayRepeat) return this.joinUnlessLeft(request, false)
        this.joining.delete(request.token)
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
            return Effect.fail(Replies.tooLate("join"))
        }
      },
      { patient: request.patient, isWanted: () => this.joining.has(request.token) }
    )
  }

  readonly refresh: FlightStore["refresh"] = (items) =>
    this.runner.run(
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

  readonly finish: FlightStore["finish"] = ({ id, keepMillis, patient, payload, retentionMillis, token }) =>
    this.runner.run(
      Scripts.finish,
      () => ({
        flight: this.keysOf(id),
        token,
        payload,
        notAfter: this.notAfter(),
        retentionMillis: Math.ceil(retentionMillis),
        keepMillis: Math.ceil(keepMillis)
      }),
      ([, what]) => Effect.succeed(what === "accepted"),
      { patient }
    )

  readonly refuse: FlightStore["refuse"] = ({ id, token }) =>
    this.runner.run(Scripts.refuse, () => ({ flight: this.keysOf(id), token }), () => Effect.void)

  // Its tombstone stands until then: that must be a time of the server's.
  readonly leave: FlightStore["leave"] = (request) =>
    Effect.suspend(() => {
      this.joining.delete(request.token)
      return this.runner.synchronized()
        ? this.leaveOnce(request)
        : Effect.andThen(this.runner.synchronize("leaveFlight"), this.leaveOnce(request))
    })

  leaveOnce({ id, token }: Parameters<FlightStore["leave"]>[0]): Effect.Effect<void, BackendError> {
    return this.runner.run(
      Scripts.leaveFlight,
      () => ({ flight: this.keysOf(id), token, buriedUntil: this.notAfter() }),
      () => Effect.void
    )
  }

  readonly fetch: FlightStore["fetch"] = ({ id, token }) =>
    this.runner.run(
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
