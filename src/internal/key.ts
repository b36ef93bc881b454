/**
 * What may be a lock's key, and how it becomes part of a Redis key. Both directions are one-to-one: two different
 * (prefix, kind, key) never share a Redis key.
 *
 * All Redis keys of one lock carry one hash tag, so that a script may touch them together on a cluster. A `{tag}` of the
 * user's own is honoured by Redis's own rule (the text between the first `{` and the next `}`, if there is any).
 */
import * as Result from "effect/Result"
import { InvalidKeyError } from "../DlockError.js"

const maxBytes = 1024

const utf8 = new TextEncoder()

/** The kind is part of the name, so `lock("x")` and `semaphore("x")` never count each other's permits (R12). */
export type Kind = LeaseKind | "flight"

/** What can be held. */
export type LeaseKind = "lock" | "semaphore" | "readWriteLock"

/** A legal key, or why it is none. */
export const validate = (key: unknown): Result.Result<string, InvalidKeyError> => {
  if (typeof key !== "string") return invalid(`of type ${typeof key}`, "NotAString")
  if (key.length === 0) return invalid(key, "Empty")
  // UTF-8 needs at most 3 bytes for a UTF-16 unit, so most keys need no counting.
  if (key.length * 3 > maxBytes && utf8.encode(key).length > maxBytes) return invalid(key, "TooLong")
  if (/\p{Surrogate}/u.test(key)) return invalid(key, "NotWellFormed")
  return Result.succeed(key)
}

const invalid = (key: string, reason: InvalidKeyError["reason"]) =>
  Result.fail(new InvalidKeyError({ key: key.slice(0, 64), reason }))

/**
 * `:` ends the prefix, braces would make a hash tag, and a blank ends the name of an inbox in an entry: a prefix may
 * contain none of them as it is.
 */
export const encodePrefix = (prefix: string): string => prefix.replace(/[%:{}\s]/g, encodeURIComponent)

/**
 * The part of a Redis key that names the lock. `{key}` with the braces inside percent-encoded; or, for a key with a hash
 * tag of its own, `=key` untouched. The first character tells the two apart.
 */
export const encodeKey = (key: string): string =>
  hasHashTag(key) ? `=${key}` : `{${/[%{}]/.test(key) ? key.replace(/[%{}]/g, encodeURIComponent) : key}}`

/** What all Redis keys of one thing begin with. The prefix is encoded already. */
export const redisName = (prefix: string, kind: Kind, key: string): string => `${prefix}:${kind}:${encodeKey(key)}`

/** The reverse of `encodeKey`. */
export const decodeKey = (encoded: string): string =>
  encoded.startsWith("=") ? encoded.slice(1) : encoded.slice(1, -1).replace(/%(25|7B|7D)/g, decodeURIComponent)

const hasHashTag = (key: string): boolean => {
  const open = key.indexOf("{")
  return open >= 0 && key.indexOf("}", open + 1) > open + 1
}

/**
 * In the order of the bytes of their Redis keys: the same in every process, so that two who wait for several cannot
 * deadlock.
 */
export const inOrder = (keys: ReadonlyArray<string>): Array<string> =>
  keys.map((key) => ({ key, bytes: utf8.encode(encodeKey(key)) }))
    .sort((a, b) => compareBytes(a.bytes, b.bytes))
    .map(({ key }) => key)

const compareBytes = (a: Uint8Array, b: Uint8Array): number => {
  for (let at = 0; at < a.length && at < b.length; at++) {
    const difference = (a[at] ?? 0) - (b[at] ?? 0)
    if (difference !== 0) return difference
  }
  return a.length - b.length
}
