/** The flight port over a link, as src/internal/redis/flightStore.ts is. The server is the memory store's flights. */
import * as Effect from "effect/Effect"
import { BackendError } from "../../../src/DlockError.js"
import type {
  Answer,
  FinishRequest,
  FlightStore,
  JoinAnswer,
  JoinRequest,
  Outcome
} from "../../../src/internal/flightStore.js"
import * as ServerClock from "../../../src/internal/serverClock.js"
import type { Ear } from "../ear.js"
import type { Link } from "../link.js"
import type { Process } from "../process.js"
import type { Server } from "../server.js"
import type { World } from "../world.js"

interface Part {
  readonly id: string
  readonly token: string
}

const failure = (operation: string, reason: BackendError["reason"]) =>
  new BackendError({ operation, reason, outcome: "NotApplied", cause: new Error("faulty") })

const now = <A>(effect: Effect.Effect<A, BackendError>): A => Effect.runSync(Effect.orDie(effect))

/** What a server refuses on purpose of this flight. */
type Refusable<A> = A | "refused"

export const make = (world: World, process: Process, link: Link, ear: Ear): FlightStore => {
  const inbox = process.name
  const judge = world.flights
  const serverClock = ServerClock.make()
  const notAfter = () => serverClock.atMost(process.now()) + link.commandTimeoutMillis

  const exchange = <A, B>(
    operation: string,
    makeCommand: () => { readonly text: string; readonly run: (server: Server, flights: FlightStore) => A },
    read: (value: A, sentAt: number) => Effect.Effect<B, BackendError>
  ): Effect.Effect<B, BackendError> =>
    link.exchange<A, B>(operation, () => {
      const { run, text } = makeCommand()
      return { inbox, text, run: (server) => run(server, server.storeOf(inbox).flights) }
    }, (value, shown, sentAt) => {
      serverClock.learn(shown, sentAt, process.now())
      return read(value, sentAt)
    })

  const isSpoiled = (server: Server, id: string): boolean => server.spoiled === `flight:${id}`

  /** A command for one flight, which a foreign key makes fail. */
  const verb = <A>(
    operation: string,
    { id, token }: Part,
    run: (server: Server, flights: FlightStore) => Refusable<A>
  ): Effect.Effect<A, BackendError> =>
    exchange(operation, () => ({
      text: `${operation} ${token} of ${id}`,
      run: (server, flights): Refusable<A> => isSpoiled(server, id) ? "refused" : run(server, flights)
    }), (reply) => reply === "refused" ? Effect.fail(failure(operation, "Refused")) : Effect.succeed(reply))

  const synchronize = exchange("time", () => ({ text: "time", run: () => true }), () => Effect.void)

  const joining = new Set<string>()

  const joinUnlessLeft = (request: JoinRequest, mayRepeat: boolean): Effect.Effect<JoinAnswer, BackendError> =>
    Effect.suspend(() =>
      joining.has(request.token) ? join(request, mayRepeat) : Effect.fail(failure("join", "Timeout"))
    )

  const join = (request: JoinRequest, mayRepeat: boolean): Effect.Effect<JoinAnswer, BackendError> => {
    const { gaveUp, id, token } = request
    return exchange("join", () => {
      const until = notAfter()
      return {
        text: `join ${token} of ${id}${gaveUp === undefined ? "" : ` instead of ${gaveUp}`}`,
        run: (server, flights): JoinAnswer | "late" | "refused" => {
          if (isSpoiled(server, id)) return "refused"
          return server.nowMillis() >= until ? "late" : now(flights.join(request))
        }
      }
    }, (reply, sentAt) => {
      if (reply === "refused") return Effect.fail(failure("join", "Refused"))
      if (reply !== "late") {
        joining.delete(token)
        judge.onAnswer(process, request, sentAt, reply)
        return Effect.succeed(reply)
      }
      world.count("joins too late")
      return mayRepeat ? joinUnlessLeft(request, false) : Effect.fail(failure("join", "Timeout"))
    })
  }

  const finish = (request: FinishRequest): Effect.Effect<boolean, BackendError> =>
    verb("finish", request, (server, flights) => {
      if (server.refusesOutcomesUntil > world.now) return "refused"
      return judge.finish(request, () => now(flights.finish(request)))
    })

  return {
    inbox: ear.flightInbox,
    probe: ear.probe,
    serverMillisAtMost: (millis) => serverClock.synchronized() ? serverClock.atMost(millis) : Infinity,
    join: (request) =>
      Effect.suspend(() => {
        judge.onJoinSent(process, request)
        joining.add(request.token)
        return serverClock.synchronized()
          ? join(request, true)
          : Effect.zipRight(synchronize, joinUnlessLeft(request, true))
      }),
    refresh: (items) =>
      Effect.suspend(() => {
        judge.onRefreshSent(process, items)
        return exchange("refresh flights", () => ({
          text: `refresh flights ${items.map(({ token }) => token).join()}`,
          run: (server, flights): ReadonlyArray<Answer> =>
            items.map((item): Answer =>
              isSpoiled(server, item.id)
                ? { _tag: "Failed", error: failure("refresh flights", "Refused") }
                : now(flights.refresh([item]))[0]!
            )
        }), (answers, sentAt) => {
          items.forEach((item, i) => judge.onAnswer(process, item, sentAt, answers[i]!))
          return Effect.succeed(answers)
        })
      }),
    finish: (request) =>
      Effect.suspend(() => {
        judge.onFinishSent(request)
        return finish(request)
      }),
    refuse: (part) => verb("refuse", part, (server) => refuse(server, part)),
    leave: (part) =>
      Effect.suspend(() => {
        judge.onGivenUp(part.token)
        return verb("leave flight", part, (_server, flights) => now(flights.leave(part)))
      }),
    fetch: (part) =>
      Effect.map(
        verb<Outcome | { readonly _tag: "Gone" }>("fetch", part, (_server, flights) => now(flights.fetch(part))),
        (answer) => {
          if (answer._tag === "Outcome") judge.onOutcome(part.token, answer.payload, "fetched")
          return answer
        }
      )
  }
}

/** R38: only deletes. The memory store needs none, because it refuses nothing. */
const refuse = (server: Server, { id, token }: Part): void => {
  const flight = server.memory.flights.get(id)
  if (flight?.leader?.token !== token) return
  flight.leader = undefined
  const followers = [...flight.followers]
  flight.followers.clear()
  for (const [follower, { inbox }] of followers) server.tell(inbox, { _tag: "Refused", token: follower })
}
