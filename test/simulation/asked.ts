/**
 * What a command asks for: the reverse of the keys and arguments of a script. The judge and the memory store read commands
 * by this; the scripts read them themselves.
 */
import type { FinishRequest, JoinRequest, RefreshItem as FlightItem } from "../../src/internal/flightStore.js"
import type { LeaseKind } from "../../src/internal/key.js"
import * as Key from "../../src/internal/key.js"
import * as Acquire from "../../src/internal/redis/acquire.js"
import * as FlightScripts from "../../src/internal/redis/flights.js"
import * as Operations from "../../src/internal/redis/operations.js"
import type { Script } from "../../src/internal/redis/script.js"
import * as Scripts from "../../src/internal/redis/scripts.js"
import type { AcquireRequest, LeaveItem, RefreshItem, Target } from "../../src/internal/store.js"
import type { Reply } from "../support/lua/interpreter.js"
import type { RedisKey } from "./backend.js"

export interface Part {
  readonly id: string
  readonly token: string
}

export type Asked =
  | { readonly verb: "acquire"; readonly request: AcquireRequest; readonly inbox: string; readonly notAfter: number }
  | {
    readonly verb: "refresh"
    readonly items: ReadonlyArray<RefreshItem>
    readonly targets: ReadonlyArray<Target>
    readonly subscribed: boolean
  }
  | {
    readonly verb: "leave"
    readonly items: ReadonlyArray<Required<LeaveItem> & { readonly buriedUntil: number }>
    readonly targets: ReadonlyArray<Target>
  }
  | { readonly verb: "lower"; readonly target: Target; readonly token: string; readonly permits: number }
  | { readonly verb: "revoke"; readonly target: Target; readonly fence: number; readonly asks: boolean }
  | { readonly verb: "inspect"; readonly target: Target }
  | { readonly verb: "join"; readonly request: JoinRequest; readonly inbox: string; readonly notAfter: number }
  | { readonly verb: "refreshFlights"; readonly items: ReadonlyArray<FlightItem> }
  | { readonly verb: "finish"; readonly request: FinishRequest; readonly notAfter: number }
  | { readonly verb: "refuse"; readonly part: Part }
  | { readonly verb: "leaveFlight"; readonly part: Part; readonly buriedUntil: number }
  | { readonly verb: "fetch"; readonly part: Part }

export const parseKey = (redisKey: string): RedisKey => {
  const [, kind, encoded, part] = /^[^:]*:(\w+):(.*):(\w+)$/s.exec(redisKey)!
  // SAFETY: keys are made by src/internal/key.ts.
  return { kind: kind as Key.Kind, key: Key.decodeKey(encoded!), part: part! }
}

const targetOf = (redisKey: string): Target => {
  const { key, kind } = parseKey(redisKey)
  return { kind: kind as LeaseKind, key }
}

const every = (count: number, all: ReadonlyArray<string>): ReadonlyArray<ReadonlyArray<string>> =>
  Array.from({ length: all.length / count }, (_, i) => all.slice(i * count, (i + 1) * count))

const acquire = (keys: ReadonlyArray<string>, args: ReadonlyArray<string>): Asked => {
  const [token = "", ttl, liveness, notAfter, wait, subscribed, inbox = "", metadata = "", ...claims] = args
  const targets = every(5, keys).map(([first]) => targetOf(first!))
  return {
    verb: "acquire",
    inbox,
    notAfter: Number(notAfter),
    request: {
      token,
      claims: every(2, claims).map(([permits, limit], i) => ({
        ...targets[i]!,
        permits: Number(permits),
        limit: Number(limit)
      })),
      ttlMillis: Number(ttl),
      livenessMillis: Number(liveness),
      wait: wait === "1",
      subscribed: subscribed === "1",
      metadata
    }
  }
}

const refresh = (keys: ReadonlyArray<string>, [subscribed, ...items]: ReadonlyArray<string>): Asked => {
  const targets = every(5, keys).map(([first]) => targetOf(first!))
  return {
    verb: "refresh",
    targets,
    subscribed: subscribed === "1",
    items: items.map((item) => {
      const [, index, ttl, liveness, token] = /^(\d+) (\d+) (\d+) (.*)$/.exec(item)!
      return {
        target: targets[Number(index) - 1]!,
        token: token!,
        ttlMillis: Number(ttl),
        livenessMillis: Number(liveness)
      }
    })
  }
}

const leave = (keys: ReadonlyArray<string>, args: ReadonlyArray<string>): Asked => {
  const targets = every(5, keys).map(([first]) => targetOf(first!))
  return {
    verb: "leave",
    targets,
    items: every(3, args).map(([index, token, time]) => ({
      target: targets[Number(index) - 1]!,
      token: token!,
      buriedUntil: Math.max(0, Number(time)),
      keepMillis: Math.max(0, -Number(time))
    }))
  }
}

const partOf = ([first]: ReadonlyArray<string>, [token = ""]: ReadonlyArray<string>): Part => ({
  id: parseKey(first!).key,
  token
})

const join = (keys: ReadonlyArray<string>, args: ReadonlyArray<string>): Asked => {
  const [, ttl, notAfter, inbox = "", gaveUp = "", keep] = args
  return {
    verb: "join",
    request: {
      ...partOf(keys, args),
      ttlMillis: Number(ttl),
      gaveUp: gaveUp === "" ? undefined : gaveUp,
      keepMillis: Number(keep),
      patient: true
    },
    notAfter: Number(notAfter),
    inbox
  }
}

const finish = (keys: ReadonlyArray<string>, args: ReadonlyArray<string>): Asked => {
  const [, notAfter, retention, keep, payload = ""] = args
  return {
    verb: "finish",
    request: {
      ...partOf(keys, args),
      retentionMillis: Number(retention),
      keepMillis: Number(keep),
      payload,
      patient: true
    },
    notAfter: Number(notAfter)
  }
}

type Parser = (keys: ReadonlyArray<string>, args: ReadonlyArray<string>) => Asked

const parsers = new Map<Script<any, unknown>, Parser>([
  [Acquire.acquire, acquire],
  [Scripts.refresh, refresh],
  [Scripts.leave, leave],
  [Operations.lower, ([key], [token = "", permits]) => ({
    verb: "lower",
    target: targetOf(key!),
    token,
    permits: Number(permits)
  })],
  [Operations.revoke, ([key], [fence, asks]) => ({
    verb: "revoke",
    target: targetOf(key!),
    fence: Number(fence),
    asks: asks === "1"
  })],
  [Operations.inspect, ([key]) => ({ verb: "inspect", target: targetOf(key!) })],
  [FlightScripts.join, join],
  [FlightScripts.refreshFlights, (keys, args) => ({
    verb: "refreshFlights",
    items: every(4, keys).map(([first], i) => ({
      id: parseKey(first!).key,
      token: args[2 * i]!,
      ttlMillis: Number(args[2 * i + 1])
    }))
  })],
  [FlightScripts.finish, finish],
  [FlightScripts.refuse, (keys, args) => ({ verb: "refuse", part: partOf(keys, args) })],
  [FlightScripts.leaveFlight, (keys, args) => ({
    verb: "leaveFlight",
    part: partOf(keys, args),
    buriedUntil: Number(args[1])
  })],
  [FlightScripts.fetch, (keys, args) => ({ verb: "fetch", part: partOf(keys, args) })]
])

const byText = new Map<string, Script<any, unknown>>(
  [...parsers.keys()].flatMap((script) => [[script.sha, script], [script.lua, script]])
)

/** The script that a command runs, by its hash or its text. */
export const scriptOf = ([name, text]: ReadonlyArray<string>): Script<any, unknown> | undefined =>
  name === "EVALSHA" || name === "EVAL" ? byText.get(text!) : undefined

const parsed = new WeakMap<ReadonlyArray<string>, Asked>()

/** What an EVALSHA or an EVAL asks for. */
export const parse = (command: ReadonlyArray<string>): Asked | undefined => {
  const known = parsed.get(command)
  const script = known === undefined ? scriptOf(command) : undefined
  if (script === undefined) return known
  const asked = parseAs(script, command)
  parsed.set(command, asked)
  return asked
}

const parseAs = (script: Script<any, unknown>, command: ReadonlyArray<string>): Asked => {
  const count = Number(command[2])
  const [keys, args] = [command.slice(3, 3 + count), command.slice(3 + count)]
  return parsers.get(script)!(keys, args)
}

export const nameOf = ({ key, kind }: { readonly key: string; readonly kind: Key.Kind }): string => `${kind}:${key}`

/** The locks that a command is about. */
export const targetsOf = (asked: Asked): ReadonlyArray<Target> =>
  asked.verb === "acquire"
    ? asked.request.claims
    : "targets" in asked
    ? asked.targets
    : "target" in asked
    ? [asked.target]
    : []

const tokens = (items: ReadonlyArray<{ readonly token: string }>): string => items.map(({ token }) => token).join()

/** For the trace. */
export const describe = (asked: Asked): string => {
  switch (asked.verb) {
    case "acquire": {
      const { claims, token, wait } = asked.request
      return `acquire ${token} of ${claims.map(({ key, limit, permits }) => `${key} ${permits}/${limit}`).join()}${
        wait ? "" : ", now"
      }`
    }
    case "refresh": {
      const also = asked.targets.filter((target) => asked.items.every((item) => item.target !== target)).map(nameOf)
      return `refresh ${[tokens(asked.items), ...also].join()}${asked.subscribed ? "" : " unsubscribed"}`
    }
    case "leave": {
      const isBuried = asked.items.some(({ buriedUntil }) => buriedUntil > 0)
      const kept = Math.max(...asked.items.map(({ keepMillis }) => keepMillis))
      return `leave ${tokens(asked.items)}${isBuried ? " with a tombstone" : ""}${kept > 0 ? ` after ${kept} ms` : ""}`
    }
    case "lower":
      return `lower ${asked.token} of ${nameOf(asked.target)} to ${asked.permits}`
    case "revoke":
      return `${asked.asks ? "ask for" : "revoke"} ${nameOf(asked.target)} up to ${asked.fence}`
    case "inspect":
      return `inspect ${nameOf(asked.target)}`
    case "join": {
      const { gaveUp, id, token } = asked.request
      return `join ${token} of ${id}${gaveUp === undefined ? "" : ` instead of ${gaveUp}`}`
    }
    case "refreshFlights":
      return `refresh flights ${tokens(asked.items)}`
    case "finish":
      return `finish ${asked.request.token} of ${asked.request.id}`
    case "leaveFlight":
      return `leave flight ${asked.part.token} of ${asked.part.id}`
    default:
      return `${asked.verb} ${asked.part.token} of ${asked.part.id}`
  }
}

/**
 * What is the same for both stores. Redis forgets the limit of what nobody uses, has holders in another order, and may take
 * another one for the first whose lease ends when two end in the same millisecond.
 */
export const canonical = (asked: Asked | undefined, reply: Reply): Reply => {
  if (!Array.isArray(reply)) return reply
  switch (asked?.verb) {
    case "acquire":
      return reply[1] === "waiting"
        ? [...reply.slice(0, 7), ...reply.slice(9)]
        : reply[1] === "refused"
        ? [...reply.slice(0, 3), eachUpTo(2, reply[3]!), ...reply.slice(4)]
        : reply
    case "refresh":
      return [...reply.slice(0, 2), eachUpTo(5, reply[2]!)]
    case "inspect": {
      // SAFETY: that is what the script replies.
      const [now, [limit, ...found], holders] = reply as [string, ReadonlyArray<Reply>, ReadonlyArray<[string]>]
      const isUsed = found[0] !== 0 || found[1] !== 0
      return [now, isUsed ? limit! : "any", found, [...holders].sort(([a], [b]) => Number(a) - Number(b))]
    }
    default:
      return reply
  }
}

const eachUpTo = (count: number, items: Reply): Reply =>
  Array.isArray(items) ? items.map((item: Reply) => Array.isArray(item) ? item.slice(0, count) : item) : items
