/**
 * Lua 5.1, as Redis embeds it, in WebAssembly: numbers are doubles, and a script sees KEYS, ARGV and `redis.call`, and no
 * files, clocks or globals of its own. One interpreter serves the whole process.
 */
import { LuaApi } from "wasmoon-lua5.1"

/** What a command or a script replies. Strings are bytes: each character is one. `null` is the reply that is not there. */
export type Reply = string | number | null | { readonly ok: string } | { readonly err: string } | ReadonlyArray<Reply>

export type Call = (args: ReadonlyArray<string>) => Reply

/** The functions of the C API that are used here. */
interface Api {
  readonly HEAPU8: Uint8Array
  readonly addFunction: (run: (state: number) => number, signature: string) => number
  readonly _malloc: (size: number) => number
  readonly _free: (at: number) => void
  readonly _luaL_loadbuffer: (state: number, at: number, size: number, name: number) => number
  readonly _luaL_newstate: () => number
  readonly _luaL_ref: (state: number, table: number) => number
  readonly _luaopen_base: (state: number) => number
  readonly _luaopen_math: (state: number) => number
  readonly _luaopen_string: (state: number) => number
  readonly _luaopen_table: (state: number) => number
  readonly _lua_call: (state: number, args: number, results: number) => void
  readonly _lua_createtable: (state: number, items: number, fields: number) => void
  readonly _lua_error: (state: number) => number
  readonly _lua_getfield: (state: number, at: number, name: number) => void
  readonly _lua_gettop: (state: number) => number
  readonly _lua_objlen: (state: number, at: number) => number
  readonly _lua_pcall: (state: number, args: number, results: number, handler: number) => number
  readonly _lua_pushboolean: (state: number, value: number) => void
  readonly _lua_pushcclosure: (state: number, run: number, values: number) => void
  readonly _lua_pushlstring: (state: number, at: number, size: number) => void
  readonly _lua_pushnumber: (state: number, value: number) => void
  readonly _lua_rawgeti: (state: number, at: number, index: number) => void
  readonly _lua_rawseti: (state: number, at: number, index: number) => void
  readonly _lua_setfield: (state: number, at: number, name: number) => void
  readonly _lua_settop: (state: number, top: number) => void
  readonly _lua_toboolean: (state: number, at: number) => number
  readonly _lua_tolstring: (state: number, at: number, size: number) => number
  readonly _lua_tonumber: (state: number, at: number) => number
  readonly _lua_type: (state: number, at: number) => number
}

const type = { boolean: 1, number: 3, string: 4, table: 5 }
const globals = -10_002
const registry = -10_000

/** A script may be long, and a payload longer. */
const smallBytes = 65_536

/** What Redis does before it lets a script run, as far as a script can tell. */
const sandbox = `
local forbidden = { "dofile", "loadfile", "load", "loadstring", "print", "newproxy", "getfenv", "setfenv", "module", "require" }
for _, name in ipairs(forbidden) do _G[name] = nil end
redis = { call = call, pcall = pcallRedis }
call, pcallRedis = nil, nil
KEYS, ARGV = {}, {}

-- The error of a command is a table; whoever catches it has its words.
local try = pcall
local function caught(ok, result, ...)
  if not ok and type(result) == "table" and type(result.err) == "string" then return false, result.err end
  return ok, result, ...
end
function pcall(...) return caught(try(...)) end

setmetatable(_G, {
  __newindex = function(_, name) error("Script attempted to create global variable '" .. tostring(name) .. "'", 2) end,
  __index = function(_, name) error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2) end
})`

/** As C's "%.17g" writes it: so Redis makes an argument of a number. */
export const toArgument = (value: number): string => {
  if (Number.isInteger(value) && Math.abs(value) < 1e17) return Object.is(value, -0) ? "-0" : String(value)
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf"
  const [digits = "", exponent = "0"] = value.toExponential(16).split("e")
  const power = Number(exponent)
  const short = (text: string) => text.includes(".") ? text.replace(/\.?0+$/, "") : text
  if (power >= -4 && power < 17) return short(value.toFixed(Math.max(0, 16 - power)))
  return `${short(digits)}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`
}

class Interpreter {
  private readonly state: number
  private readonly names = new Map<string, number>()
  private readonly scripts = new Map<string, number>()
  private readonly small: number
  private readonly size: number
  private bytes: Buffer = Buffer.alloc(0)
  private onCall: Call = () => null

  constructor(readonly api: Api) {
    this.small = api._malloc(smallBytes)
    this.size = api._malloc(4)
    const state = api._luaL_newstate()
    this.state = state
    for (const open of [api._luaopen_base, api._luaopen_table, api._luaopen_string, api._luaopen_math]) {
      api._lua_pushcclosure(state, api.addFunction(open, "ii"), 0)
      api._lua_call(state, 0, 0)
    }
    this.define("call", (reply) => isError(reply) ? api._lua_error(state) : 1)
    this.define("pcallRedis", () => 1)
    this.load(sandbox)
    api._lua_call(state, 0, 0)
  }

  /** A function of Lua's that calls back with its arguments, and has the reply on the stack then. */
  private define(name: string, end: (reply: Reply) => number): void {
    const run = (state: number): number => {
      const args: Array<string> = []
      const count = this.api._lua_gettop(state)
      for (let at = 1; at <= count; at++) {
        const kind = this.api._lua_type(state, at)
        if (kind === type.string) args.push(this.text(at))
        else if (kind === type.number) args.push(toArgument(this.api._lua_tonumber(state, at)))
        else return this.reply({ err: "ERR Lua redis lib command arguments must be strings or integers" }, end)
      }
      return this.reply(this.onCall(args), end)
    }
    this.api._lua_pushcclosure(this.state, this.api.addFunction(run, "ii"), 0)
    this.api._lua_setfield(this.state, globals, this.name(name))
  }

  private reply(reply: Reply, end: (reply: Reply) => number): number {
    this.push(reply)
    return end(reply)
  }

  /** Runs a script. What it raises is an error reply, which ends with `raisedIn`. */
  run(
    lua: string,
    keys: ReadonlyArray<string>,
    args: ReadonlyArray<string>,
    call: Call,
    raisedIn: string
  ): Reply {
    const { api, state } = this
    const before = this.onCall
    this.onCall = call
    try {
      this.pushScript(lua)
      for (const [name, values] of [["KEYS", keys], ["ARGV", args]] as const) {
        this.push(values)
        api._lua_setfield(state, globals, this.name(name))
      }
      const failed = api._lua_pcall(state, 0, 1, 0) !== 0
      const reply = this.read(-1)
      return failed ? { err: `${isError(reply) ? reply.err : `ERR ${String(reply)}`} ${raisedIn}` } : reply
    } finally {
      this.onCall = before
      api._lua_settop(state, 0)
    }
  }

  private pushScript(lua: string): void {
    const known = this.scripts.get(lua)
    if (known !== undefined) return this.api._lua_rawgeti(this.state, registry, known)
    this.load(lua)
    const reference = this.api._luaL_ref(this.state, registry)
    this.scripts.set(lua, reference)
    this.api._lua_rawgeti(this.state, registry, reference)
  }

  private load(lua: string): void {
    const at = this.write(lua)
    const failed = this.api._luaL_loadbuffer(this.state, at, lua.length, this.name("@user_script"))
    this.release(at)
    if (failed !== 0) throw new Error(`Error compiling script: ${this.text(-1)}`)
  }

  /** A string of C's that stays. */
  private name(text: string): number {
    const known = this.names.get(text)
    if (known !== undefined) return known
    const at = this.api._malloc(text.length + 1)
    this.heap().latin1Write(text, at)
    this.api.HEAPU8[at + text.length] = 0
    this.names.set(text, at)
    return at
  }

  /** The memory of the interpreter moves when it grows. */
  private heap(): Buffer & {
    latin1Write(text: string, at: number): void
    latin1Slice(from: number, to: number): string
  } {
    const { buffer } = this.api.HEAPU8
    if (this.bytes.buffer !== buffer) this.bytes = Buffer.from(buffer)
    // SAFETY: every Buffer of Node's has both, and the types leave them out. They are twice as fast as `write`.
    return this.bytes as any
  }

  private write(text: string): number {
    const at = text.length <= smallBytes ? this.small : this.api._malloc(text.length)
    this.heap().latin1Write(text, at)
    return at
  }

  private release(at: number): void {
    if (at !== this.small) this.api._free(at)
  }

  private text(index: number): string {
    const at = this.api._lua_tolstring(this.state, index, this.size)
    const heap = this.heap()
    return heap.latin1Slice(at, at + heap.readUInt32LE(this.size))
  }

  private push(reply: Reply): void {
    const { api, state } = this
    if (typeof reply === "string") {
      const at = this.write(reply)
      api._lua_pushlstring(state, at, reply.length)
      this.release(at)
    } else if (typeof reply === "number") {
      api._lua_pushnumber(state, reply)
    } else if (reply === null) {
      api._lua_pushboolean(state, 0)
    } else if ("ok" in reply || "err" in reply) {
      const [name, value] = "ok" in reply ? ["ok", reply.ok] : ["err", reply.err]
      api._lua_createtable(state, 0, 1)
      this.push(value)
      api._lua_setfield(state, -2, this.name(name))
    } else {
      api._lua_createtable(state, reply.length, 0)
      for (const [i, item] of reply.entries()) {
        this.push(item)
        api._lua_rawseti(state, -2, i + 1)
      }
    }
  }

  /** As Redis makes a reply of what a script returns: numbers lose their fraction, and an array ends before the first nil. */
  private read(index: number): Reply {
    const { api, state } = this
    switch (api._lua_type(state, index)) {
      case type.string:
        return this.text(index)
      case type.number:
        return Math.trunc(api._lua_tonumber(state, index))
      case type.boolean:
        return api._lua_toboolean(state, index) ? 1 : null
      case type.table:
        return this.readField(index, "err") ?? this.readField(index, "ok") ?? this.readItems(index)
      default:
        return null
    }
  }

  private readField(index: number, name: "err" | "ok"): Reply | undefined {
    this.api._lua_getfield(this.state, index, this.name(name))
    const found = this.api._lua_type(this.state, -1) === type.string ? this.text(-1) : undefined
    this.api._lua_settop(this.state, -2)
    return found === undefined ? undefined : name === "err" ? { err: found } : { ok: found }
  }

  private readItems(index: number): Reply {
    const { api, state } = this
    const items: Array<Reply> = []
    for (let i = 1;; i++) {
      api._lua_rawgeti(state, index, i)
      const isEnd = api._lua_type(state, -1) <= 0
      if (!isEnd) items.push(this.read(-1))
      api._lua_settop(state, -2)
      if (isEnd) return items
    }
  }
}

export const isError = (reply: Reply): reply is { readonly err: string } =>
  typeof reply === "object" && reply !== null && "err" in reply

// SAFETY: the module has these, and the package's declaration of it is a file that the package does not contain.
export const interpreter = new Interpreter((await LuaApi.initialize()).module as unknown as Api)
