/** What the scripts for flights are given. */
import * as Schema from "effect/Schema"

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
export const Gone = () => Schema.Literal("gone")
