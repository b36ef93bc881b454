/** The scripts as they are shipped, on a Redis in memory. */
import * as Key from "../../src/internal/key.js"
import type { Entry } from "../support/lua/database.js"
import type { Reply } from "../support/lua/interpreter.js"
import { Redis, toBytes, toText } from "../support/lua/redis.js"
import { parseKey, scriptOf } from "./asked.js"
import type { Backend, FlightView, HolderView, LockView, WaiterView } from "./backend.js"
import type { Server } from "./server.js"

const inText = (reply: Reply): Reply =>
  typeof reply === "string"
    ? toText(reply)
    : Array.isArray(reply)
    ? reply.map(inText)
    : typeof reply === "object" && reply !== null && "err" in reply
    ? { err: toText(reply.err) }
    : reply

const partsOfLocks = ["fence", "state", "held", "queue", "alive"] as const
const partsOfFlights = ["state", "followers", "marks", "outcomes"] as const

export class LuaBackend implements Backend {
  readonly redis: Redis
  /** What the keys of one thing have in common, and its name; and the other way round. */
  private readonly names = new Map<string, string>()
  private readonly locks = new Map<string, string>()
  private readonly flights = new Map<string, string>()
  /** What was read of a lock, until one of its keys changes or expires. */
  private readonly views = new Map<string, { readonly view: LockView; readonly until: number }>()

  /** How many the present script has made. */
  private calls = 0
  /** Keys that a script has made and, stopped there, given no expiry: the next command for the same thing does (R44). */
  private readonly unbounded = new Set<string>()
  private spoiled: { readonly key: string; readonly entry: Entry | undefined } | undefined

  constructor(readonly server: Server) {
    this.redis = new Redis({
      micros: () => server.nowMicros(),
      receivers: (channel) => Number(server.isHeardBy(channel)),
      publish: (channel, message) => Number(server.publish(channel, toText(message))),
      onChange: (key) => this.onChange(key),
      onRefused: (name) => server.onCallRefused(name)
    })
    this.redis.guard = (name, command) => {
      const { callRefusal } = server
      return callRefusal?.isRefused(name, command, ++this.calls) ? callRefusal.words : undefined
    }
  }

  /** Puts another program's key where the state of something should be. What was there comes back afterwards. */
  spoil(thing: { readonly kind: Key.Kind; readonly key: string }): void {
    const key = `${Key.redisName("dlock", thing.kind, thing.key)}:state`
    this.spoiled = { key, entry: this.redis.database.get(key) }
    this.redis.database.set(key, "foreign", Infinity)
  }

  unspoil(): void {
    if (this.spoiled === undefined) return
    const { entry, key } = this.spoiled
    this.spoiled = undefined
    this.redis.database.delete(key)
    if (entry !== undefined) this.redis.database.set(key, entry.value, entry.expiresAt)
  }

  /** What lies there is out of the way meanwhile. */
  private unspoiled<A>(run: () => A): A {
    const key = this.spoiled?.key
    this.unspoil()
    const result = run()
    if (key !== undefined) this.spoil(parseKey(key))
    return result
  }

  private nameOf(redisKey: string): string {
    const base = redisKey.slice(0, redisKey.lastIndexOf(":"))
    return this.names.get(base) ?? this.learn(redisKey, base)
  }

  private onChange(redisKey: string): void {
    this.views.delete(this.nameOf(redisKey))
  }

  private learn(redisKey: string, base: string): string {
    const { key, kind } = parseKey(redisKey)
    const name = `${kind}:${key}`
    this.names.set(base, name)
    if (kind === "flight") this.flights.set(key, base)
    else this.locks.set(name, base)
    return name
  }

  /** Which scripts a server knows is not this one's business. */
  run(command: ReadonlyArray<string>): Reply {
    this.calls = 0
    this.redis.isFull = this.server.fullUntil > this.server.world.now
    const reply = inText(this.redis.call("EVAL", scriptOf(command)!.lua, ...command.slice(2).map(toBytes)))
    if (this.server.isHalfDone) {
      for (const [key, { expiresAt }] of this.redis.database.entries) {
        if (expiresAt === Infinity) this.unbounded.add(key)
      }
    }
    return reply
  }

  lockNames(): Iterable<string> {
    return this.locks.keys()
  }

  lock(name: string): LockView | undefined {
    const base = this.locks.get(name)
    if (base === undefined) return undefined
    const known = this.views.get(name)
    if (known !== undefined && known.until > this.server.nowMillis()) return known.view
    const read = this.read(base)
    this.views.set(name, read)
    return read.view
  }

  /** What the library has there. */
  private entryAt(key: string): Entry | undefined {
    if (key !== this.spoiled?.key) return this.redis.database.get(key)
    const { entry } = this.spoiled
    return entry !== undefined && entry.expiresAt > this.server.nowMillis() ? entry : undefined
  }

  private read(base: string): { readonly view: LockView; readonly until: number } {
    const keys = partsOfLocks.map((part) => this.entryAt(`${base}:${part}`))
    const [, state, held, queue, alive] = keys
    const entries = state?.value instanceof Map ? state.value : new Map<string, string>()
    const scores = (entry: typeof held): ReadonlyMap<string, number> =>
      entry !== undefined && typeof entry.value !== "string" && "scores" in entry.value ? entry.value.scores : new Map()
    const [heldScores, queued, alives] = [scores(held), scores(queue), scores(alive)]
    const holders = new Map<string, HolderView>()
    const waiters: Array<readonly [string, WaiterView, number]> = []
    const tombstones = new Map<string, number>()
    for (const [token, entry] of entries) {
      const match = /^(\w) (\d+) \d+ (\d+) \d (\S+) /.exec(entry)
      if (token.startsWith("#") || match === null) continue
      const [, kind, permits, number, inbox] = match
      const until = Math.min(
        (kind === "h" ? heldScores : alives).get(token) ?? 0,
        (kind === "h" ? held : alive)?.expiresAt ?? 0
      )
      if (kind === "x") tombstones.set(token, until)
      else if (kind === "h" && heldScores.has(token)) {
        holders.set(token, {
          permits: Number(permits),
          until,
          fence: Number(number),
          inbox: inbox!,
          isKept: inbox === "-"
        })
      } else if (kind === "w") {
        waiters.push([token, { permits: Number(permits), until, queued: queued.has(token) }, Number(number)])
      }
    }
    waiters.sort(([, , a], [, , b]) => a - b)
    const used = entries.get("#used")
    const view: LockView = {
      limit: Number(entries.get("#limit") ?? 1),
      used: heldScores.size === 0 ? 0 : used === undefined ? undefined : Number(used),
      holders,
      bare: new Map([...heldScores].filter(([token]) => !holders.has(token))),
      waiters: new Map(waiters.map(([token, view]) => [token, view])),
      tombstones
    }
    return { view, until: Math.min(...keys.map((key) => key?.expiresAt ?? Infinity)) }
  }

  flight(id: string): FlightView | undefined {
    const base = this.flights.get(id)
    if (base === undefined) return undefined
    const [state, followers] = partsOfFlights.map((part) => this.entryAt(`${base}:${part}`)?.value)
    const fields = state instanceof Map ? state : new Map<string, string>()
    const token = fields.get("#leader")
    return {
      leader: token === undefined ? undefined : { token, ends: Number(fields.get("#ends") ?? 0) },
      followers: followers !== undefined && typeof followers !== "string" && "scores" in followers
        ? followers.scores
        : new Map(),
      done: { has: (token) => fields.get(token)?.startsWith("d ") === true }
    }
  }

  flightsLeft(): ReadonlyArray<string> {
    const { database } = this.redis
    return [...database.entries.keys()].filter((key) => {
      const entry = key.includes(":flight:") ? database.get(key) : undefined
      return entry !== undefined && !(entry.expiresAt === Infinity && this.unbounded.has(key))
    })
  }

  keys(): ReadonlyArray<string> {
    const { database } = this.redis
    return [...database.entries.keys()].filter((key) => key !== this.spoiled?.key && database.get(key) !== undefined)
  }

  expire(): void {
    const { database } = this.redis
    for (const key of [...database.entries.keys()]) database.get(key)
  }

  evict(redisKey: string): void {
    this.redis.database.delete(redisKey)
  }

  snapshot(): () => void {
    const restore = this.unspoiled(() => this.redis.database.snapshot())
    return () => this.unspoiled(restore)
  }

  clear(): void {
    this.unspoiled(() => this.redis.database.clear())
  }
}
