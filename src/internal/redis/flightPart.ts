/** What the scripts for flights are given, and how their usual replies are read. */
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import type { Script } from "./script.js"

/**
 * The four keys that flightLua.ts describes.
 *
 * @internal
 */
export type FlightKeys = readonly [state: string, followers: string, marks: string, outcomes: string]

/** @internal */
export interface Part {
  readonly flight: FlightKeys
  readonly token: string
}

/** @internal */
export const keysOf = ({ flight }: Pick<Part, "flight">): Array<string> => [...flight]

/** @internal */
export const Gone = Schema.Literal("gone")

/**
 * Reads the usual reply by hand; whatever that does not take goes to the Schema. Each process waits for a reply once a
 * flight, so that code is never warm, and a Schema is much of it.
 *
 * @internal
 */
export const readFirst = <In, Reply, Usual extends Reply>(
  script: Script<In, Reply>,
  usual: (reply: ReadonlyArray<unknown>) => Usual | undefined
): Script<In, Reply> => ({
  ...script,
  decode: (reply) => {
    const read = Array.isArray(reply) ? usual(reply) : undefined
    return read === undefined ? script.decode(reply) : Either.right(read)
  }
})

/** @internal */
export const isWhole = (value: unknown): value is number => Number.isSafeInteger(value)

/**
 * The server's time, as every reply begins with it; 0 when it is something else.
 *
 * @internal
 */
export const timeIn = (value: unknown): number =>
  typeof value === "string" && /^\d{1,15}$/.test(value) ? Number(value) : 0
