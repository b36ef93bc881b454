/** Which requests may share a response, and under which name. Nothing here reads a body. */
import * as Headers from "@effect/platform/Headers"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Encoding from "effect/Encoding"
import * as FiberRef from "effect/FiberRef"
import * as Option from "effect/Option"
import * as Key from "../key.js"

/** What a request of either side says of itself. */
export interface Asked {
  readonly method: string
  /** Undefined when it is none that can be asked for. */
  readonly url: string | undefined
  readonly headers: Headers.Headers
  readonly hasBody: boolean
  /** Whether it says who asks in another way than by a header: in the url, by cookies that are added later. */
  readonly hasUser: boolean
  /** What the option `key` says, where it is given. */
  readonly key: string | Option.Option<string> | undefined
}

/** Under which name it is shared. */
export interface Shared {
  readonly id: string
  /** The names of the headers that the id tells apart, or undefined when `key` answers for all of them. */
  readonly named: ReadonlyArray<string> | undefined
}

/** Another version of what is shared has other names. */
export type Namespace = "http-client/1" | "http-server/1"

/** Their values say who asks. So do those that the platform keeps out of logs. */
const credentials: ReadonlyArray<string | RegExp> = ["authorization", "cookie", "proxy-authorization"]

/** Their values change what comes back, or whether anything does. */
const conditions = ["if-match", "if-modified-since", "if-none-match", "if-unmodified-since"]

const isIn = (names: ReadonlyArray<string | RegExp>, name: string): boolean =>
  names.some((one) =>
    typeof one === "string" ? one.toLowerCase() === name : new RegExp(one.source, one.flags).test(name)
  )

/** The parts of a header that is a list, in lower case. */
export const listed = (value: string | undefined): ReadonlyArray<string> =>
  value === undefined ? [] : value.toLowerCase().split(",").map((part) => part.trim()).filter((part) => part !== "")

/** Without case, order and repetition. */
export const normalized = (names: ReadonlyArray<string>): ReadonlyArray<string> =>
  Array.from(new Set(names.map((name) => name.toLowerCase()))).sort()

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
  vary: ReadonlyArray<string>
): Effect.Effect<Option.Option<Shared>> =>
  Effect.flatMap(FiberRef.get(Headers.currentRedactedNames), (redacted): Effect.Effect<Option.Option<Shared>> => {
    const { hasUser, headers, key, method, url } = asked
    if (!isPlain(asked) || url === undefined) return Effect.succeedNone
    if (key !== undefined) {
      const chosen = typeof key === "string" ? Option.some(key) : key
      return Effect.transposeMapOption(
        chosen,
        (chosen) =>
          Effect.map(toId(`${namespace}/key ${method} ${JSON.stringify(chosen)}`), (id) => ({ id, named: undefined }))
      )
    }
    const isSecret = (name: string) => isIn(credentials, name) || isIn(redacted, name)
    const isUnnamed = (name: string) => !vary.includes(name) && (isSecret(name) || conditions.includes(name))
    if (hasUser || Object.keys(headers).some(isUnnamed)) return Effect.succeedNone
    return Effect.gen(function*() {
      const values = yield* Effect.forEach(vary, (name) => {
        const value = headers[name]
        // An id is seen by whoever looks at Redis, and in traces.
        if (value === undefined || !isSecret(name)) return Effect.succeed([name, value ?? null] as const)
        return Effect.map(sha256(value), (hash) => [name, hash] as const)
      })
      const words = values.length === 0 ? "" : ` ${JSON.stringify(values)}`
      return Option.some({ id: yield* toId(`${namespace} ${method} ${url}${words}`), named: vary })
    })
  })

const sha256 = (text: string): Effect.Effect<string> =>
  Effect.map(
    Effect.promise(() => globalThis.crypto.subtle.digest("SHA-256", new TextEncoder().encode(JSON.stringify(text)))),
    (hash) => `sha256:${Encoding.encodeHex(new Uint8Array(hash))}`
  )

/** Itself where it is a legal one; a hash where it is too long. */
const toId = (text: string): Effect.Effect<string> =>
  Either.isRight(Key.validate(text))
    ? Effect.succeed(text)
    : Effect.map(sha256(text), (hash) => `${text.slice(0, text.indexOf(" "))} ${hash}`)
