/** The client's side: a response of the upstream becomes an outcome, and an outcome a response. */
import * as Edition from "#http-edition"
import * as Effect from "effect/Effect"
import * as Cookies from "effect/http/Cookies"
import * as Headers from "effect/http/Headers"
import type * as HttpClientError from "effect/http/HttpClientError"
import type * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Body from "./body.js"
import { notShared, type Produced } from "./handover.js"
import * as Outcome from "./outcome.js"
import type { Asked, Shared } from "./request.js"

type Request = HttpClientRequest.HttpClientRequest
type Response = HttpClientResponse.HttpClientResponse

/** `init` is what the program says to `fetch` beside the request: its headers are sent as well, and its words count. */
export const asked = (
  request: Request,
  key: Asked["key"],
  init: Option.Option<globalThis.RequestInit>
): Effect.Effect<Asked> => {
  const { headers: added, ...others } = Option.getOrElse(init, (): globalThis.RequestInit => ({}))
  const beside = Object.entries(others).filter(([, value]) => value !== undefined).sort()
  const url = Edition.urlOf(request)
  // A fragment is not sent.
  if (url) url.hash = ""
  return Effect.map(Edition.hasSecret(url?.href ?? "", request), (hasSecret) => ({
    method: request.method,
    url: url?.href,
    headers: added === undefined
      ? request.headers
      // SAFETY: a record, or an iterable of pairs: `fromInput` reads all of these, as the platform's own fetch client has it.
      : Headers.merge(Headers.fromInput(added as Headers.Input), request.headers),
    beside,
    hasBody: request.body._tag !== "Empty",
    isOpaque: hasSecret || url !== undefined && url.username + url.password !== "" ||
      others.credentials === "include" ||
      beside.some(([, value]) => Object(value) === value),
    key
  }))
}

/** What is sent. Its headers are those of the request, and those that the program has `fetch` add. */
export type Sent = Pick<Request, "method" | "headers">

type Made = Produced<Response, HttpClientError.HttpClientError>

/** What asking the upstream came to. */
export const produce = <E extends HttpClientError.HttpClientError, R>(
  execute: Effect.Effect<Response, E, R>,
  request: Sent,
  { untold }: Shared,
  limits: Body.Limits
): Effect.Effect<Made, never, R | Scope.Scope> =>
  Effect.matchEffect(execute, {
    onFailure: (error: HttpClientError.HttpClientError) => ofError(error, request, untold, limits),
    onSuccess: (response) =>
      Effect.catch(ofResponse(response, request, untold, limits), (error) => ofError(error, request, untold, limits))
  })

const ofResponse = (
  response: Response,
  request: Sent,
  untold: Shared["untold"],
  limits: Body.Limits
): Effect.Effect<Made, HttpClientError.HttpClientError, Scope.Scope> => {
  const maxBytes = request.method === "HEAD" ? Infinity : limits.maxBytes
  if (isForOne(response, untold, maxBytes)) return Effect.succeed(notShared(Effect.succeed(response)))
  return Effect.flatMap(bodyOf(response, limits), (body): Effect.Effect<Made> => {
    if (body._tag === "Long") {
      const { headers, status } = response
      const web = new globalThis.Response(Stream.toReadableStream(body.stream), { status, headers })
      return Effect.succeed(notShared(Effect.succeed(HttpClientResponse.fromWeb(response.request, web))))
    }
    return toOutcome(response, request, untold, body.bytes)
  })
}

const isForOne = (response: Response, untold: Shared["untold"], maxBytes: number): boolean =>
  Outcome.isForOne(response, maxBytes, untold) || !Cookies.isEmpty(response.cookies)

const bodyOf = (response: Response, limits: Body.Limits) =>
  Effect.catchIf(
    Body.read(response.stream, limits),
    (error) => Edition.told(error).reason === "EmptyBody",
    () => Effect.succeed({ _tag: "Whole", bytes: null } as const)
  )

const toOutcome = (
  { headers, status }: Response,
  request: Sent,
  untold: Shared["untold"],
  body: Uint8Array | null
): Effect.Effect<{ readonly outcome: Outcome.Response }> =>
  Effect.map(Outcome.variants(headers, request.headers, untold), (vary) => ({
    outcome: {
      _tag: "Response",
      status,
      headers: Outcome.endToEnd(body === null ? headers : ofBytes(headers, body)),
      body,
      vary
    }
  }))

const ofError = (
  error: HttpClientError.HttpClientError,
  request: Sent,
  untold: Shared["untold"],
  limits: Body.Limits
): Effect.Effect<Made, never, Scope.Scope> => {
  const told = Edition.told(error)
  if (told._tag === "RequestError") {
    return Effect.succeed({ outcome: { _tag: "RequestError", reason: told.reason, ...Outcome.wordsOf(told) } })
  }
  const { reason, response } = told
  /** A part of the body may have been read to see whether it ends. */
  const having = (other: Response) =>
    other === response ? error : Edition.responseError(error.request, other, reason, told)
  // A body that broke off, or was read already, is no body, and never too long.
  if (isForOne(response, untold, Infinity)) return Effect.succeed(notShared(Effect.fail(error)))
  const shared: Effect.Effect<Made, never, Scope.Scope> = Effect.catch(
    reason === "StatusCode" ? ofResponse(response, request, untold, limits) : Effect.fail(error),
    () => toOutcome(response, request, untold, null)
  )
  return Effect.map(shared, ({ live, outcome }): Made =>
    outcome._tag === "Response"
      ? { outcome: { _tag: "ResponseError", reason, response: outcome, ...Outcome.wordsOf(told) } }
      : notShared(Effect.flatMap(live ?? Effect.succeed(response), (response) => Effect.fail(having(response)))))
}

/** The first bytes of encodings that have any. */
const magic: Readonly<Record<string, ReadonlyArray<number>>> = {
  gzip: [0x1f, 0x8b],
  "x-gzip": [0x1f, 0x8b],
  zstd: [0x28, 0xb5, 0x2f, 0xfd]
}

/**
 * `fetch` decodes a body and leaves the headers as they were; other clients decode nothing. A body that is not as long as
 * it says, or does not begin as its encoding does, was decoded.
 */
const ofBytes = (headers: Headers.Headers, bytes: Uint8Array): Readonly<Record<string, string>> => {
  const { "content-encoding": encoding, "content-length": length, ...others } = headers
  if (encoding === undefined || encoding === "identity") return headers
  const begins = magic[encoding.toLowerCase()]
  const isDecoded = length === undefined
    ? begins?.some((byte, at) => bytes[at] !== byte) === true
    : Number(length) !== bytes.length
  return isDecoded ? others : headers
}

// ------------------------------------------------------------------------------------------------------- replaying

const hasNoBody = (status: number): boolean => status === 204 || status === 205 || status === 304

const toResponse = (request: Request, { body, headers, status }: Outcome.Response): Response =>
  HttpClientResponse.fromWeb(
    request,
    new globalThis.Response(hasNoBody(status) ? null : body, {
      status,
      headers: headers.map(([name, value]): [string, string] => [name, value])
    })
  )

/** The outcome for one of those who asked; none when it does not suit the request. */
export const replay = (
  request: Request,
  { headers }: Sent,
  outcome: Outcome.Outcome
): Effect.Effect<Option.Option<Response>, HttpClientError.HttpClientError> => {
  switch (outcome._tag) {
    case "Alone":
      return Effect.succeedNone
    case "Response":
      return Effect.map(
        Outcome.suits(outcome, headers),
        (suits) => suits ? Option.some(toResponse(request, outcome)) : Option.none()
      )
    case "RequestError":
      return Effect.fail(Edition.requestError(request, outcome.reason, words(outcome)))
    case "ResponseError": {
      const { reason } = outcome
      return Effect.flatMap(Outcome.suits(outcome.response, headers), (suits) => {
        if (!suits) return Effect.succeedNone
        const response = toResponse(request, outcome.response)
        return Effect.fail(Edition.responseError(request, response, reason, words(outcome)))
      })
    }
  }
}

const words = ({ cause, description }: Extract<Outcome.Outcome, { readonly reason: unknown }>) => ({
  description,
  cause: cause && Outcome.toError(cause)
})
