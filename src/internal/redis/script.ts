/**
 * A Lua script as a typed value: what goes in, how that becomes keys and arguments, and the Schema of what comes back.
 */
import type * as Either from "effect/Either"
import type * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { createHash } from "node:crypto"
import { header, prelude } from "./lua.js"

/** @internal */
export interface Script<in In, out Reply> {
  readonly name: string
  readonly lua: string
  readonly sha: string
  readonly keys: (input: In) => Array<string>
  readonly args: (input: In) => Array<string | number>
  readonly decode: (reply: unknown) => Either.Either<Reply, ParseResult.ParseError>
}

/** @internal */
export const script = <In, Reply, Encoded>(options: {
  readonly name: string
  /** Answers the most frequent case with the fewest calls, exactly as `lua` would; or does nothing. */
  readonly shortcut?: string
  readonly lua: string
  readonly keys: (input: In) => Array<string>
  readonly args: (input: In) => Array<string | number>
  readonly reply: Schema.Schema<Reply, Encoded>
}): Script<In, Reply> => {
  const lua = [header, options.shortcut ?? "", prelude, options.lua].join("\n")
  return {
    name: options.name,
    lua,
    sha: createHash("sha1").update(lua).digest("hex"),
    keys: options.keys,
    args: options.args,
    decode: Schema.decodeUnknownEither(options.reply)
  }
}
