/**
 * The store port in memory, driven by Effect's Clock. One `Server` may have several clients, each like a process of its
 * own; `Dlock.layerMemory` has one. Every call is one step that is answered at once, so nothing comes late or twice.
 */
import * as Effect from "effect/Effect"
import * as Mailbox from "effect/Mailbox"
import type * as Scope from "effect/Scope"
import type { AcquireAnswer, Answer, Claim, InboxEvent, Store, Target } from "../store.js"
import * as Model from "./model.js"

export interface Server {
  /** By kind and key. */
  readonly locks: Map<string, Model.Lock>
  readonly connect: (inboxId: string) => Effect.Effect<Store, never, Scope.Scope>
}

export const makeServer: Effect.Effect<Server> = Effect.map(Effect.clock, (clock) => {
  const locks = new Map<string, Model.Lock>()
  const inboxes = new Map<string, (event: InboxEvent) => void>()

  const nameOf = (target: Target): string => `${target.kind}:${target.key}`
  const lockOf = (target: Target): Model.Lock => {
    const lock = locks.get(nameOf(target)) ?? Model.emptyLock()
    locks.set(nameOf(target), lock)
    return lock
  }

  /** One step of the server on some locks: runs it at one moment, then delivers what it has to say. */
  const step = <A>(targets: ReadonlyArray<Target>, run: (call: Model.Call) => A): Effect.Effect<A> =>
    Effect.sync(() => {
      const nowMicros = Math.floor(Number(clock.unsafeCurrentTimeNanos()) / 1000)
      const nowMillis = Math.floor(nowMicros / 1000)
      const call: Model.Call = { nowMicros, nowMillis, reachable: (inbox) => inboxes.has(inbox), messages: [] }
      const result = run(call)
      for (const target of targets) if (Model.isOver(lockOf(target), nowMillis)) locks.delete(nameOf(target))
      for (const message of call.messages) inboxes.get(message.inbox)?.(toEvent(message))
      return result
    })
  /** Each lock once, after all of a call's items were seen to. */
  const settleAll = (all: ReadonlyArray<Target>, call: Model.Call, answered = nobody): Array<Target> =>
    Array.from(new Map(all.map((target) => [nameOf(target), target])).values())
      .filter((target) => Model.settle(lockOf(target), call, answered))

  const connect: Server["connect"] = (inboxId) =>
    Effect.gen(function*() {
      const inbox = yield* Effect.acquireRelease(Mailbox.make<InboxEvent>(), (mailbox) => mailbox.shutdown)
      yield* Effect.acquireRelease(
        Effect.sync(() => inboxes.set(inboxId, (event) => inbox.unsafeOffer(event))),
        () => Effect.sync(() => inboxes.delete(inboxId))
      )
      inbox.unsafeOffer({ _tag: "Subscribed" })
      return {
        inbox,
        probe: Effect.void,
        acquire: (request) =>
          step(request.claims, (call) => {
            const held = request.claims.map((claim) => [lockOf(claim), claim] as const)
            const { accepted, unsettled } = Model.acquire(held, call, request, inboxId)
            return { answer: toAcquireAnswer(accepted, held, request.token, call), unsettled }
          }),
        refresh: ({ also = [], items, subscribed }) =>
          step([...items.map((item) => item.target), ...also], (call) => {
            const answered = new Set(items.map((item) => item.token))
            for (const { target, ...item } of items) Model.renew(lockOf(target), call, item.token, item, subscribed)
            const unsettled = settleAll([...items.map((item) => item.target), ...also], call, answered)
            const answer: ReadonlyArray<Answer> = items.map(({ target, token }) =>
              Model.statusOf(lockOf(target), call, token)
            )
            return { answer, unsettled }
          }),
        leave: (items) =>
          step(items.map((item) => item.target), (call) => {
            for (const { target, token } of items) Model.leave(lockOf(target), call, token, 0)
            return { answer: items.map(() => undefined), unsettled: settleAll(items.map((item) => item.target), call) }
          }),
        revoke: (target, fence) =>
          step([target], (call) => {
            const answer = Model.revoke(lockOf(target), call, fence)
            return { answer, unsettled: settleAll([target], call) }
          }),
        inspect: (target) => step([target], (call) => Model.inspect(lockOf(target), call))
      }
    })

  return { locks, connect }
})

const nobody: ReadonlySet<string> = new Set()

const toEvent = ({ number, token, what }: Model.Message): InboxEvent => {
  switch (what) {
    case "granted":
      return { _tag: "Granted", token, fence: number }
    case "revoked":
      return { _tag: "Revoked", token, fence: number }
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
    return {
      _tag: "Refused",
      blockers: locks.flatMap(([lock, claim]) => Model.blocker(lock, claim, call))
    }
  }
  const answers = locks.map(([lock]) => Model.statusOf(lock, call, token))
  const fences = answers.flatMap((answer) => answer._tag === "Held" ? [answer.fence] : [])
  if (fences.length < answers.length) return answers.find((answer) => answer._tag === "Waiting") ?? { _tag: "Gone" }
  const remainingMillis = Math.min(...answers.map((answer) => answer._tag === "Held" ? answer.remainingMillis : 0))
  return { _tag: "Granted", remainingMillis, fences }
}
