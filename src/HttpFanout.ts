/**
 * Fanout for HTTP, on `@effect/platform`: while one process asks for something, all others that ask for the same wait for
 * its response. `client` guards an upstream, `middleware` a server's own routes. It coalesces, it does not cache, unless
 * `keep` says so.
 *
 * Only requests that cannot differ in anything else share a response: `GET` or `HEAD`, the same method and url, the same
 * values of the headers in `vary`. These go their own way, as if there were no fanout:
 *
 * - with a body, with `Range`, `Upgrade` or `Cache-Control: no-store`;
 * - with credentials (`Authorization`, `Cookie`, `Proxy-Authorization`, and the headers that
 *   `Headers.currentRedactedNames` keeps out of logs, like `X-Api-Key`) or conditions (`If-None-Match` and the like), unless
 *   `vary` names the header or `key` is given; with a user in the url, unless `key` is given. The headers of a
 *   `FetchHttpClient.RequestInit` that the caller provides count as the request's own.
 *
 * The url with its query, and the response, are in Redis as they are, and the url in traces. For a url with a secret give a
 * `key` that is a hash, or none.
 *
 * Some responses are for nobody but the one who asked for them. Then the caller whose request it was gets it as it is, and
 * everybody else makes a request of their own:
 *
 * - with `Set-Cookie`, or with `Cache-Control: private` or `no-store`;
 * - with a `Vary` by which another caller's request would have got another one;
 * - bodies over `maxBodyBytes`, and streams: `text/event-stream`, and bodies that do not end within `maxBodyTime`.
 *
 * It is a subpath of its own, `effect-dlock/HttpFanout`, because nothing else here needs `@effect/platform`.
 *
 * @since 0.1.0
 */
import type * as HttpApp from "@effect/platform/HttpApp"
import type * as HttpClient from "@effect/platform/HttpClient"
import type * as HttpClientError from "@effect/platform/HttpClientError"
import type * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import type * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
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
   * The request headers that tell requests apart, in any case and order. Naming one with a secret shares responses among
   * those who have the same secret; of the secret itself only a hash is sent to Redis. Defaults to none.
   */
  readonly vary?: ReadonlyArray<string> | undefined
  /**
   * Tells requests of one method apart, instead of the url and `vary`: whatever else a response depends on must be in it,
   * like who asks. Redis and traces see it as it is. None for a request that is to go its own way.
   */
  readonly key?: ((request: Request) => string | Option.Option<string>) | undefined
  /** As for `fanout`: how long a process that died while it asked holds up the others. Defaults to the layer's `ttl`. */
  readonly ttl?: Duration.DurationInput | undefined
  /**
   * As for `fanout`: makes it a cache for that long. Kept are responses that may be without saying so (200, 301 and 404 are,
   * 302 and 500 are not), unless they say `Cache-Control: no-cache` or `max-age=0`. A request that says so takes none.
   * Defaults to none.
   */
  readonly keep?: Duration.DurationInput | undefined
  /** Larger bodies are not shared, and not read into memory. Defaults to 524,288. */
  readonly maxBodyBytes?: number | undefined
  /** A body that has not ended that long after its headers is not shared. Defaults to `5 seconds`. */
  readonly maxBodyTime?: Duration.DurationInput | undefined
  /**
   * When Redis is down: `"run"` shares with the callers of this process alone, or `"fail"` with `BackendError`, and with
   * `FanoutError` when an outcome cannot be read. A Redis that does not answer delays a request by the layer's
   * `commandTimeout`. Defaults to `"run"`.
   */
  readonly onBackendError?: "run" | "fail" | undefined
}

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
 * **Gotchas**: what the layer of the client adds by itself, like a `FetchHttpClient.RequestInit` of its own, is not seen: if
 * that says who asks, give a `key` that does. A limit of time belongs around the call, not into the client: there it would
 * limit all. A response of which only a part was read when it turned out to be a stream keeps its connection until it is read
 * or its scope closes.
 *
 * @example
 * ```ts
 * import { FetchHttpClient, HttpClient } from "@effect/platform"
 * import { Effect, Layer } from "effect"
 * import { Dlock } from "effect-dlock"
 * import * as HttpFanout from "effect-dlock/HttpFanout"
 *
 * const HttpClientLive = Layer.effect(
 *   HttpClient.HttpClient,
 *   Effect.flatMap(HttpClient.HttpClient, HttpFanout.client({ vary: ["accept"] }))
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
 * wait for its response. The host that the request names is a part of its url. For `HttpRouter.use`, any app, or
 * `HttpServer.serve`.
 *
 * The handler runs for the first who asks, with that request and a scope of its own. When it fails, all get the response
 * that the server would have made of that, and the cause of one with a status of 500 or more is logged once. So handle
 * errors inside of it.
 *
 * **Interruption**: a client that goes away leaves alone. The handler is interrupted when nobody waits any more.
 *
 * **Gotchas**: as the middleware of `HttpServer.serve` it sees responses only: a failure is answered, but its cause is not
 * logged. Apply it to the app where that matters.
 *
 * @example
 * ```ts
 * import { HttpRouter, HttpServer, HttpServerResponse } from "@effect/platform"
 * import { Effect } from "effect"
 * import * as HttpFanout from "effect-dlock/HttpFanout"
 *
 * const report = Effect.delay(HttpServerResponse.json({ total: 42 }), "2 seconds")
 *
 * export const ServerLive = HttpRouter.empty.pipe(
 *   HttpRouter.get("/report", report),
 *   HttpRouter.use(HttpFanout.middleware({ keep: "1 second" })),
 *   HttpServer.serve()
 * )
 * ```
 *
 * @since 0.1.0
 * @category Combinators
 */
export const middleware: {
  (options?: RunOptions<HttpServerRequest.HttpServerRequest>): <E, R>(
    app: HttpApp.Default<E, R>
  ) => HttpApp.Default<E, R | Dlock>
  (options: Options<HttpServerRequest.HttpServerRequest>): <E, R>(
    app: HttpApp.Default<E, R>
  ) => HttpApp.Default<E | BackendError | FanoutError, R | Dlock>
  // SAFETY: as above.
} = internal.middleware as typeof middleware
