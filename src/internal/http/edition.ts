/**
 * What the HTTP modules of the two majors of Effect have in different shapes: errors of a client, what is done to a
 * response before it is sent, secrets in a url, and how a stream is read part by part. This is Effect 4's; the edition for
 * Effect 3 has effect3/shim/http/edition.ts in its place.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import type * as Exit from "effect/Exit"
import type * as HttpClient from "effect/http/HttpClient"
import * as HttpClientError from "effect/http/HttpClientError"
import type * as HttpClientRequest from "effect/http/HttpClientRequest"
import type * as HttpClientResponse from "effect/http/HttpClientResponse"
import type * as HttpEffect from "effect/http/HttpEffect"
import * as Url from "effect/http/Url"
import * as UrlParams from "effect/http/UrlParams"
import * as Option from "effect/Option"
import * as Pull from "effect/Pull"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"

type Request = HttpClientRequest.HttpClientRequest
type Response = HttpClientResponse.HttpClientResponse

// ----------------------------------------------------------------------------------------------------------- client

/** Does all that the client does with a request, once `mapRequest` and the like are done. */
export const execute = <E, R>(
  client: HttpClient.HttpClient.With<E, R>,
  request: Request
): Effect.Effect<Response, E, R> => client.postprocess(Effect.succeed(request))

/** Undefined when it is none. */
export const urlOf = ({ url, urlParams }: Request): URL | undefined =>
  Result.getOrUndefined(Url.make(url, urlParams, undefined))

/** Whether the query of a url has a value that Effect keeps out of traces and logs. */
export const hasSecret = (url: string, request?: Request): Effect.Effect<boolean> =>
  Effect.map(
    UrlParams.CurrentRedactedNames,
    (names) =>
      request?.urlParams.params.some(([, value]) => typeof value !== "string") === true ||
      UrlParams.redactUrl(url, names) !== url
  )

export interface Words {
  readonly description?: string | undefined
  readonly cause?: unknown
}

/** An error of a client, in terms that both majors have. */
export type Told =
  | Words & { readonly _tag: "RequestError"; readonly reason: keyof typeof requestErrors }
  | Words & {
    readonly _tag: "ResponseError"
    readonly reason: keyof typeof responseErrors
    readonly response: Response
  }

const requestErrors = {
  Transport: HttpClientError.TransportError,
  Encode: HttpClientError.EncodeError,
  InvalidUrl: HttpClientError.InvalidUrlError
}

const responseErrors = {
  StatusCode: HttpClientError.StatusCodeError,
  Decode: HttpClientError.DecodeError,
  EmptyBody: HttpClientError.EmptyBodyError
}

const reasons = {
  TransportError: "Transport",
  EncodeError: "Encode",
  InvalidUrlError: "InvalidUrl",
  StatusCodeError: "StatusCode",
  DecodeError: "Decode",
  EmptyBodyError: "EmptyBody"
} as const

export const told = ({ reason }: HttpClientError.HttpClientError): Told => {
  const { cause, description } = reason
  return "response" in reason
    ? { _tag: "ResponseError", reason: reasons[reason._tag], response: reason.response, description, cause }
    : { _tag: "RequestError", reason: reasons[reason._tag], description, cause }
}

export const requestError = (
  request: Request,
  reason: keyof typeof requestErrors,
  words: Words
): HttpClientError.HttpClientError =>
  new HttpClientError.HttpClientError({ reason: new requestErrors[reason]({ request, ...given(words) }) })

export const responseError = (
  request: Request,
  response: Response,
  reason: keyof typeof responseErrors,
  words: Words
): HttpClientError.HttpClientError =>
  new HttpClientError.HttpClientError({ reason: new responseErrors[reason]({ request, response, ...given(words) }) })

const given = ({ cause, description }: Words) => ({
  ...description === undefined ? {} : { description },
  ...cause === undefined ? {} : { cause }
})

// ----------------------------------------------------------------------------------------------------------- server

/** As the server would tell of a failure that it answers. */
export const report: (cause: Cause.Cause<unknown>) => Effect.Effect<void> = ErrorReporter.report

export type PreResponseHandler = HttpEffect.PreResponseHandler

/** What the server knows of a request that it answers. No type tells of it, so it is looked for: a test would fail. */
interface Answering {
  preResponseHandler: PreResponseHandler | undefined
}

const Answering = Context.Service<Answering>("effect/http/HttpEffect/CurrentRequestState")

/** What is to be done to the response of the present request before it is sent. */
export const added: Effect.Effect<PreResponseHandler | undefined> = Effect.map(
  Effect.serviceOption(Answering),
  (answering) => Option.getOrUndefined(answering)?.preResponseHandler
)

/**
 * Runs an app to its end, with functions of its own that change its response. The first is `take`: it gets the response
 * when the app is about to send it by itself, before all that was added around the app. Tells what the app has added.
 */
export const withOwnHandlers = <A, E, R>(
  app: Effect.Effect<A, E, R>,
  take: PreResponseHandler
): Effect.Effect<{ readonly exit: Exit.Exit<A, E>; readonly added: PreResponseHandler | undefined }, never, R> =>
  Effect.flatMap(Effect.serviceOption(Answering), (around) => {
    const own: Answering = { ...Option.getOrUndefined(around), preResponseHandler: undefined }
    if (Option.isSome(around)) divert(around.value, own, take)
    return Effect.map(
      Effect.exit(Effect.provideService(app, Answering, own)),
      (exit) => ({ exit, added: own.preResponseHandler })
    )
  })

/** The app may outlive its caller, whose response is the caller's own. */
const divert = (answering: Answering, own: Answering, take: PreResponseHandler): void => {
  const before = answering.preResponseHandler
  answering.preResponseHandler = (request, response) =>
    Effect.flatMap(Effect.serviceOption(Answering), (here) => {
      if (Option.contains(here, own)) return take(request, response)
      return before === undefined ? Effect.succeed(response) : before(request, response)
    })
}

// ---------------------------------------------------------------------------------------------------------- streams

/** The next parts of a stream, or undefined when there are no more. */
export type Parts<A, E> = Effect.Effect<ReadonlyArray<A> | undefined, E>

export const partsOf = <A, E, R>(
  stream: Stream.Stream<A, E, R>
): Effect.Effect<Parts<A, E>, never, R | Scope.Scope> =>
  Effect.map(Stream.toPull(stream), Pull.catchDone(() => Effect.succeed(undefined)))

export const fromParts = <A, E>(parts: Parts<A, E>): Stream.Stream<A, E> =>
  Stream.fromIterableEffectRepeat(
    Effect.flatMap(parts, (some) => some === undefined ? Cause.done() : Effect.succeed(some))
  )
