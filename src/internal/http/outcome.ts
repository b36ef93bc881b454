/**
 * What a request came to, as all who asked get it; and which responses nobody may share.
 *
 * What is worth keeping is a success of the flight, and all else a failure: `keep` applies to successes only.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { listed, type Shared, valueOf } from "./request.js"

/** An error, with the errors that caused it. */
interface Cause {
  readonly name: string
  readonly message: string
  readonly code?: string
  readonly cause?: Cause
}

const Cause: Schema.Codec<Cause> = Schema.Struct({
  name: Schema.String,
  message: Schema.String,
  code: Schema.optionalKey(Schema.String),
  cause: Schema.optionalKey(Schema.suspend((): Schema.Codec<Cause> => Cause))
})

export const Response = Schema.TaggedStruct("Response", {
  status: Schema.Int,
  statusText: Schema.optionalKey(Schema.String),
  headers: Schema.Array(Schema.Tuple([Schema.String, Schema.String])),
  /** Null when there is none, which is less than an empty one. */
  body: Schema.NullOr(Schema.Uint8ArrayFromBase64),
  /** What the request said in the headers that the response depends on and the id does not tell apart. */
  vary: Schema.Array(Schema.Tuple([Schema.String, Schema.NullOr(Schema.String)])),
  /** Whether it was taken from a handler that was about to send it by itself. */
  served: Schema.optionalKey(Schema.Boolean)
})

export type Response = typeof Response.Type

const words = {
  description: Schema.optionalKey(Schema.String),
  cause: Schema.optionalKey(Cause)
}

export const Outcome = Schema.Union([
  Response,
  Schema.TaggedStruct("RequestError", { reason: Schema.Literals(["Transport", "Encode", "InvalidUrl"]), ...words }),
  Schema.TaggedStruct("ResponseError", {
    reason: Schema.Literals(["StatusCode", "Decode", "EmptyBody"]),
    response: Response,
    ...words
  }),
  /** Everybody asks for themselves. */
  Schema.TaggedStruct("Alone", {})
])

export type Outcome = typeof Outcome.Type

export const schema = { success: Outcome, error: Outcome }

export const alone: Outcome = { _tag: "Alone" }

/** Errors nest, and may do so in a circle. */
const causesMax = 5

const toCause = (error: unknown, depth = 1): Cause => {
  if (!(error instanceof Error)) return { name: "Error", message: String(error) }
  const { cause, code, message, name } = error as Error & { readonly code?: unknown }
  return {
    name,
    message,
    ...typeof code === "string" ? { code } : {},
    ...cause === undefined || depth === causesMax ? {} : { cause: toCause(cause, depth + 1) }
  }
}

/** What all errors of the platform carry. */
export const wordsOf = (
  { cause, description }: { readonly cause?: unknown; readonly description?: string | undefined }
): { readonly description?: string; readonly cause?: Cause } => ({
  ...description === undefined ? {} : { description },
  ...cause === undefined ? {} : { cause: toCause(cause) }
})

export const toError = ({ cause, code, message, name }: Cause): Error =>
  Object.assign(
    new Error(message, cause === undefined ? undefined : { cause: toError(cause) }),
    code === undefined ? { name } : { name, code }
  )

/** They are about one connection, not about the response. */
const hopByHop = new Set([
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authentication-info",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade"
])

type Headers = Readonly<Record<string, string>>

/** Many more than servers send, and few enough that they fit beside any body. */
const headersLengthMax = 16_384

/** Headers that every client gets alike. */
export const endToEnd = (headers: Headers): ReadonlyArray<readonly [string, string]> => {
  const named = listed(headers["connection"])
  return Object.entries(headers).filter(([name]) => !hopByHop.has(name) && !named.includes(name))
}

const endless = ["text/event-stream", "multipart/x-mixed-replace"]

/** Whether the head alone says that it is for one who asks, too long, or has no end. */
export const isForOne = (
  { headers, status }: { readonly headers: Headers; readonly status: number },
  maxBytes: number,
  untold: Shared["untold"]
): boolean => {
  const type = headers["content-type"]?.toLowerCase() ?? ""
  const control = listed(headers["cache-control"]).map((part) => part.replace(/=.*/, ""))
  return status < 200 || status > 599 || headers["set-cookie"] !== undefined ||
    endless.some((one) => type.startsWith(one)) ||
    control.includes("no-store") || control.includes("private") ||
    (untold !== undefined && listed(headers["vary"]).includes("*")) ||
    (headers["content-encoding"] === undefined && Number(headers["content-length"] ?? 0) > maxBytes) ||
    !isWritable(headers)
}

const isWritable = (headers: Headers): boolean => {
  const entries = Object.entries(headers)
  return JSON.stringify(entries).length <= headersLengthMax &&
    entries.every(([, value]) => !/[^\t -~\x80-\xff]/.test(value))
}

/** Those that a cache may keep when they say nothing of it (RFC 9110, 15.1), as far as they are whole. */
const keepable = new Set([200, 203, 204, 300, 301, 308, 404, 405, 410, 414])

/** A success when it is worth keeping. */
export const toExit = (outcome: Outcome): Effect.Effect<Outcome, Outcome> =>
  outcome._tag === "Response" && keepable.has(outcome.status) && !saysStale(outcome)
    ? Effect.succeed(outcome)
    : Effect.fail(outcome)

const saysStale = ({ headers }: Response): boolean =>
  headers.some(([name, value]) =>
    name === "cache-control" && listed(value).some((part) => /^(no-cache|max-age=0$|s-maxage=0$)/.test(part))
  )

/** The values by which the response was chosen, beyond those that the id tells apart. */
export const variants = (
  response: Headers,
  request: Headers,
  untold: Shared["untold"]
): Effect.Effect<Response["vary"]> => {
  if (untold === undefined) return Effect.succeed([])
  // Whoever sends an encoded body has chosen the encoding, whether or not it says so.
  const encoding = response["content-encoding"] === undefined ? [] : ["accept-encoding"]
  const names = new Set([...listed(response["vary"]), ...encoding].filter(untold))
  return Effect.forEach(names, (name) => Effect.map(valueOf(request, name), (value) => [name, value] as const))
}

/** Whether it would have been chosen for this request too. */
export const suits = ({ vary }: Response, request: Headers): Effect.Effect<boolean> =>
  Effect.map(
    Effect.forEach(vary, ([name, value]) => Effect.map(valueOf(request, name), (own) => own === value)),
    (same) => !same.includes(false)
  )
