/**
 * The store port on Redis. It knows keys, scripts and connections, and no Scope of a lock: what a reply means for a
 * lease is the engine's business.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type * as Scope from "effect/Scope"
import { BackendError } from "../../DlockError.js"
import { monotonic } from "../alarm.js"
import * as Key from "../key.js"
import * as ServerClock from "../serverClock.js"
import type { AcquireAnswer, Answer, Settled, Store, Target, Waiting } from "../store.js"
import type { Connection } from "./link.js"
import * as Link from "./link.js"
import type { Script } from "./script.js"
import type { LockKeys } from "./scripts.js"
import * as Scripts from "./scripts.js"
import * as Subscriber from "./subscriber.js"

export const make = (options: {
  readonly redis: Connection
  readonly pubSub: Connection
  readonly prefix: string
  readonly commandTimeout: Duration.Duration
  /** Unguessable: whoever knows it could forge a grant (R19). */
  readonly inboxId: string
}): Effect.Effect<Store, never, Scope.Scope> =>
  Effect.gen(function*() {
    const clock = yield* Effect.clock
    const prefix = Key.encodePrefix(options.prefix)
    const inboxName = `${prefix}:inbox:${options.inboxId}`
    const link = yield* Link.make(options.redis, options.commandTimeout)
    const subscriber = yield* Subscriber.make({
      connection: options.pubSub,
      channel: inboxName,
      commandTimeout: options.commandTimeout
    })
    const serverClock = ServerClock.make()
    const { bury, forget, remember, answered } = makeUnanswered(link, () => serverClock.atMost(monotonic(clock)))
    const keysOf = (target: Target) => keysFor(prefix, target)

    const run = <In, Reply extends readonly [serverMillis: number, ...rest: ReadonlyArray<unknown>]>(
      script: Script<In, Reply>,
      input: In
    ): Effect.Effect<Reply, BackendError> =>
      Effect.suspend(() => {
        const sentAt = monotonic(clock)
        return Effect.flatMap(
          link.run(script.name, (client) => {
            const keys = script.keys(input)
            const args = script.args(input)
            // By hash, not by `defineCommand`: that would add a method to a client that may be the caller's own.
            return client.evalsha(script.sha, keys.length, ...keys, ...args).catch((error: unknown) =>
              error instanceof Error && error.message.startsWith("NOSCRIPT")
                ? client.eval(script.lua, keys.length, ...keys, ...args)
                : Promise.reject(error)
            )
          }),
          (raw) => {
            const reply = script.decode(raw)
            if (Either.isLeft(reply)) return Effect.die(reply.left)
            serverClock.learn(reply.right[0], sentAt)
            return Effect.succeed(reply.right)
          }
        )
      })

    const synchronize = Effect.suspend(() => {
      if (serverClock.synchronized()) return Effect.void
      const sentAt = monotonic(clock)
      return Effect.map(
        link.run("time", (client) => client.time()),
        ([seconds, micros]) => serverClock.learn(Number(seconds) * 1000 + Number(micros) / 1000, sentAt)
      )
    })

    const acquireOnce: Store["acquire"] = (request) =>
      Effect.suspend(() => {
        const notAfter = serverClock.atMost(monotonic(clock)) + Duration.toMillis(options.commandTimeout)
        remember(request.token, notAfter)
        return Effect.flatMap(
          run(Scripts.acquire, {
            ...request,
            locks: request.claims.map(keysOf),
            permits: request.claims.map((claim) => claim.permits),
            limits: request.claims.map((claim) => claim.limit),
            ttlMillis: Math.ceil(request.ttlMillis),
            livenessMillis: Math.ceil(request.livenessMillis),
            notAfter,
            inbox: inboxName
          }),
          (reply) => {
            answered(request.token)
            return Effect.map(
              toAcquireAnswer(reply, request.claims),
              (answer) => settled(answer, reply[2], request.claims)
            )
          }
        )
      })

    return {
      ...subscriber,
      acquire: (request) =>
        synchronize.pipe(
          Effect.zipRight(acquireOnce(request)),
          // The server's clock went ahead. Nothing was created, and its reply has told the new time.
          Effect.catchIf((error) => error.cause === tooLate, () => acquireOnce(request))
        ),
      refresh: ({ also = [], items, subscribed }) => {
        const group = groupByTarget([...items.map((item) => item.target), ...also])
        return Effect.map(
          run(Scripts.refresh, {
            locks: group.targets.map(keysOf),
            subscribed,
            items: items.map((item, i) => ({
              lock: group.indices[i] ?? 0,
              token: item.token,
              ttlMillis: Math.ceil(item.ttlMillis),
              livenessMillis: Math.ceil(item.livenessMillis)
            }))
          }),
          ([, unsettled, answers]) => settled(answers.map(toAnswer), unsettled, group.targets)
        )
      },
      leave: (items) => {
        const group = groupByTarget(items.map((item) => item.target))
        return Effect.suspend(() =>
          run(Scripts.leave, {
            locks: group.targets.map(keysOf),
            items: items.map((item, i) => ({
              lock: group.indices[i] ?? 0,
              token: item.token,
              buriedUntil: bury(item.token)
            }))
          })
        ).pipe(Effect.map(([, unsettled, failures]) => {
          items.forEach((item, i) => failures[i] === "" ? forget(item.token) : undefined)
          return settled(
            failures.map((words) => words === "" ? undefined : refusal("leave", words)),
            unsettled,
            group.targets
          )
        }))
      },
      revoke: (target, fence) =>
        Effect.map(
          run(Scripts.revoke, { lock: keysOf(target), fence }),
          ([, unsettled, revoked]) => settled(revoked, unsettled, [target])
        ),
      inspect: (target) =>
        Effect.map(
          run(Scripts.inspect, { lock: keysOf(target) }),
          ([, [limit, used, waiting, lastFence], holders]) => ({
            limit,
            used,
            waiting,
            lastFence,
            holders: holders.map(([fence, permits, remainingMillis, metadata]) => ({
              fence,
              permits,
              remainingMillis,
              metadata
            }))
          })
        )
    }
  })

/**
 * Acquires without an answer yet (R15). A copy of one may reach the server after its leave only when the leave went by
 * a later connection; only then a tombstone is worth its memory. Past `notAfter` the server refuses the copy itself.
 */
const makeUnanswered = (link: Link.Link, serverMillis: () => number) => {
  const sent = new Map<string, { readonly epoch: number; readonly notAfter: number }>()
  return {
    remember: (token: string, notAfter: number) => {
      for (const [old, entry] of sent) {
        if (entry.notAfter >= serverMillis()) break
        sent.delete(old)
      }
      sent.set(token, { epoch: link.epoch(), notAfter })
    },
    answered: (token: string) => void sent.delete(token),
    forget: (token: string) => void sent.delete(token),
    /** Until when the token's tombstone must stand; 0 for none. */
    bury: (token: string): number => {
      const entry = sent.get(token)
      return entry === undefined || entry.epoch === link.epoch() ? 0 : entry.notAfter
    }
  }
}

const keysFor = (prefix: string, { key, kind }: Target): LockKeys => {
  const name = `${prefix}:${kind}:${Key.encodeKey(key)}`
  return [`${name}:fence`, `${name}:state`, `${name}:held`, `${name}:queue`, `${name}:alive`]
}

/** Each target once, and where each of the given ones went. */
const groupByTarget = (all: ReadonlyArray<Target>) => {
  const targets: Array<Target> = []
  const seen = new Map<string, number>()
  const indices = all.map((target) => {
    const id = `${target.kind}:${target.key}`
    const index = seen.get(id) ?? targets.push(target) - 1
    seen.set(id, index)
    return index
  })
  return { targets, indices }
}

const settled = <A>(answer: A, unsettled: ReadonlyArray<number>, targets: ReadonlyArray<Target>): Settled<A> => ({
  answer,
  unsettled: unsettled.flatMap((index) => targets[index - 1] ?? [])
})

const present = (millis: number): number | undefined => millis < 0 ? undefined : millis

const waiting = (remainingMillis: number, lastFence: number, rank: number, endsMillis: number): Waiting => ({
  _tag: "Waiting",
  remainingMillis,
  lastFence,
  rank,
  holderEndsMillis: present(endsMillis)
})

const refusal = (operation: string, words: string): BackendError =>
  new BackendError({ operation, ...Link.classify(Object.assign(new Error(words), { name: "ReplyError" })) })

const tooLate = new Error("the server's clock is ahead of what it showed before")

const toAcquireAnswer = (
  reply: typeof Scripts.acquire extends Script<infer _, infer Reply> ? Reply : never,
  targets: ReadonlyArray<Target>
): Effect.Effect<AcquireAnswer, BackendError> => {
  switch (reply[1]) {
    case "granted":
      return Effect.succeed({ _tag: "Granted", remainingMillis: reply[3], fences: reply[4] })
    case "waiting":
      return Effect.succeed(waiting(reply[3], reply[4], reply[5], reply[6]))
    case "refused":
      return Effect.succeed({
        _tag: "Refused",
        blockers: reply[3].map(([index, endsMillis, metadata]) => ({
          key: targets[index - 1]?.key ?? "",
          metadata,
          endsMillis: present(endsMillis)
        }))
      })
    case "gone":
      return Effect.succeed({ _tag: "Gone" })
    case "late":
      return Effect.fail(
        new BackendError({ operation: "acquire", reason: "Timeout", outcome: "NotApplied", cause: tooLate })
      )
  }
}

const toAnswer = (
  item: (typeof Scripts.refresh extends Script<infer _, infer Reply> ? Reply : never)[2][number]
): Answer => {
  switch (item[0]) {
    case 1:
      return { _tag: "Held", remainingMillis: item[1], fence: item[2] }
    case 2:
      return waiting(item[1], item[2], item[3], item[4])
    case 0:
      return { _tag: "Gone" }
    case -1:
      return { _tag: "Failed", error: refusal("refresh", item[1]) }
  }
}
