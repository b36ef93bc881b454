/** For Effect 3, what `src/internal/http/edition.ts` is for Effect 4. */
import * as HttpApp from "@effect/platform/HttpApp"
import type * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientError from "@effect/platform/HttpClientError"
import type * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import type * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as UrlParams from "@effect/platform/UrlParams"
import type * as Cause from "effect3/Cause"
import * as Chunk from "effect3/Chunk"
import * as Effect from "effect3/Effect"
import * as Either from "effect3/Either"
import type * as Exit from "effect3/Exit"
import * as FiberRef from "effect3/FiberRef"
import * as Option from "effect3/Option"
import type * as Scope from "effect3/Scope"
import * as Stream from "effect3/Stream"

type Request = HttpClientRequest.HttpClientRequest
type Response = HttpClientResponse.HttpClientResponse

// ----------------------------------------------------------------------------------------------------------- client

/** What every client of the platform is made of, though its type does not say so. */
interface Made<E, R> {
  readonly postprocess: HttpClient.HttpClient.Postprocess<E, R>
}

export const execute = <E, R>(
  client: HttpClient.HttpClient.With<E, R>,
  request: Request
): Effect.Effect<Response, E, R> =>
  // SAFETY: see `Made`. A test would fail.
  (client as unknown as Made<E, R>).postprocess(Effect.succeed(request))

export const urlOf = ({ url, urlParams }: Request): URL | undefined =>
  Either.getOrUndefined(UrlParams.makeUrl(url, urlParams, Option.none()))

/** Effect 3 knows of none. */
export const hasSecret = (_url: string, _request?: Request): Effect.Effect<boolean> => Effect.succeed(false)

export interface Words {
  readonly description?: string | undefined
  readonly cause?: unknown
}

export type Told =
  | Words & { readonly _tag: "RequestError"; readonly reason: HttpClientError.RequestError["reason"] }
  | Words & {
    readonly _tag: "ResponseError"
    readonly reason: HttpClientError.ResponseError["reason"]
    readonly response: Response
  }

export const told = (error: HttpClientError.HttpClientError): Told => error

export const requestError = (
  request: Request,
  reason: HttpClientError.RequestError["reason"],
  words: Words
): HttpClientError.HttpClientError => new HttpClientError.RequestError({ request, reason, ...given(words) })

export const responseError = (
  request: Request,
  response: Response,
  reason: HttpClientError.ResponseError["reason"],
  words: Words
): HttpClientError.HttpClientError => new HttpClientError.ResponseError({ request, response, reason, ...given(words) })

const given = ({ cause, description }: Words) => ({
  ...description === undefined ? {} : { description },
  ...cause === undefined ? {} : { cause }
})

// ----------------------------------------------------------------------------------------------------------- server

/** Effect 3 tells nobody. */
export const report = (_cause: Cause.Cause<unknown>): Effect.Effect<void> => Effect.void

export type PreResponseHandler = HttpApp.PreResponseHandler

export const added: Effect.Effect<PreResponseHandler | undefined> = Effect.map(
  FiberRef.get(HttpApp.currentPreResponseHandlers),
  Option.getOrUndefined
)

export const withOwnHandlers = <A, E, R>(
  app: Effect.Effect<A, E, R>,
  take: PreResponseHandler
): Effect.Effect<{ readonly exit: Exit.Exit<A, E>; readonly added: PreResponseHandler | undefined }, never, R> =>
  FiberRef.set(HttpApp.currentPreResponseHandlers, Option.some(take)).pipe(
    Effect.zipRight(Effect.exit(app)),
    Effect.zipWith(added, (exit, added) => ({ exit, added }))
  )

// ---------------------------------------------------------------------------------------------------------- streams

export type Parts<A, E> = Effect.Effect<ReadonlyArray<A> | undefined, E>

export const partsOf = <A, E, R>(
  stream: Stream.Stream<A, E, R>
): Effect.Effect<Parts<A, E>, never, R | Scope.Scope> =>
  Effect.zipWith(Stream.toPull(stream), Effect.context<R>(), (pull, context) =>
    pull.pipe(
      Effect.map(Chunk.toReadonlyArray),
      Effect.catchAll(Option.match({ onNone: () => Effect.succeed(undefined), onSome: (error) => Effect.fail(error) })),
      Effect.provide(context)
    ))

export const fromParts = <A, E>(parts: Parts<A, E>): Stream.Stream<A, E> =>
  Stream.repeatEffectChunkOption(
    Effect.matchEffect(parts, {
      onFailure: (error) => Effect.fail(Option.some(error)),
      onSuccess: (some) => some === undefined ? Effect.fail(Option.none()) : Effect.succeed(Chunk.fromIterable(some))
    })
  )
