/**
 * Processes that share one lock server, and an upstream on a real socket. All time is real. Nothing sleeps: the stores say
 * when a process has joined a flight, the services when a caller has, and the upstream holds its responses until told.
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { randomUUID } from "node:crypto"
import * as http from "node:http"
import type { AddressInfo } from "node:net"
import { inject } from "vitest"
import type { Dlock } from "../../src/index.js"
import { PubSubLayer, RedisLayer } from "../../src/index.js"
import * as Assembly from "../../src/internal/dlock.js"
import type { Stores } from "../../src/internal/flightStore.js"
import * as Memory from "../../src/internal/memory/store.js"
import * as RedisStore from "../../src/internal/redis/store.js"

/** What was seen of fanout, in all processes of one server. */
export interface Seen {
  readonly ids: Array<string>
  /** Answers to joins. */
  joins: number
}

export interface World {
  readonly name: string
  readonly start: (seen: Seen) => Effect.Effect<Effect.Effect<Dlock.Service, never, Scope.Scope>>
}

const serviceOf = (store: Stores, seen: Seen): Effect.Effect<Dlock.Service, never, Scope.Scope> => {
  const { flights } = store
  const watched: Stores = {
    ...store,
    flights: {
      ...flights,
      join: (request) => Effect.tap(flights.join(request), () => Effect.sync(() => void seen.joins++))
    }
  }
  return Effect.map(Assembly.make(watched, {}), (dlock) => watch(dlock, seen))
}

export const watch = (dlock: Dlock.Service, { ids }: Pick<Seen, "ids">): Dlock.Service => ({
  ...dlock,
  fanout: (id, job, options) =>
    Effect.suspend(() => {
      ids.push(id)
      return dlock.fanout(id, job, options)
    })
})

const memory: World = {
  name: "memory",
  start: (seen) =>
    Effect.map(Memory.makeServer(), (server) =>
      Effect.flatMap(
        Effect.suspend(() => server.connect(randomUUID())),
        (store) => serviceOf(store, seen)
      ))
}

const redis: World = {
  name: "Redis",
  start: (seen) =>
    Effect.succeed(
      Effect.gen(function*() {
        const layers = Layer.provideMerge(PubSubLayer.layer, RedisLayer.layer({ url: inject("redisUrl") }))
        const context = yield* Effect.orDie(Layer.build(layers))
        const store = yield* RedisStore.make({
          redis: Context.get(context, RedisLayer.Redis),
          pubSub: Context.get(context, PubSubLayer.PubSub),
          prefix: "dlock",
          commandTimeout: Duration.seconds(5),
          inboxId: randomUUID()
        })
        return yield* serviceOf(store, seen)
      })
    )
}

export const worlds: ReadonlyArray<World> = [memory, redis]

/** A condition that real I/O makes true. */
export const until = (what: string, holds: () => boolean): Effect.Effect<void> =>
  Effect.sleep(1).pipe(
    Effect.repeat({ until: holds, times: 10_000 }),
    Effect.flatMap(() => holds() ? Effect.void : Effect.die(new Error(`never: ${what}`)))
  )

// --------------------------------------------------------------------------------------------------------- upstream

export interface Upstream {
  readonly url: string
  /** "METHOD path" of the requests so far. */
  readonly requests: Array<string>
  /** How many of them were cut off before they were answered. */
  readonly aborted: () => number
  /** From now on requests are answered at once, and those that wait are. */
  readonly open: Effect.Effect<void>
}

/** Each url is new, so that tests which run together share nothing. */
export const listen = (
  answer: (request: http.IncomingMessage, response: http.ServerResponse) => void,
  isOpen = false
): Effect.Effect<Upstream, never, Scope.Scope> =>
  Effect.gen(function*() {
    const requests: Array<string> = []
    let aborted = 0
    const held: Array<() => void> = []
    const server = http.createServer((request, response) => {
      requests.push(`${request.method} ${request.url}`)
      response.on("close", () => {
        if (!response.writableFinished) aborted++
      })
      if (isOpen) answer(request, response)
      else held.push(() => answer(request, response))
    })
    yield* Effect.acquireRelease(
      Effect.callback<void>((done) => void server.listen(0, "127.0.0.1", () => done(Effect.void))),
      () =>
        Effect.callback<void>((done) => {
          server.close(() => done(Effect.void))
          server.closeAllConnections()
        })
    )
    const { port } = server.address() as AddressInfo
    return {
      url: `http://127.0.0.1:${port}`,
      requests,
      aborted: () => aborted,
      open: Effect.sync(() => {
        isOpen = true
        for (const go of held.splice(0)) go()
      })
    }
  })

/** The platform's client on fetch, as it is without fanout. */
export const bare: Effect.Effect<HttpClient.HttpClient> = Effect.provide(HttpClient.HttpClient, FetchHttpClient.layer)

/** Several processes, each with its service. */
export const processes = (world: World, count: number) =>
  Effect.gen(function*() {
    const seen: Seen = { ids: [], joins: 0 }
    const start = yield* world.start(seen)
    const services = yield* Effect.all(Array.from({ length: count }, () => start))
    return { seen, services }
  })
