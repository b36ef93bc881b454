/**
 * Fanout for HTTP, on Effect's own client and server: while one process asks for something, all others that ask for the
 * same wait for its response. `client` guards an upstream, `middleware` a server's own routes. It coalesces, it does not
 * cache, unless `keep` says so.
 *
 * Requests share a response when they are `GET` or `HEAD` and have the same method, the same url and the same headers:
 * all headers count, but for those in `harmlessHeaders` and those in the option `ignore`. So two users, two tenants and two
 * languages never share, and two callers with the same token do. What a caller provides as `FetchHttpClient.RequestInit`
 * counts as well. These requests go their own way, as if there were no fanout:
 *
 * - with a body, with `Range`, `Upgrade` or `Cache-Control: no-store`;
 * - with a user in the url, a parameter that is `Redacted` or named in Effect's `UrlParams.CurrentRedactedNames`,
 *   `credentials: "include"`, or an object in `RequestInit`, such as a `signal`, unless `key` is given.
 *
 * The url with its query, and the response, are in Redis as they are, and the url in traces; of headers there is only a
 * hash. For a url with another secret give a `key` that is a hash, or none.
 *
 * Some responses are for nobody but the one who asked for them. Then the caller whose request it was gets it as it is, and
 * everybody else makes a request of their own:
 *
 * - with `Set-Cookie`, or with `Cache-Control: private` or `no-store`;
 * - with a `Vary` by which another caller's request would have got another one;
 * - bodies over `maxBodyBytes`, and streams: `text/event-stream`, and bodies that do not end within `maxBodyTime`.
 *
 * It is a subpath of its own, `effect-dlock/HttpFanout`, because nothing else here needs HTTP.
 *
 * @since 0.1.0
 */
import type * as Edition from "#edition"
import type * as Effect from "effect/Effect"
import type * as HttpClient from "effect/http/HttpClient"
import type * as HttpClientError from "effect/http/HttpClientError"
import type * as HttpClientRequest from "effect/http/HttpClientRequest"
import type * as HttpServerRequest from "effect/http/HttpServerRequest"
import type * as HttpServerResponse from "effect/http/HttpServerResponse"
import type * as Option from "effect/Option"
import type { BackendError, FanoutError } from "./DlockError.js"
import * as internal from "./internal/httpFanout.js"
import type { Dlock } from "./internal/tag.js"

/**
 * All processes that share responses should use the same.
 *
 * @since 0.1.0
 * @category Models
 */
export interface Options<Request> {
  /**
   * Request headers that do not change the response, beside `harmlessHeaders`: names in any case, or patterns of names in
   * lower case. Ignoring a header that says who asks gives one user's response to another. Defaults to none.
   */
  readonly ignore?: ReadonlyArray<string | RegExp> | undefined
  /**
   * Tells requests of one method apart, instead of the url and the headers: whatever else a response depends on must be in
   * it, such as who asks. Redis and traces see it as it is. None for a request that is to go its own way.
   */
  readonly key?: ((request: Request) => string | Option.Option<string>) | undefined
  /** As for `fanout`: how long a process that died while it asked holds up the others. Defaults to the layer's `ttl`. */
  readonly ttl?: Edition.DurationInput | undefined
  /**
   * As for `fanout`: makes it a cache for that long. Kept are responses that may be without saying so (200, 301 and 404 are,
   * 302 and 500 are not), unless they say `Cache-Control: no-cache` or `max-age=0`. A request that says so takes none.
   * Defaults to none.
   */
  readonly keep?: Edition.DurationInput | undefined
  /** Larger bodies are not shared, and not read into memory. Defaults to 524,288. */
  readonly maxBodyBytes?: number | undefined
  /** A body that has not ended that long after its headers is not shared. Defaults to `5 seconds`. */
  readonly maxBodyTime?: Edition.DurationInput | undefined
  /**
   * When Redis is down: `"run"` shares with the callers of this process alone, or `"fail"` with `BackendError`, and with
   * `FanoutError` when an outcome cannot be read. A connection that is known to be away delays no request; a Redis that
   * accepts connections and does not answer delays one by the layer's `commandTimeout`. Defaults to `"run"`.
   */
  readonly onBackendError?: "run" | "fail" | undefined
}

/**
 * The request headers that requests are not told apart by: those of one connection, those of tracing, `User-Agent` and
 * `Accept-Encoding`; `Content-Length` is not told apart either when it is 0. A response that names one of them in `Vary`,
 * or is encoded, is shared only by requests with the same value.
 *
 * @since 0.1.0
 * @category Models
 */
export const harmlessHeaders: ReadonlyArray<string> = internal.harmlessHeaders

/**
 * As `Options`, where no error of Redis is shown.
 *
 * @since 0.1.0
 * @category Models
 */
export interface RunOptions<Request> extends Options<Request> {
  readonly onBackendError?: "run" | undefined
}

/**
 * Turns a client into one whose identical requests, of all processes, reach the upstream once at a time. All get equal
 * status, headers and body, each as a response of their own; headers about the connection are left out, and those about
 * the encoding of a body that the client has decoded.
 *
 * Requests are compared as they are sent, after everything that `HttpClient.mapRequest` and the like do, whether it was
 * applied before or after. The query counts exactly as it is written: whether its order matters, only the upstream knows.
 *
 * What the client did before (`retry`, `filterStatus`, `followRedirects`) is done once, for all. A status is a value, and
 * an error of the client is everybody's: with the same tag, reason and words, and with everybody's own request. One that
 * comes while the body is read fails the request.
 *
 * **Interruption**: a caller that is interrupted or times out leaves alone. The request is interrupted when nobody waits
 * any more.
 *
 * **Gotchas**: what the layer of the client adds by itself, like a `FetchHttpClient.RequestInit` or a `Fetch` of its own,
 * is not seen: if that says who asks, give a `key` that does. A limit of time belongs around the call, not into the client:
 * there it would limit all. A response of which only a part was read when it turned out to be a stream keeps its connection
 * until it is read or its scope closes. The `url` of a shared response is that of the request, also where `fetch` has
 * followed a redirect.
 *
 * @example
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { FetchHttpClient, HttpClient } from "effect/http"
 * import { Dlock } from "effect-dlock"
 * import * as HttpFanout from "effect-dlock/HttpFanout"
 *
 * const HttpClientLive = Layer.effect(
 *   HttpClient.HttpClient,
 *   Effect.flatMap(HttpClient.HttpClient, HttpFanout.client({ keep: "1 minute" }))
 * ).pipe(
 *   Layer.provide(FetchHttpClient.layer),
 *   Layer.provide(Dlock.layerRedis({ url: "redis://localhost:6379" }))
 * )
 *
 * export const rates = HttpClient.get("https://rates.example/today").pipe(
 *   Effect.flatMap((response) => response.json),
 *   Effect.timeout("2 seconds"),
 *   Effect.provide(HttpClientLive)
 * )
 * ```
 *
 * @since 0.1.0
 * @category Combinators
 */
export const client: {
  (options?: RunOptions<HttpClientRequest.HttpClientRequest>): <E extends HttpClientError.HttpClientError, R>(
    self: HttpClient.HttpClient.With<E, R>
  ) => Effect.Effect<HttpClient.HttpClient.With<HttpClientError.HttpClientError, R>, never, Dlock>
  (options: Options<HttpClientRequest.HttpClientRequest>): <E extends HttpClientError.HttpClientError, R>(
    self: HttpClient.HttpClient.With<E, R>
  ) => Effect.Effect<
    HttpClient.HttpClient.With<HttpClientError.HttpClientError | BackendError | FanoutError, R>,
    never,
    Dlock
  >
  // SAFETY: with `onBackendError: "run"` those errors do not come.
} = internal.client as typeof client

/**
 * Guards the routes of a server against stampedes: while a handler runs for a request, in any process, the same requests
 * wait for its response. The host that the request names is a part of its url. For `HttpRouter.middleware`, any handler, or
 * `HttpServer.serve`.
 *
 * The handler runs for the first who asks, with that request and a scope of its own. When it fails, all get the response
 * that the server would have made of that, and the cause of one with a status of 500 or more is logged once. So handle
 * errors inside of it.
 *
 * **Interruption**: a client that goes away leaves alone. The handler is interrupted when nobody waits any more.
 *
 * Behind a proxy that adds the address of the client (`X-Forwarded-For`), nothing is shared until that header is in
 * `ignore`, or the app is guarded with a `key`.
 *
 * **Gotchas**: a handler that looks at more than the url and the headers, such as the address of the client, needs a `key`
 * that says so. As the middleware of `HttpServer.serve` it sees responses only: a failure is answered, but its cause is not
 * logged. Apply it to the app where that matters.
 *
 * @example
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { HttpRouter, HttpServerResponse } from "effect/http"
 * import * as HttpFanout from "effect-dlock/HttpFanout"
 *
 * const Report = HttpRouter.add("GET", "/report", Effect.delay(HttpServerResponse.json({ total: 42 }), "2 seconds"))
 *
 * const Shared = HttpRouter.middleware(
 *   HttpFanout.middleware({ ignore: ["cookie", "x-forwarded-for"], keep: "1 second" }),
 *   { global: true }
 * )
 *
 * export const ServerLive = HttpRouter.serve(Layer.merge(Report, Shared))
 * ```
 *
 * @since 0.1.0
 * @category Combinators
 */
export const middleware: {
  (options?: RunOptions<HttpServerRequest.HttpServerRequest>): <E, R>(
    app: Effect.Effect<HttpServerResponse.HttpServerResponse, E, R | HttpServerRequest.HttpServerRequest>
  ) => Effect.Effect<HttpServerResponse.HttpServerResponse, E, R | HttpServerRequest.HttpServerRequest | Dlock>
  (options: Options<HttpServerRequest.HttpServerRequest>): <E, R>(
    app: Effect.Effect<HttpServerResponse.HttpServerResponse, E, R | HttpServerRequest.HttpServerRequest>
  ) => Effect.Effect<
    HttpServerResponse.HttpServerResponse,
    E | BackendError | FanoutError,
    R | HttpServerRequest.HttpServerRequest | Dlock
  >
  // SAFETY: as above.
} = internal.middleware as typeof middleware
