/**
 * A Lua script as a typed value: what goes in, how that becomes keys and arguments, and the Schema of what comes back.
 * And the pieces that the scripts share.
 */
import * as Edition from "#edition"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { createHash } from "node:crypto"
import { lazy } from "../lazy.js"
import { header } from "./lua.js"
import { prelude } from "./settleLua.js"

/** @internal */
export type LockKeys = readonly [fence: string, state: string, held: string, queue: string, alive: string]

/**
 * What `Whole` decodes, by hand.
 *
 * @internal
 */
export const toWhole = (input: unknown): number | undefined => {
  const number = typeof input === "string" && /^-?\d+$/.test(input) ? Number(input) : input
  return typeof number === "number" && Number.isSafeInteger(number) ? number : undefined
}

/**
 * A whole number, as an integer or in digits: those of a fence travel as text (R1), and a client with `stringNumbers` has
 * all of them as text. Decoded in one step: each reply has several.
 *
 * @internal
 */
export const Whole = Edition.readBy("a whole number", toWhole)

/** @internal */
export const isEmpty = (input: unknown): boolean => Array.isArray(input) && input.length === 0

/**
 * Indices, from 1, of the locks that want another `refresh` to settle them (R22).
 *
 * @internal
 */
export const Unsettled = () => Schema.Array(Whole)

/**
 * What the server says of a token.
 *
 * @internal
 */
export const ItemAnswer = () =>
  Schema.Union([
    Schema.Tuple([Schema.Literal("gone")]),
    Schema.Tuple([Schema.Literal("held"), Whole, Whole]),
    Schema.Tuple([Schema.Literal("waiting"), Whole, Whole, Whole, Whole, Whole, Schema.String]),
    Schema.Tuple([Schema.Literal("failed"), Schema.String])
  ])

/**
 * Not by `flat`: for one lock it takes longer than any other step of a command.
 *
 * @internal
 */
export const flatKeys = (locks: ReadonlyArray<LockKeys>): Array<string> => {
  const keys: Array<string> = []
  for (const lock of locks) keys.push(...lock)
  return keys
}

/** @internal */
export const flag = (value: boolean): 0 | 1 => value ? 1 : 0

/** @internal */
export interface Script<in In, out Reply> {
  readonly name: string
  readonly lua: string
  readonly sha: string
  readonly keys: (input: In) => Array<string>
  readonly args: (input: In) => Array<string | number>
  /** Fails with why it is no reply of this script. */
  readonly decode: (reply: unknown) => Result.Result<Reply, unknown>
}

/** @internal */
export const script = <In, Reply, Encoded>(options: {
  readonly name: string
  /** Answers the most frequent case with the fewest calls, exactly as `lua` would; or does nothing. */
  readonly shortcut?: string
  /** What it shares with the others of its kind. Defaults to that of the scripts for locks. */
  readonly prelude?: string
  readonly lua: string
  readonly keys: (input: In) => Array<string>
  readonly args: (input: In) => Array<string | number>
  readonly reply: () => Edition.Codec<Reply, Encoded>
  /**
   * Reads the most frequent replies by hand, exactly as `reply` would; or says `undefined`. A Schema that is walked twice a
   * cycle by code that is not hot otherwise is a tenth of the cycle.
   */
  readonly usual?: (reply: ReadonlyArray<unknown>) => Reply | undefined
}): Script<In, Reply> => {
  const lua = [header, options.shortcut ?? "", options.prelude ?? prelude, options.lua].join("\n")
  const sha = lazy(() => createHash("sha1").update(lua).digest("hex"))
  const decode = lazy(() => Schema.decodeUnknownResult(options.reply()))
  const { usual } = options
  return {
    name: options.name,
    lua,
    get sha() {
      return sha()
    },
    keys: options.keys,
    args: options.args,
    decode: (reply) => {
      const read = usual && Array.isArray(reply) ? usual(reply) : undefined
      return read === undefined ? decode()(reply) : Result.succeed(read)
    }
  }
}
