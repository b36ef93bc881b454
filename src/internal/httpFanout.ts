/** The assembly of HttpFanout: a flight for each request that may share its response. */
import * as Edition from "#http-edition"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import type * as HttpClientError from "effect/http/HttpClientError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import type * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type * as Dlock from "../Dlock.js"
import type { BackendError, FanoutError } from "../DlockError.js"
import type * as HttpFanout from "../HttpFanout.js"
import type { Limits } from "./http/body.js"
import * as Client from "./http/client.js"
import { Handover, type Produced } from "./http/handover.js"
import * as Outcome from "./http/outcome.js"
import * as Request from "./http/request.js"
import * as Server from "./http/server.js"
import * as Options from "./options.js"
import { Dlock as Tag } from "./tag.js"

interface Settings<Asking> {
  readonly ignored: Request.Ignored
  readonly key: HttpFanout.Options<Asking>["key"]
  readonly limits: Limits
  readonly fanout: {
    readonly schema: typeof Outcome.schema
    readonly ttl: Duration.Input | undefined
    readonly keep: Duration.Input | undefined
    readonly maxPayloadBytes: number
    readonly onBackendError: "run" | "fail"
  }
}

export const harmlessHeaders = Request.harmless

const defaults = { maxBodyBytes: 524_288, maxBodyTime: "5 seconds" } as const

/** For what is beside the body: headers, and the words of an error. */
const besideBytes = 131_072

const decode = <Asking>(options: HttpFanout.Options<Asking>): Result.Result<Settings<Asking>, Options.Mistake> => {
  const { ignore = [], keep, key, onBackendError = "run", ttl } = options
  const maxBytes = Options.payloadBytes("maxBodyBytes", options.maxBodyBytes ?? defaults.maxBodyBytes)
  if (Result.isFailure(maxBytes)) return Result.fail(maxBytes.failure)
  const maxMillis = Options.finiteMillis("maxBodyTime", options.maxBodyTime ?? defaults.maxBodyTime)
  if (Result.isFailure(maxMillis)) return Result.fail(maxMillis.failure)
  // Base64 makes four bytes of three.
  const maxPayloadBytes = Math.ceil(maxBytes.success / 3) * 4 + besideBytes
  const fanout = { ttl, keep, onBackendError, maxPayloadBytes }
  const terms = Options.decodeFanout(fanout, { ttlMillis: maxMillis.success, maxPayloadBytes })
  if (Result.isFailure(terms)) return Result.fail(terms.failure)
  return Result.map(Options.headerNames("ignore", ignore), (ignored) => ({
    ignored: Request.ignoring(ignored),
    key,
    limits: { maxBytes: maxBytes.success, maxTime: Duration.millis(maxMillis.success) },
    fanout: { ...fanout, schema: Outcome.schema }
  }))
}

/** The ids whose jobs this fiber is a part of. One that asked for its own would wait for itself. */
const within = Context.Reference<ReadonlyArray<string>>("effect-dlock/HttpFanout/within", { defaultValue: () => [] })

/** How one request takes part. */
interface Part<A, E, R> {
  readonly produce: Effect.Effect<Produced<A, E>, never, R | Scope.Scope>
  /** None when the outcome does not suit the request. */
  readonly replay: (outcome: Outcome.Outcome) => Effect.Effect<Option.Option<A>, E>
  /** The request as it would be without all this. */
  readonly alone: Effect.Effect<A, E, R>
  /** Whether it can be interrupted while it waits for another, even where its caller cannot. */
  readonly mayLeave: boolean
}

const takePart = <A, E, R, Asking>(
  dlock: Dlock.Service,
  settings: Settings<Asking>,
  { id }: Request.Shared,
  wantsFresh: boolean,
  { alone, mayLeave, produce, replay }: Part<A, E, R>
): Effect.Effect<A, E | BackendError | FanoutError, R> =>
  Effect.suspend(() => {
    const handover = new Handover<A, E>()
    const options = wantsFresh ? { ...settings.fanout, keep: undefined } : settings.fanout
    const made = Effect.flatMap(handover.job(produce), Outcome.toExit)
    const job = Effect.flatMap(within, (ids) => Effect.provideService(made, within, [...ids, id]))
    const shared = dlock.fanout(id, job, options)
    return (mayLeave ? Effect.interruptible(shared) : shared).pipe(
      Effect.catch((error): Effect.Effect<Outcome.Outcome, BackendError | FanoutError> => {
        switch (error._tag) {
          case "BackendError":
          case "FanoutError":
            return settings.fanout.onBackendError === "fail" ? Effect.fail(error) : Effect.succeed(Outcome.alone)
          case "InvalidKeyError":
            return Effect.die(error)
          default:
            return Effect.succeed(error)
        }
      }),
      Effect.flatMap((outcome) =>
        Effect.flatMap(outcome._tag === "Alone" ? handover.take : Effect.succeedNone, (live) =>
          Option.isSome(live)
            ? live.value
            : Effect.flatMap(replay(outcome), Option.match({ onNone: () => alone, onSome: Effect.succeed })))
      ),
      Effect.ensuring(handover.leave)
    )
  })

// ----------------------------------------------------------------------------------------------------------- client

export const client =
  (options: HttpFanout.Options<HttpClientRequest.HttpClientRequest> = {}) =>
  <E extends HttpClientError.HttpClientError, R>(
    self: HttpClient.HttpClient.With<E, R>
  ): Effect.Effect<
    HttpClient.HttpClient.With<HttpClientError.HttpClientError | BackendError | FanoutError, R>,
    never,
    Tag
  > =>
    Effect.flatMap(Tag, (dlock) => {
      const decoded = decode(options)
      if (Result.isFailure(decoded)) return Effect.die(decoded.failure)
      const settings = decoded.success
      return Effect.succeed(HttpClient.transform(self, (alone, request) => {
        const asks = Effect.gen(function*() {
          const init = yield* Effect.serviceOption(FetchHttpClient.RequestInit)
          const asked = yield* Client.asked(request, settings.key?.(request), init)
          return { asked, shared: yield* shareUnlessWithin("http-client/2", asked, settings.ignored) }
        })
        return Effect.flatMap(asks, ({ asked, shared }) => {
          if (Option.isNone(shared)) return alone
          // Of its own: `HttpClient.withScope` aborts a request, which is known by its identity, with its caller's scope.
          const own = HttpClientRequest.setHeaders(request, {})
          const sent = { method: request.method, headers: asked.headers }
          return takePart<
            HttpClientResponse.HttpClientResponse,
            HttpClientError.HttpClientError,
            R,
            HttpClientRequest.HttpClientRequest
          >(dlock, settings, shared.value, Request.wantsFresh(asked.headers), {
            produce: Client.produce(Edition.execute(self, own), sent, shared.value, settings.limits),
            replay: (outcome) => Client.replay(request, sent, outcome),
            alone,
            mayLeave: false
          })
        })
      }))
    })

const shareUnlessWithin = (namespace: Request.Namespace, asked: Request.Asked, ignored: Request.Ignored) =>
  Effect.zipWith(
    Request.share(namespace, asked, ignored),
    within,
    (shared, ids) => Option.filter(shared, ({ id }) => !ids.includes(id))
  )

// ------------------------------------------------------------------------------------------------------- middleware

export const middleware = (options: HttpFanout.Options<HttpServerRequest.HttpServerRequest> = {}) => {
  const decoded = decode(options)
  return <E, R>(
    app: Server.App<HttpServerResponse.HttpServerResponse, E, R>
  ): Server.App<HttpServerResponse.HttpServerResponse, E | BackendError | FanoutError, R | Tag> => {
    if (Result.isFailure(decoded)) return Effect.die(decoded.failure)
    const settings = decoded.success
    return Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => {
      const shares = Effect.flatMap(
        Server.asked(request, settings.key?.(request)),
        (asked) => shareUnlessWithin("http-server/2", asked, settings.ignored)
      )
      return Effect.flatMap(shares, (shared) => {
        if (Option.isNone(shared)) return app
        return Effect.flatMap(Tag, (dlock) =>
          Effect.flatMap(
            takePart<Server.Given, E, R | HttpServerRequest.HttpServerRequest, HttpServerRequest.HttpServerRequest>(
              dlock,
              settings,
              shared.value,
              Request.wantsFresh(request.headers),
              {
                produce: Server.produce(app, request, shared.value, settings.limits),
                replay: (outcome) => Server.replay(request, outcome),
                alone: Effect.map(app, (response) => ({ response, served: false })),
                // The platform runs middleware uninterruptibly. Waiting for another is no reason to stay.
                mayLeave: true
              }
            ),
            (given) => finished(given, request)
          ))
      })
    })
  }
}

/** The server adds nothing to the response of a middleware of `HttpServer.serve`: its functions ran inside of that. */
const finished = (
  { response, served }: Server.Given,
  request: HttpServerRequest.HttpServerRequest
): Effect.Effect<HttpServerResponse.HttpServerResponse> =>
  served
    ? Effect.flatMap(Edition.added, (added) => Server.finish(added, request, response))
    : Effect.succeed(response)
