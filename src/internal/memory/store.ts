/**
 * The store port in memory, driven by Effect's Clock. One `Server` may have several clients, each like a process of its
 * own; `Dlock.layerMemory` has one. Every call is one step that is answered at once, so nothing comes late or twice.
 */
import * as Edition from "#edition"
import * as Arr from "effect/Array"
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { monotonic } from "../alarm.js"
import type { Stores } from "../flightStore.js"
import type { AcquireAnswer, Answer, Claim, InboxEvent, Left, Store, Target } from "../store.js"
import * as Flights from "./flightStore.js"
import { forgetOldest } from "./forget.js"
import * as Inbox from "./inbox.js"
import * as Model from "./model.js"

export interface Server {
  /** By kind and key. */
  readonly locks: Map<string, Model.Lock>
  /** By id. */
  readonly flights: Flights.FlightServer["flights"]
  readonly inboxes: Inbox.Inboxes<InboxEvent>
  readonly flightInboxes: Flights.FlightServer["inboxes"]
  readonly connect: (inboxId: string) => Effect.Effect<Stores, never, Scope.Scope>
}

/** Redis remembers the fence of each lock for a day, so what plays Redis does. */
export const makeServer = (rememberMillis = 0): Effect.Effect<Server> =>
  Effect.map(Effect.clockWith(Effect.succeed), (clock) => new ServerImpl(clock, rememberMillis))

class ServerImpl implements Server {
  readonly locks = new Map<string, Model.Lock>()
  readonly inboxes: Inbox.Inboxes<InboxEvent> = new Map()
  readonly flights: Flights.FlightServer["flights"]
  readonly flightInboxes: Flights.FlightServer["inboxes"]
  readonly connectFlights: Flights.FlightServer["connect"]

  forgottenFence = 0

  /** Fencing tokens are made of it: whoever keeps one must see higher ones after a reboot, where monotonic time begins anew. */
  readonly sinceEpoch: number

  constructor(readonly clock: Clock.Clock, readonly rememberMillis: number) {
    this.sinceEpoch = Edition.wallMillis(clock) - monotonic(clock)
    const { connect, flights, inboxes } = Flights.make(clock)
    this.flights = flights
    this.flightInboxes = inboxes
    this.connectFlights = connect
  }

  lockOf(target: Target): Model.Lock {
    const lock = this.locks.get(nameOf(target)) ?? Model.emptyLock()
    this.locks.set(nameOf(target), lock)
    return lock
  }

  /** One step of the server on some locks: runs it at one moment, then delivers what it has to say. */
  step<A>(targets: ReadonlyArray<Target>, run: (call: Model.Call) => A): Effect.Effect<A> {
    return Effect.sync(() => {
      const nowMicros = Math.floor((this.sinceEpoch + monotonic(this.clock)) * 1000)
      const nowMillis = Math.floor(nowMicros / 1000)
      const { forgottenFence, rememberMillis } = this
      const reachable = (inbox: string) => this.inboxes.has(inbox)
      const call: Model.Call = { nowMicros, nowMillis, rememberMillis, forgottenFence, reachable, messages: [] }
      const result = run(call)
      const isOver = (lock: Model.Lock): boolean => {
        if (!Model.isOver(lock, nowMillis)) return false
        this.forgottenFence = Math.max(this.forgottenFence, lock.lastFence)
        return true
      }
      for (const target of targets) {
        if (isOver(this.lockOf(target))) this.locks.delete(nameOf(target))
        forgetOldest(this.locks, isOver)
      }
      for (const message of call.messages) this.inboxes.get(message.inbox)?.(toEvent(message))
      return result
    })
  }

  /** Each lock once, after all of a call's items were seen to. */
  settleAll(all: ReadonlyArray<Target>, call: Model.Call, answered = nobody): Array<Target> {
    return Array.from(new Map(all.map((target) => [nameOf(target), target])).values())
      .filter((target) => Model.settle(this.lockOf(target), call, answered))
  }

  readonly connect: Server["connect"] = (inboxId) =>
    Effect.zipWith(Inbox.open(this.inboxes, inboxId), this.connectFlights(inboxId), (inbox, flights) => ({
      inbox,
      probe: Effect.void,
      flights,
      ...verbs(this, inboxId)
    }))
}

const verbs = (server: ServerImpl, inboxId: string): Omit<Store, "inbox" | "probe"> => ({
  acquire: (request) =>
    server.step(request.claims, (call) => {
      const held = request.claims.map((claim) => [server.lockOf(claim), claim] as const)
      const { accepted, ...rest } = Model.acquire(held, call, request, inboxId)
      return { answer: toAcquireAnswer(accepted, held, request.token, call), ...rest }
    }),
  refresh: ({ also = [], items, subscribed }) => {
    const targets = [...items.map((item) => item.target), ...also]
    return server.step(targets, (call) => {
      const answered = new Set(items.map((item) => item.token))
      for (const { target, ...item } of items) Model.renew(server.lockOf(target), call, item.token, item, subscribed)
      const unsettled = server.settleAll(targets, call, answered)
      const answer: ReadonlyArray<Answer> = items.map(({ target, token }) =>
        Model.statusOf(server.lockOf(target), call, token)
      )
      return { answer, unsettled }
    })
  },
  leave: (items) => {
    const targets = items.map((item) => item.target)
    return server.step(targets, (call) => {
      const answer = items.map(({ target, ...item }): Left => ({
        _tag: "Left",
        was: Model.leave(server.lockOf(target), call, item.token, item)
      }))
      return { answer, unsettled: server.settleAll(targets, call) }
    })
  },
  lower: (target, token, permits) =>
    server.step([target], (call) => {
      Model.lower(server.lockOf(target), token, permits)
      const unsettled = server.settleAll([target], call)
      return { answer: Model.statusOf(server.lockOf(target), call, token), unsettled }
    }),
  revoke: (target, fence, asks) =>
    server.step([target], (call) => {
      const answer = Model.revoke(server.lockOf(target), call, fence, asks)
      return { answer, unsettled: server.settleAll([target], call) }
    }),
  inspect: (target) => server.step([target], (call) => Model.inspect(server.lockOf(target), call))
})

const nameOf = (target: Target): string => `${target.kind}:${target.key}`

const nobody: ReadonlySet<string> = new Set()

const toEvent = ({ number, token, what }: Model.Message): InboxEvent => {
  switch (what) {
    case "granted":
      return { _tag: "Granted", token, fence: number }
    case "revoked":
      return { _tag: "Revoked", token, fence: number }
    case "asked":
      return { _tag: "Asked", token, fence: number }
    case "overlimit":
      return { _tag: "OverLimit", token, limit: number }
  }
}

const toAcquireAnswer = (
  accepted: boolean,
  locks: ReadonlyArray<readonly [Model.Lock, Claim]>,
  token: string,
  call: Model.Call
): AcquireAnswer => {
  if (!accepted) {
    const blockers = locks.flatMap(([lock, claim]) => Model.blocker(lock, claim, call))
    if (Arr.isArrayNonEmpty(blockers)) return { _tag: "Refused", blockers }
  }
  const answers = locks.map(([lock]) => Model.statusOf(lock, call, token))
  const fences = answers.flatMap((answer) => answer._tag === "Held" ? [answer.fence] : [])
  if (fences.length < answers.length) return answers.find((answer) => answer._tag === "Waiting") ?? { _tag: "Gone" }
  const remainingMillis = Math.min(...answers.map((answer) => answer._tag === "Held" ? answer.remainingMillis : 0))
  return { _tag: "Granted", remainingMillis, fences }
}
