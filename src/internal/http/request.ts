/** Which requests may share a response, and under which name. Nothing here reads a body. */
import * as Effect from "effect/Effect"
import * as Hex from "effect/encoding/Hex"
import type * as Headers from "effect/http/Headers"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Key from "../key.js"

/** What a request of either side says of itself. */
export interface Asked {
  readonly method: string
  /** Undefined when it is none that can be asked for. */
  readonly url: string | undefined
  /** But for those that the url repeats. */
  readonly headers: Headers.Headers
  /** What else the response depends on, in a fixed order. */
  readonly beside: ReadonlyArray<readonly [string, unknown]>
  readonly hasBody: boolean
  /**
   * Whether it says something that cannot be compared, or must not be written down: a user or another secret in the
   * url, cookies that are added later, an object of the program's.
   */
  readonly isOpaque: boolean
  /** What the option `key` says, where it is given. */
  readonly key: string | Option.Option<string> | undefined
}

/** The request headers that do not matter, by the words of the option `ignore`. */
export interface Ignored {
  readonly has: (name: string) => boolean
  /** Processes that ignore other headers share nothing with this one. */
  readonly words: ReadonlyArray<string>
}

/** Under which name it is shared. */
export interface Shared {
  readonly id: string
  /** The headers that the id does not tell apart, or undefined when `key` answers for all. */
  readonly untold: ((name: string) => boolean) | undefined
}

/** Another version of what is shared has other names. */
export type Namespace = "http-client/2" | "http-server/2"

/** They are about one connection or one trace, or say how to encode the same thing. Nobody is told apart by one. */
export const harmless: ReadonlyArray<string> = [
  "accept-encoding",
  "user-agent",
  // The connection.
  "connection",
  "keep-alive",
  "proxy-connection",
  "te",
  // The trace, and the request as one of many.
  "b3",
  "cf-ray",
  "correlation-id",
  "elastic-apm-traceparent",
  "request-id",
  "sentry-trace",
  "traceparent",
  "tracestate",
  "uber-trace-id",
  "x-amz-cf-id",
  "x-amzn-trace-id",
  "x-b3-flags",
  "x-b3-parentspanid",
  "x-b3-sampled",
  "x-b3-spanid",
  "x-b3-traceid",
  "x-cloud-trace-context",
  "x-correlation-id",
  "x-datadog-origin",
  "x-datadog-parent-id",
  "x-datadog-sampling-priority",
  "x-datadog-trace-id",
  "x-request-id",
  "x-request-start",
  "x-trace-id"
]

const isHarmless = (name: string): boolean => harmless.includes(name)

export const ignoring = (names: ReadonlyArray<string | RegExp>): Ignored => {
  // A pattern that is global remembers where it was.
  const patterns = names.map((name) =>
    typeof name === "string" ? name.toLowerCase() : new RegExp(name.source, name.flags.replace(/[gy]/g, ""))
  )
  return {
    has: (name) => isHarmless(name) || patterns.some((one) => typeof one === "string" ? one === name : one.test(name)),
    words: Array.from(new Set(patterns.map(String))).sort()
  }
}

/** The parts of a header that is a list, in lower case. */
export const listed = (value: string | undefined): ReadonlyArray<string> =>
  value === undefined ? [] : value.toLowerCase().split(",").map((part) => part.trim()).filter((part) => part !== "")

/** Whether the request is one of those that ask for the same whole thing each time. */
const isPlain = ({ hasBody, headers, method }: Asked): boolean =>
  (method === "GET" || method === "HEAD") &&
  !hasBody &&
  headers["range"] === undefined &&
  headers["upgrade"] === undefined &&
  !listed(headers["connection"]).includes("upgrade") &&
  !listed(headers["cache-control"]).includes("no-store")

/** Whether it wants nothing that was kept. */
export const wantsFresh = (headers: Headers.Headers): boolean =>
  listed(headers["cache-control"]).some((part) => part === "no-cache" || part === "max-age=0")

/** The name of a request that may share its response; none for all others. */
export const share = (
  namespace: Namespace,
  asked: Asked,
  ignored: Ignored
): Effect.Effect<Option.Option<Shared>> => {
  const { isOpaque, key, method, url } = asked
  // With a space in it, one url could pass for another with its headers.
  if (!isPlain(asked) || url === undefined || /\s/.test(url)) return Effect.succeedNone
  if (key !== undefined) {
    const chosen = typeof key === "string" ? Option.some(key) : key
    return Effect.transposeOption(
      Option.map(
        chosen,
        (chosen) =>
          Effect.map(toId(`${namespace}/key ${method} ${JSON.stringify(chosen)}`), (id) => ({ id, untold: undefined }))
      )
    )
  }
  if (isOpaque) return Effect.succeedNone
  // An id is seen by whoever looks at Redis, and in traces: of headers, which may be secrets, only a hash is in it.
  const told = toldOf(asked, ignored)
  const words = told === undefined ? Effect.succeed("") : Effect.map(sha256(told), (hash) => ` ${hash}`)
  return words.pipe(
    Effect.flatMap((words) => toId(`${namespace} ${method} ${url}${words}`)),
    Effect.map((id) => Option.some({ id, untold: ignored.has }))
  )
}

/** All that tells the request from others with its url, if anything does. */
const toldOf = ({ beside, headers }: Asked, { has, words }: Ignored): string | undefined => {
  const told = Object.entries(headers)
    .filter(([name, value]) => !has(name) && !(name === "content-length" && value === "0"))
    .sort(([one], [other]) => one < other ? -1 : 1)
  return told.length + beside.length + words.length === 0 ? undefined : JSON.stringify([told, beside, words])
}

/** What a request says in a header that its id does not tell: as it is only where that can be no secret. */
export const valueOf = (headers: Readonly<Record<string, string>>, name: string): Effect.Effect<string | null> => {
  const value = headers[name]
  return value === undefined || isHarmless(name) ? Effect.succeed(value ?? null) : sha256(value)
}

const sha256 = (text: string): Effect.Effect<string> =>
  Effect.map(
    Effect.promise(() => globalThis.crypto.subtle.digest("SHA-256", new TextEncoder().encode(JSON.stringify(text)))),
    (hash) => `sha256:${Hex.encode(new Uint8Array(hash))}`
  )

/** Itself where it is a legal one; a hash where it is too long. */
const toId = (text: string): Effect.Effect<string> =>
  Result.isSuccess(Key.validate(text))
    ? Effect.succeed(text)
    : Effect.map(sha256(text), (hash) => `${text.slice(0, text.indexOf(" "))} ${hash}`)
