/**
 * Random walks on two stores side by side. Every answer and every message of the one must be that of the other, up to
 * what cannot be equal: the digits of fences, of which only the order counts, and some time between the two calls.
 */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as FastCheck from "fast-check"
import { randomUUID } from "node:crypto"
import type { BackendError } from "../../src/DlockError.js"
import type { InboxEvent, Inspection, Store, Target } from "../../src/internal/store.js"
import type { Backend } from "./world.js"
import { Client, target } from "./world.js"

const clientCount = 3

/** The last client is one that nobody can reach, though it says that it is subscribed. */
const client = FastCheck.integer({ min: 0, max: clientCount })
/** `age` 0: a token of this part of the walk; 1: one from before the last sleep. */
const token = FastCheck.record({
  slot: FastCheck.integer({ min: 0, max: 7 }),
  age: FastCheck.integer({ min: 0, max: 1 }),
  multi: FastCheck.oneof(
    { weight: 5, arbitrary: FastCheck.constant(false) },
    { weight: 1, arbitrary: FastCheck.constant(true) }
  )
})
const permits = FastCheck.integer({ min: 1, max: 3 })
const limit = FastCheck.oneof(
  { weight: 5, arbitrary: FastCheck.constant(3) },
  { weight: 1, arbitrary: permits }
)
const subscribed = FastCheck.oneof(
  { weight: 4, arbitrary: FastCheck.constant(true) },
  { weight: 1, arbitrary: FastCheck.constant(false) }
)
const verb = <Verb extends string>(name: Verb) => FastCheck.constant(name)

const commandOf = (millis: FastCheck.Arbitrary<number>, keys: number) => {
  const key = FastCheck.nat(keys - 1)
  const times = { ttl: millis, liveness: millis }
  const item = FastCheck.record({ key, token, ...times })
  const items = FastCheck.array(item, { minLength: 1, maxLength: 4 })
  return FastCheck.oneof(
    {
      weight: 8,
      arbitrary: FastCheck.record({
        verb: verb("acquire"),
        client,
        key,
        token,
        permits,
        limit,
        wait: FastCheck.boolean(),
        multi: FastCheck.oneof(
          { weight: 6, arbitrary: FastCheck.constant(false) },
          { weight: 1, arbitrary: FastCheck.constant(true) }
        ),
        subscribed,
        ...times
      })
    },
    {
      weight: 5,
      arbitrary: FastCheck.record({ verb: verb("refresh"), client, items, also: FastCheck.array(key), subscribed })
    },
    { weight: 4, arbitrary: FastCheck.record({ verb: verb("leave"), client, items }) },
    {
      weight: 1,
      arbitrary: FastCheck.record({
        verb: verb("revoke"),
        client,
        key,
        fence: FastCheck.nat(30),
        asks: FastCheck.boolean(),
        off: FastCheck.constantFrom(-1, 0, 1)
      })
    },
    { weight: 2, arbitrary: FastCheck.record({ verb: verb("lower"), client, key, token, permits }) },
    { weight: 2, arbitrary: FastCheck.record({ verb: verb("inspect"), client, key }) }
  )
}

type Token = typeof token extends FastCheck.Arbitrary<infer A> ? A : never

export type Command = ReturnType<typeof commandOf> extends FastCheck.Arbitrary<infer A> ? A : never

/** Parts with a sleep between them. */
export type Walk = ReadonlyArray<ReadonlyArray<Command>>

/** `times`: what a ttl or a liveness may be, in milliseconds. */
export const walks = (options: {
  readonly keys: number
  readonly times: ReadonlyArray<number>
  readonly sleeps: number
  readonly steps: number
}): FastCheck.Arbitrary<Walk> => {
  const command = commandOf(FastCheck.constantFrom(...options.times), options.keys)
  const part = FastCheck.array(command, { maxLength: options.steps, size: "max" })
  return FastCheck.array(part, { minLength: options.sleeps + 1, maxLength: options.sleeps + 1 })
}

/** The clients of one of the two stores. */
export type Side = ReadonlyArray<Client>

export const makeSide = (make: Backend["make"]): Effect.Effect<Side, never, Scope.Scope> =>
  Effect.gen(function*() {
    const server = yield* make
    const processes = yield* Effect.replicateEffect(server.connect, clientCount + 1)
    yield* processes[clientCount]!.deafen
    return processes.map((process) => new Client(process, ""))
  })

/** A fence of the one side and the one of the other that stands for the same grant. */
type Pair = readonly [left: number, right: number]

/** How far apart two remaining times may be. Far less than any two of the times that a walk may ask for. */
const toleranceMillis = 5000

/** Remaining times and fences are told by their names. All else must be equal. */
const compare = (left: any, right: any, path: string, onFences: (path: string, pair: Pair) => void): void => {
  if (typeof left === "number" && typeof right === "number" && /Millis$/.test(path)) {
    assert.isAtMost(Math.abs(left - right), toleranceMillis, path)
  } else if (/holder\.fence$/.test(path)) {
    // Which of two leases ends first may differ by a millisecond.
    assert.strictEqual(typeof left, typeof right, path)
  } else if (typeof left === "number" && typeof right === "number" && /fences?(\.\d+)?$/i.test(path)) {
    onFences(path, [left, right])
  } else if (typeof left === "object" && typeof right === "object") {
    assert.sameMembers(Object.keys(left), Object.keys(right), path)
    for (const name of Object.keys(left)) compare(left[name], right[name], `${path}.${name}`, onFences)
  } else {
    assert.strictEqual(left, right, path)
  }
}

/** The fences of the one side are in the order of those of the other. */
const checkOrder = (pairs: ReadonlyArray<Pair>): void => {
  const sorted = [...pairs].sort(([a], [b]) => a - b)
  sorted.forEach(([left, right], i) => {
    const [leftBefore, rightBefore] = sorted[i - 1] ?? [-1, -1]
    assert.strictEqual(right === rightBefore, left === leftBefore, "equal fences are equal on the other side")
    assert.isAtLeast(right, rightBefore, "fences are in one order")
  })
}

/** The order of holders does not matter, nor the limit of a lock that nobody is interested in. */
const canonical = ({ limit, ...found }: Inspection) => ({
  ...found,
  limit: found.used + found.waiting > 0 ? limit : "any",
  holders: [...found.holders].sort((a, b) => a.fence - b.fence)
})

/** Grants come in order; the order of those who lose something does not matter. */
const inOrder = (events: ReadonlyArray<InboxEvent>) => {
  const revoked = events.flatMap((event) => event._tag === "Revoked" || event._tag === "Asked" ? [event] : [])
  return [
    ...events.filter((event) => event._tag !== "Revoked" && event._tag !== "Asked"),
    ...revoked.sort((a, b) => a.token < b.token ? -1 : a.token > b.token ? 1 : a.fence - b.fence)
  ]
}

type Ask = (store: Store, fenceOf: (pair: Pair) => number) => Effect.Effect<unknown, BackendError>

/** One walk, on keys of its own. */
export class Walker {
  readonly id = randomUUID()
  readonly fences: Array<Array<Pair>> = []
  part = 0

  /** Counts what was answered and told, by tag. */
  constructor(readonly seen: Map<string, number>) {}

  add(key: number, pair: Pair): void {
    this.fences[key] = [...this.fences[key] ?? [], pair]
  }

  see(answer: string, tags: unknown): void {
    for (const [, tag] of JSON.stringify(tags).matchAll(/"_tag":"(\w+)"/g)) {
      this.seen.set(`${answer} ${tag}`, (this.seen.get(`${answer} ${tag}`) ?? 0) + 1)
    }
  }

  target(key: number): Target {
    return target(`${this.id}-${key}`)
  }

  /** A single token is of one key only, so that a message tells which fence it is about. */
  token(key: number, { age, multi, slot }: Token): string {
    return `${Math.max(0, this.part - age)}:${slot}${multi ? "" : `@${key}`}`
  }

  items(items: Extract<Command, { verb: "leave" }>["items"]) {
    return items.map(({ key, liveness, token, ttl }) => ({
      target: this.target(key),
      token: this.token(key, token),
      ttlMillis: ttl,
      livenessMillis: liveness
    }))
  }

  ask(command: Command): Ask {
    switch (command.verb) {
      case "acquire": {
        const { key, limit, liveness, multi, permits, subscribed, ttl, wait } = command
        const request = {
          token: this.token(key, { ...command.token, multi, age: 0 }),
          claims: (multi ? [0, 1] : [key]).map((key) => ({ ...this.target(key), permits, limit })),
          ttlMillis: ttl,
          livenessMillis: liveness,
          wait: wait && !multi,
          subscribed,
          // The same for all: which of two leases ends first may differ by a millisecond.
          metadata: "host 1"
        }
        return (store) => store.acquire(request)
      }
      case "refresh": {
        const also = command.also.map((key) => this.target(key))
        return (store) => store.refresh({ items: this.items(command.items), subscribed: command.subscribed, also })
      }
      case "leave":
        return (store) => store.leave(this.items(command.items))
      case "revoke": {
        const { asks, key, off } = command
        const known = this.fences[key] ?? []
        const pair = known[command.fence % Math.max(1, known.length)] ?? [0, 0]
        return (store, fenceOf) => store.revoke(this.target(key), fenceOf(pair) + off, asks)
      }
      case "lower":
        return (store) => store.lower(this.target(command.key), this.token(command.key, command.token), command.permits)
      case "inspect":
        return (store) => Effect.map(store.inspect(this.target(command.key)), canonical)
    }
  }

  /** Runs a command on both sides; compares the answers, and all messages that it caused. */
  step(left: Side, right: Side, command: Command): Effect.Effect<void, unknown> {
    return Effect.gen(function*(this: Walker) {
      const ask = this.ask(command)
      const answer = yield* ask(left[command.client]!.store, ([fence]) => fence)
      const other = yield* ask(right[command.client]!.store, ([, fence]) => fence)
      const keys = keysOf(command)
      compare(answer, other, command.verb, (path, pair) => {
        const index = Number(/\.(\d+)/.exec(path)?.[1] ?? 0)
        this.add(keys[index] ?? keys[0]!, pair)
      })
      this.see(command.verb, answer)
      const events = yield* Effect.forEach(
        [...left.slice(0, clientCount), ...right.slice(0, clientCount)],
        (client) => client.events,
        { concurrency: "unbounded" }
      )
      for (let i = 0; i < clientCount; i++) {
        const told = inOrder(events[i]!)
        compare(told, inOrder(events[i + clientCount]!), `inbox ${i}`, (path, pair) => {
          const event = told[Number(/\.(\d+)/.exec(path)![1])]!
          const key = "token" in event ? /@(\d+)$/.exec(event.token)?.[1] : undefined
          if (key !== undefined) this.add(Number(key), pair)
        })
        this.see("inbox", told)
      }
      this.fences.forEach(checkOrder)
    }.bind(this))
  }
}

/** The keys that the parts of the answer are about. */
const keysOf = (command: Command): ReadonlyArray<number> => {
  switch (command.verb) {
    case "acquire":
      return command.multi ? [0, 1] : [command.key]
    case "refresh":
    case "leave":
      return command.items.map(({ key }) => key)
    default:
      return [command.key]
  }
}
