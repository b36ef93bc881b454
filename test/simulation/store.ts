/** The store port over a link, as src/internal/redis/store.ts is, with the same bookkeeping for R3 and R15. */
import * as Effect from "effect/Effect"
import { BackendError } from "../../src/DlockError.js"
import * as Unanswered from "../../src/internal/redis/unanswered.js"
import * as ServerClock from "../../src/internal/serverClock.js"
import type {
  Acquired,
  AcquireRequest,
  Answer,
  Failed,
  LeaveItem,
  Left,
  Settled,
  Store
} from "../../src/internal/store.js"
import type { Ear } from "./ear.js"
import type { Link } from "./link.js"
import type { Process } from "./process.js"
import type { Server } from "./server.js"
import { nameOf } from "./server.js"
import type { World } from "./world.js"

const failure = (operation: string, reason: BackendError["reason"]) =>
  new BackendError({ operation, reason, outcome: "NotApplied", cause: new Error("faulty") })

const now = <A>(effect: Effect.Effect<A, BackendError>): A => Effect.runSync(Effect.orDie(effect))

export const make = (world: World, process: Process, link: Link, ear: Ear): Store => {
  const inbox = process.name
  const { judge } = world
  const serverClock = ServerClock.make()
  const serverMillis = () => serverClock.atMost(process.now())
  const unanswered = Unanswered.make(() => link.epoch, serverMillis, link.commandTimeoutMillis)

  const exchange = <A, B>(
    operation: string,
    makeCommand: () => { readonly text: string; readonly run: (server: Server) => A },
    read: (value: A) => Effect.Effect<B, BackendError>
  ): Effect.Effect<B, BackendError> =>
    link.exchange<A, B>(operation, () => ({ inbox, ...makeCommand() }), (value, shown, sentAt) => {
      serverClock.learn(shown, sentAt, process.now())
      return read(value)
    })

  const wanted = new Set<string>()

  const acquireLater = (
    request: AcquireRequest,
    mayRepeat: boolean
  ): Effect.Effect<Acquired, BackendError> =>
    Effect.suspend(() =>
      wanted.has(request.token) ? acquireOnce(request, mayRepeat) : Effect.fail(failure("acquire", "Timeout"))
    )

  const acquireOnce = (
    request: AcquireRequest,
    mayRepeat: boolean
  ): Effect.Effect<Acquired, BackendError> =>
    exchange("acquire", () => {
      const notAfter = serverMillis() + link.commandTimeoutMillis
      unanswered.sent(request.token, notAfter)
      return {
        text: `acquire ${request.token} of ${
          request.claims.map(({ key, limit, permits }) => `${key} ${permits}/${limit}`).join()
        }`,
        run: (server): Acquired | "late" | "spoiled" => {
          if (request.claims.some((claim) => nameOf(claim) === server.spoiled)) return "spoiled"
          if (server.nowMillis() >= notAfter) return "late"
          return judge.acquire(request, inbox, () => now(server.storeOf(inbox).acquire(request)))
        }
      }
    }, (reply) => {
      unanswered.answered(request.token)
      if (reply === "spoiled") return Effect.fail(failure("acquire", "Refused"))
      if (reply !== "late") {
        wanted.delete(request.token)
        return Effect.succeed(reply)
      }
      world.count("acquires too late")
      return mayRepeat ? acquireLater(request, false) : Effect.fail(failure("acquire", "Timeout"))
    })

  const synchronize = exchange("time", () => ({ text: "time", run: () => true }), () => Effect.void)

  const leave = (items: ReadonlyArray<LeaveItem>): ReturnType<Store["leave"]> =>
    Effect.suspend(() => {
      for (const { token } of items) wanted.delete(token)
      const buriedUntil = items.map(({ token }) => unanswered.buriedUntil(token))
      const { epoch } = link
      return exchange("leave", () => ({
        text: `leave ${items.map(({ token }) => token).join()}${buriedUntil.some(Boolean) ? " with a tombstone" : ""}`,
        run: (server): Settled<ReadonlyArray<Left | Failed>> => {
          const isFine = ({ target }: LeaveItem) => nameOf(target) !== server.spoiled
          items.forEach((item, i) => isFine(item) && server.bury(item, buriedUntil[i]!))
          const fine = items.filter(isFine)
          const left = now(server.storeOf(inbox).leave(fine))
          const { unsettled } = left
          judge.leases.onSettled(fine.map(({ target }) => target), { unsettled })
          const answer = items.map((item) =>
            left.answer[fine.indexOf(item)] ?? { _tag: "Failed" as const, error: failure("leave", "Refused") }
          )
          return { answer, unsettled }
        }
      }), (reply) => {
        if (items.some(({ token }, i) => unanswered.buriedUntil(token) !== buriedUntil[i])) return leave(items)
        judge.onLeft(items.filter((_, i) => reply.answer[i]?._tag === "Left"))
        if (link.epoch === epoch) return Effect.succeed(reply)
        const unsure = (one: Left | Failed) => one._tag === "Left" ? { ...one, was: "Unsure" as const } : one
        return Effect.succeed({ ...reply, answer: reply.answer.map(unsure) })
      })
    })

  return {
    inbox: ear.inbox,
    probe: ear.probe,
    acquire: (request) =>
      Effect.suspend(() => {
        judge.onAcquireSent(process, request)
        wanted.add(request.token)
        return serverClock.synchronized()
          ? acquireOnce(request, true)
          : Effect.zipRight(synchronize, acquireLater(request, true))
      }),
    leave: (items) =>
      Effect.suspend(() => {
        judge.onLeaveSent(process, items)
        return leave(items)
      }),
    refresh: ({ also = [], items, subscribed }) =>
      Effect.suspend(() => {
        judge.onRefreshSent(process, items)
        const sentAt = process.now()
        const names = [...items.map(({ token }) => token), ...also.map(nameOf)]
        return exchange("refresh", () => ({
          text: `refresh ${names.join()}${subscribed ? "" : " unsubscribed"}`,
          run: (server): Settled<ReadonlyArray<Answer>> => {
            const isFine = ({ target }: LeaveItem) => nameOf(target) !== server.spoiled
            const fine = items.filter(isFine)
            const reply = judge.refresh(fine, inbox, subscribed, () =>
              now(server.storeOf(inbox).refresh({ items: fine, subscribed, also })))
            const answers = reply.answer.values()
            const error = failure("refresh", "Refused")
            const answer = items.map((item): Answer =>
              isFine(item) ? answers.next().value! : { _tag: "Failed", error }
            )
            return { answer, unsettled: reply.unsettled }
          }
        }), (reply) => {
          judge.leases.onRefreshed(process, items, sentAt, reply.answer)
          return Effect.succeed(reply)
        })
      }),
    lower: (target, token, permits) =>
      exchange("lower", () => ({
        text: `lower ${token} of ${nameOf(target)} to ${permits}`,
        run: (server) =>
          nameOf(target) !== server.spoiled &&
          judge.leases.lower({ target, token }, permits, () => now(server.storeOf(inbox).lower(target, token, permits)))
      }), (reply) => reply ? Effect.succeed(reply) : Effect.fail(failure("lower", "Refused"))),
    revoke: (target, fence, asks) =>
      exchange("revoke", () => ({
        text: `${asks ? "ask for" : "revoke"} ${nameOf(target)} up to ${fence}`,
        run: (server) =>
          nameOf(target) !== server.spoiled &&
          judge.revoke(target, fence, asks, () => now(server.storeOf(inbox).revoke(target, fence, asks)))
      }), (reply) => reply ? Effect.succeed(reply) : Effect.fail(failure("revoke", "Refused"))),
    inspect: (target) =>
      exchange("inspect", () => ({
        text: `inspect ${nameOf(target)}`,
        run: (server) => now(server.storeOf(inbox).inspect(target))
      }), Effect.succeed)
  }
}
