/** The server's side: a handler's response becomes an outcome, and an outcome a response. */
import * as Edition from "#http-edition"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Cookies from "effect/http/Cookies"
import * as Headers from "effect/http/Headers"
import * as HttpBody from "effect/http/HttpBody"
import * as HttpServerError from "effect/http/HttpServerError"
import type * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Body from "./body.js"
import { notShared, type Produced } from "./handover.js"
import * as Outcome from "./outcome.js"
import type { Asked, Shared } from "./request.js"

type Request = HttpServerRequest.HttpServerRequest
type Response = HttpServerResponse.HttpServerResponse

/** What runs for a request. */
export type App<A, E, R> = Effect.Effect<A, E, R | HttpServerRequest.HttpServerRequest>

/** A response, and whether the handler was about to send it by itself. */
export interface Given {
  readonly response: Response
  readonly served: boolean
}

/** What a client says in `Host` is not looked at by anybody before. With a slash in it one url would pass for another. */
const isHost = (host: string): boolean => /^[^\s/?#@\\]*$/.test(host)

/** A server with several names may say something else under each. */
export const asked = (request: Request, key: Asked["key"]): Effect.Effect<Asked> => {
  const { method, originalUrl } = request
  const { host = "", ...others } = request.headers
  const isPath = originalUrl.startsWith("/")
  const headers = isPath ? Headers.fromInput(others) : request.headers
  return Effect.map(Edition.hasSecret(originalUrl), (hasSecret) => ({
    method,
    url: !isPath ? originalUrl : isHost(host) ? `//${host}${originalUrl}` : undefined,
    headers,
    beside: [],
    hasBody: headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0,
    isOpaque: hasSecret || /^\w+:\/\/[^/?#]*@/.test(originalUrl),
    key
  }))
}

/** To end a handler with, before it sends what it has. */
const stop = { _tag: "effect-dlock/HttpFanout/stop" }

/**
 * The response of the handler, as it would be sent. The middleware of `HttpServer.serve` wraps a handler that sends its
 * response by itself, after the last of the functions that may change it (`appendPreResponseHandler`): ours takes the
 * response there and ends the handler. Other functions that the handler has added are applied here.
 */
const respond = <E, R>(app: App<Response, E, R>, request: Request): App<Given, never, R> =>
  Effect.suspend(() => {
    let taken: Response | undefined
    let isOver = false
    const take: Edition.PreResponseHandler = (_request, response) => {
      if (isOver) return Effect.succeed(response)
      taken ??= response
      return Effect.die(stop)
    }
    return Effect.gen(function*() {
      const { added, exit } = yield* Edition.withOwnHandlers(app, take)
      const served = taken !== undefined
      const response = taken ?? (Exit.isSuccess(exit) ? exit.value : yield* ofCause(exit.cause))
      isOver = true
      return { response: yield* finish(added, request, response), served }
    })
  })

/** What the server would make of it. Nobody else hears of the cause. What failed beside it may have been interrupted. */
const ofCause = (cause: Cause.Cause<unknown>): Effect.Effect<Response> => {
  if (Cause.hasInterruptsOnly(cause)) return Effect.interrupt
  return Effect.flatMap(
    HttpServerError.causeResponse(cause),
    ([response, reported]) =>
      Edition.report(reported).pipe(
        Effect.andThen(response.status < 500 ? Effect.void : logCause(cause)),
        Effect.as(response)
      )
  )
}

const logCause = (cause: Cause.Cause<unknown>): Effect.Effect<void> =>
  Effect.annotateLogs(Effect.logError("A shared handler failed", cause), { package: "effect-dlock" })

/** What is added to every response before it is sent, like headers. */
export const finish = (
  added: Edition.PreResponseHandler | undefined,
  request: Request,
  response: Response
): Effect.Effect<Response> =>
  added === undefined ? Effect.succeed(response) : Effect.catchCause(added(request, response), ofCause)

export const produce = <E, R>(
  app: App<Response, E, R>,
  request: Request,
  { untold }: Shared,
  limits: Body.Limits
): App<Produced<Given, never>, never, R | Scope.Scope> =>
  Effect.flatMap(respond(app, request), (given) => {
    const { response, served } = given
    if (Outcome.isForOne(response, limits.maxBytes, untold) || !Cookies.isEmpty(response.cookies)) {
      return Effect.succeed(notShared(Effect.succeed(given)))
    }
    return Effect.catchCause(
      Effect.flatMap(bodyOf(response.body, limits), (body): Effect.Effect<Produced<Given, never>> => {
        if (body === undefined) return Effect.succeed(notShared(Effect.succeed(given)))
        if (body?._tag === "Stream") {
          return Effect.succeed(
            notShared(Effect.succeed({ response: HttpServerResponse.setBody(response, body), served }))
          )
        }
        return toOutcome(given, request, untold, body?.bytes ?? null)
      }),
      (cause) => Effect.flatMap(ofCause(cause), (response) => toOutcome({ response, served }, request, untold, null))
    )
  })

/** All of it, or a stream of it; null when there is none, undefined when it is of a kind that cannot be read here. */
const bodyOf = (
  body: HttpBody.HttpBody,
  limits: Body.Limits
): Effect.Effect<Body.Whole | HttpBody.Stream | null | undefined, unknown, Scope.Scope> => {
  const whole = (bytes: Uint8Array) =>
    Effect.succeed(bytes.length > limits.maxBytes ? undefined : { _tag: "Whole", bytes } as const)
  switch (body._tag) {
    case "Empty":
      return Effect.succeed(null)
    case "Uint8Array":
      return whole(body.body)
    case "Stream":
      return Effect.map(
        Body.read(body.stream, limits),
        (read) => read._tag === "Whole" ? read : HttpBody.stream(read.stream, body.contentType, body.contentLength)
      )
    case "Raw":
      if (typeof body.body === "string") return whole(new TextEncoder().encode(body.body))
      return body.body instanceof globalThis.Uint8Array ? whole(body.body) : Effect.succeed(undefined)
    case "FormData":
      return Effect.succeed(undefined)
  }
}

const toOutcome = (
  { response, served }: Given,
  request: Request,
  untold: Shared["untold"],
  body: Uint8Array | null
): Effect.Effect<{ readonly outcome: Outcome.Response }> =>
  Effect.map(Outcome.variants(response.headers, request.headers, untold), (vary) => ({
    outcome: {
      _tag: "Response",
      status: response.status,
      ...response.statusText === undefined ? {} : { statusText: response.statusText },
      headers: Outcome.endToEnd(response.headers),
      body,
      vary,
      ...served ? { served } : {}
    }
  }))

/** The outcome for one of those who asked; none when it does not suit the request. */
export const replay = (request: Request, outcome: Outcome.Outcome): Effect.Effect<Option.Option<Given>> =>
  outcome._tag !== "Response" ? Effect.succeedNone : Effect.map(
    Outcome.suits(outcome, request.headers),
    (suits) => suits ? Option.some(toGiven(outcome)) : Option.none()
  )

const toGiven = ({ body, headers: pairs, served = false, status, statusText }: Outcome.Response): Given => {
  const headers = Object.fromEntries(pairs)
  const contentType = headers["content-type"]
  const options = { status, statusText, headers }
  return {
    served,
    response: body === null
      ? HttpServerResponse.empty(options)
      : contentType === undefined
      ? HttpServerResponse.raw(body, options)
      : HttpServerResponse.uint8Array(body, { ...options, contentType })
  }
}
