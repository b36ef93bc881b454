/** The Redis store as it is shipped, on the connections of a simulated process, with the judge looking on. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { FlightStore, Stores } from "../../src/internal/flightStore.js"
import * as RedisStore from "../../src/internal/redis/store.js"
import type { Store } from "../../src/internal/store.js"
import type { Connection } from "./connection.js"
import type { Process } from "./process.js"
import type { Sent } from "./promptJudge.js"
import type { World } from "./world.js"

export const make = (
  world: World,
  process: Process,
  redis: Connection,
  pubSub: Connection,
  commandTimeoutMillis: number
): Effect.Effect<Stores, never, Scope.Scope> =>
  Effect.map(
    RedisStore.make({
      redis: { client: redis.client, owned: true },
      pubSub: { client: pubSub.client, owned: true },
      prefix: "dlock",
      commandTimeout: Duration.millis(commandTimeoutMillis),
      inboxId: process.name
    }),
    (stores) => ({ ...judgedLeases(world, process, stores), flights: judgedFlights(world, process, stores.flights) })
  )

/** What has failed is repeated, as what is not answered. */
const onAnswered = (sent: ReadonlyArray<Sent>, answers: ReadonlyArray<{ readonly _tag: string }>): void =>
  sent.forEach((one, i) => one.isAnswered = answers[i]?._tag !== "Failed")

const judgedLeases = (world: World, process: Process, store: Store): Store => {
  const { judge, prompt } = world
  return {
    inbox: store.inbox,
    probe: store.probe,
    lower: (target, token, permits) =>
      Effect.suspend(() => {
        const sent = prompt.onSent(process, token)
        return Effect.map(store.lower(target, token, permits), (reply) => {
          onAnswered(sent, [reply.answer])
          return reply
        })
      }),
    revoke: store.revoke,
    inspect: store.inspect,
    acquire: (request) =>
      Effect.suspend(() => {
        judge.onAcquireSent(process, request)
        const sent = prompt.onSent(process, request.token)
        return Effect.map(store.acquire(request), (reply) => {
          const { _tag } = reply.answer
          onAnswered(sent, [reply.answer])
          if (_tag === "Waiting" || _tag === "Refused") judge.leases.onTaken(request)
          return reply
        })
      }),
    leave: (items) =>
      Effect.suspend(() => {
        judge.onLeaveSent(process, items)
        return Effect.map(store.leave(items), (reply) => {
          judge.onLeft(items, reply.answer)
          return reply
        })
      }),
    refresh: (options) =>
      Effect.suspend(() => {
        judge.onRefreshSent(process, options.items)
        const sent = prompt.onSent(process, ...options.items.map(({ token }) => token))
        const sentAt = process.now()
        return Effect.map(store.refresh(options), (reply) => {
          onAnswered(sent, reply.answer)
          judge.leases.onRefreshed(process, options.items, sentAt, reply.answer)
          return reply
        })
      })
  }
}

const judgedFlights = (world: World, process: Process, store: FlightStore): FlightStore => {
  const judge = world.flights
  return {
    inbox: store.inbox,
    probe: store.probe,
    serverMillisAtMost: store.serverMillisAtMost,
    refuse: store.refuse,
    join: (request) =>
      Effect.suspend(() => {
        judge.onJoinSent(process, request)
        const sent = world.prompt.onSent(process, request.token)
        const sentAt = process.now()
        return Effect.map(store.join(request), (answer) => {
          onAnswered(sent, [answer])
          judge.onAnswer(process, request, sentAt, answer)
          return answer
        })
      }),
    refresh: (items) =>
      Effect.suspend(() => {
        judge.onRefreshSent(process, items)
        const sent = world.prompt.onSent(process, ...items.map(({ token }) => token))
        const sentAt = process.now()
        return Effect.map(store.refresh(items), (answers) => {
          onAnswered(sent, answers)
          items.forEach((item, i) => judge.onAnswer(process, item, sentAt, answers[i]!))
          return answers
        })
      }),
    finish: (request) =>
      Effect.suspend(() => {
        judge.onFinishSent(request)
        return store.finish(request)
      }),
    leave: (part) =>
      Effect.suspend(() => {
        judge.onGivenUp(part.token)
        return store.leave(part)
      }),
    fetch: (part) =>
      Effect.map(store.fetch(part), (answer) => {
        if (answer._tag === "Outcome") judge.onOutcome(part.token, answer.payload, "fetched")
        return answer
      })
  }
}
