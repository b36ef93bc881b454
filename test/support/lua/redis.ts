/**
 * A Redis in memory that plays the scripts as they are shipped, in a real Lua 5.1, on a clock that it is given. One call
 * runs at one moment and whole, but for what is refused half-way: that leaves what was written before, as on Redis.
 *
 * It knows the commands of commands.ts. redis.test.ts holds it to a real server.
 */
import { createHash } from "node:crypto"
import type { Command, Context } from "./commands.js"
import { commands } from "./commands.js"
import { Database, Refusal } from "./database.js"
import type { Call, Reply } from "./interpreter.js"
import { interpreter } from "./interpreter.js"

export interface RedisOptions {
  /** The server's clock. */
  readonly micros: () => number
  /** False for a Redis that forgets nothing by itself. */
  readonly keysExpire?: boolean
  readonly receivers?: (channel: string) => number
  readonly publish?: (channel: string, message: string) => number
  readonly onChange?: (key: string) => void
  /** Hears of each command that is refused by the guard, or for want of memory. */
  readonly onRefused?: (name: string) => void
}

/** Says why a command is refused, if it is. The words are Redis's own. */
export type Guard = (name: string, command: Command, args: ReadonlyArray<string>) => string | undefined

const shaOf = (lua: string): string => createHash("sha1").update(lua).digest("hex")

export class Redis {
  readonly database: Database
  private readonly scripts = new Map<string, string>()
  private readonly shas = new Map<string, string>()
  /** Asked before each command, also of those inside a script. */
  guard: Guard = () => undefined
  /** The memory is full: what grows is refused, but in a script that has written something. */
  isFull = false

  constructor(readonly options: RedisOptions) {
    const millis = () => Math.floor(options.micros() / 1000)
    this.database = new Database(millis, options.keysExpire ?? true, options.onChange)
  }

  private context(): Context {
    const { options } = this
    return {
      database: this.database,
      micros: options.micros(),
      receivers: options.receivers ?? (() => 0),
      publish: options.publish ?? (() => 0)
    }
  }

  /** One command of a client. */
  call(...[name = "", ...args]: ReadonlyArray<string>): Reply {
    switch (name.toUpperCase()) {
      case "EVAL":
        return this.eval(args)
      case "EVALSHA": {
        const lua = this.scripts.get(args[0]!)
        return lua === undefined
          ? { err: "NOSCRIPT No matching script. Please use EVAL." }
          : this.eval([lua, ...args.slice(1)])
      }
      case "SCRIPT":
        return this.script(args)
      case "FLUSHALL":
        this.database.clear()
        return { ok: "OK" }
      default:
        return this.run(this.context(), [name, ...args], { hasWritten: false }, "")
    }
  }

  private script([what = "", lua = ""]: ReadonlyArray<string>): Reply {
    if (what.toUpperCase() === "FLUSH") {
      this.scripts.clear()
      return { ok: "OK" }
    }
    return this.load(lua)
  }

  private load(lua: string): string {
    const sha = this.shas.get(lua) ?? shaOf(lua)
    this.shas.set(lua, sha)
    this.scripts.set(sha, lua)
    return sha
  }

  private eval([lua = "", count = "0", ...rest]: ReadonlyArray<string>): Reply {
    const sha = this.load(lua)
    const keys = Number(count)
    const context = this.context()
    const state = { hasWritten: false }
    const call: Call = (args) => this.run(context, args, state, " from script")
    return interpreter.run(lua, rest.slice(0, keys), rest.slice(keys), call, `script: ${sha}, on @user_script:1.`)
  }

  private run(
    context: Context,
    args: ReadonlyArray<string>,
    state: { hasWritten: boolean },
    caller: "" | " from script"
  ): Reply {
    const name = args[0]!.toUpperCase()
    const command = commands[name]
    if (command === undefined) return { err: `ERR Unknown Redis command called${caller}` }
    const isWrong = command.arity < 0 ? args.length < -command.arity : args.length !== command.arity
    if (isWrong) return { err: `ERR Wrong number of args calling Redis command${caller}` }
    const refused = this.guard(name, command, args) ??
      (this.isFull && command.grows && !state.hasWritten ? outOfMemory : undefined)
    if (refused !== undefined) {
      this.options.onRefused?.(name)
      return { err: refused }
    }
    state.hasWritten ||= command.writes
    try {
      return command.run(context, args)
    } catch (error) {
      if (error instanceof Refusal) return { err: error.message }
      throw error
    }
  }
}

/** Nearly all that is sent is plain, and is the same in both. */
const isPlain = (text: string): boolean => !/[^\x00-\x7f]/.test(text)

/** A text as its bytes in UTF-8, with a character for each. */
export const toBytes = (text: string): string => isPlain(text) ? text : Buffer.from(text).toString("latin1")

/** What a client makes of bytes. */
export const toText = (bytes: string): string => isPlain(bytes) ? bytes : Buffer.from(bytes, "latin1").toString()

const outOfMemory = "OOM command not allowed when used memory > 'maxmemory'."
