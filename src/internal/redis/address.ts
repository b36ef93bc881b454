/** Where to connect, as users write it. The driver takes much for an address that is none, and goes to localhost. */
import * as Result from "effect/Result"
import type { ClientOptions } from "./driver.js"

/** Nothing of it is repeated: it may hold a password. */
const urlMistake = (url: unknown): string | undefined => {
  if (typeof url !== "string") return "is not a string"
  if (url === "") return "is empty"
  if (!/^rediss?:\/\//.test(url)) return "begins with neither redis:// nor rediss://"
  const parsed = Result.try(() => new URL(url))
  if (Result.isFailure(parsed)) return "cannot be read: look at its host, its port, and the characters of its password"
  const { hostname, pathname, port, searchParams } = parsed.success
  if (hostname === "") return "has no host"
  if (port === "0") return "has the port 0"
  return /^\/?\d*$/.test(pathname) && /^\d*$/.test(searchParams.get("db") ?? "")
    ? undefined
    : "names a database that is not a number"
}

const isWhole = (input: unknown, from: number, to: number): boolean =>
  typeof input === "number" && Number.isInteger(input) && input >= from && input <= to

/** To die with, if anything. It names the option. */
export const mistake = (url: unknown, { db, port }: ClientOptions): TypeError | undefined => {
  const wrong = url === undefined ? undefined : urlMistake(url)
  if (wrong !== undefined) {
    return new TypeError(
      `effect-dlock: option \`url\` must be like redis://user:password@host:6379/0, or rediss:// for TLS, with special ` +
        `characters percent-encoded. It ${wrong}`
    )
  }
  if (db !== undefined && !isWhole(db, 0, Infinity)) {
    return new TypeError(`effect-dlock: option \`db\` must be a whole number from 0, not ${String(db)}`)
  }
  if (port !== undefined && !isWhole(port, 1, 65_535)) {
    return new TypeError(`effect-dlock: option \`port\` must be a whole number from 1 to 65535, not ${String(port)}`)
  }
  return undefined
}
