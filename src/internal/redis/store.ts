/**
 * The store port on Redis. It knows keys, scripts and connections; what a reply means for a lease is the engine's
 * business.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { BackendError } from "../../DlockError.js"
import type { FlightStore, Stores } from "../flightStore.js"
import * as Key from "../key.js"
import type { Acquired, AcquireRequest, Store, Target } from "../store.js"
import * as Acquire from "./acquire.js"
import * as Driver from "./driver.js"
import { RedisFlightStore } from "./flightStore.js"
import type { Connection } from "./gate.js"
import * as Link from "./link.js"
import * as Operations from "./operations.js"
import * as Replies from "./replies.js"
import * as Runner from "./runner.js"
import type { LockKeys } from "./script.js"
import * as Scripts from "./scripts.js"
import * as Subscriber from "./subscriber.js"
import * as Unanswered from "./unanswered.js"

export const make = (options: {
  readonly redis: Connection
  readonly pubSub: Connection
  readonly prefix: string
  readonly commandTimeout: Duration.Duration
  /** Unguessable: whoever knows it could forge a grant (R19). */
  readonly inboxId: string
}): Effect.Effect<Stores, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { commandTimeout } = options
    const prefix = Key.encodePrefix(options.prefix)
    const inbox = `${prefix}:inbox:${options.inboxId}`
    const link = yield* Link.make(options.redis, commandTimeout, Driver.databaseOf(options.redis.client))
    const subscriber = yield* Subscriber.make({ connection: options.pubSub, channel: inbox, commandTimeout })
    const runner = yield* Runner.make(link)
    const commandTimeoutMillis = Duration.toMillis(commandTimeout)
    return new RedisStore(
      subscriber,
      runner,
      Unanswered.make(link.epoch, runner.serverMillis, commandTimeoutMillis),
      link.epoch,
      inbox,
      commandTimeoutMillis,
      (target) => keysFor(prefix, target),
      new RedisFlightStore(subscriber, runner, prefix, inbox, commandTimeoutMillis)
    )
  })

/** Where the leases are: the same for every client of one database, with one prefix. */
export const realm = ({ client }: Connection, prefix: string): string => {
  const { keyPrefix, sentinels } = client.options
  return JSON.stringify([Driver.addressOf(client), sentinels, Driver.databaseOf(client), keyPrefix, prefix])
}

class RedisStore implements Stores {
  readonly inbox: Store["inbox"]
  readonly probe: Store["probe"]
  /** Tokens that have asked, have no answer, and have not been left. */
  readonly asking = new Set<string>()

  constructor(
    subscriber: Pick<Store, "inbox" | "probe">,
    readonly runner: Runner.Runner,
    readonly unanswered: Unanswered.Unanswered,
    /** Of the connection: what is sent and answered in one went once. */
    readonly epoch: () => number,
    readonly inboxName: string,
    readonly commandTimeoutMillis: number,
    readonly keysOf: (target: Target) => LockKeys,
    readonly flights: FlightStore
  ) {
    this.inbox = subscriber.inbox
    this.probe = subscriber.probe
  }

  readonly acquire: Store["acquire"] = (request) =>
    Effect.suspend(() => {
      this.asking.add(request.token)
      return this.runner.synchronized()
        ? this.acquireOnce(request, true)
        : Effect.andThen(this.runner.synchronize("acquire"), this.acquireUnlessLeft(request, true))
    })

  /** For a second step (R47). A service that closes leaves, and does not wait for its acquires. */
  acquireUnlessLeft(request: AcquireRequest, mayRepeat: boolean): Effect.Effect<Acquired, BackendError> {
    return Effect.suspend(() =>
      this.asking.has(request.token)
        ? this.acquireOnce(request, mayRepeat)
        : Effect.fail(Replies.tooLate("acquire"))
    )
  }

  acquireOnce(request: AcquireRequest, mayRepeat: boolean): Effect.Effect<Acquired, BackendError> {
    const { claims, token } = request
    return this.runner.run(Acquire.acquire, () => {
      const notAfter = this.runner.serverMillis() + this.commandTimeoutMillis
      this.unanswered.sent(token, notAfter)
      return {
        token,
        claims,
        notAfter,
        locks: claims.map(this.keysOf),
        wait: request.wait,
        subscribed: request.subscribed,
        metadata: request.metadata,
        ttlMillis: Math.ceil(request.ttlMillis),
        livenessMillis: Math.ceil(request.livenessMillis),
        inbox: this.inboxName
      }
    }, (reply) => {
      this.unanswered.answered(token)
      if (reply[1] !== "late") {
        this.asking.delete(token)
        return Effect.succeed(Replies.acquired(reply, claims))
      }
      // The server's clock went ahead. Nothing was created, and this reply has told the new time.
      return mayRepeat ? this.acquireUnlessLeft(request, false) : Effect.fail(Replies.tooLate("acquire"))
    }, { isWanted: () => this.asking.has(token) })
  }

  readonly refresh: Store["refresh"] = ({ also = [], items, subscribed }) => {
    const { indices, targets } = groupByTarget([...items.map((item) => item.target), ...also])
    return this.runner.run(
      Scripts.refresh,
      () => ({
        locks: targets.map(this.keysOf),
        subscribed,
        items: items.map((item, i) => ({
          lock: indices[i] ?? 0,
          token: item.token,
          ttlMillis: Math.ceil(item.ttlMillis),
          livenessMillis: Math.ceil(item.livenessMillis)
        }))
      }),
      ([, unsettled, answers]) =>
        Effect.succeed(Replies.settled(answers.map(Replies.refreshAnswer), unsettled, targets))
    )
  }

  readonly leave: Store["leave"] = (items) => {
    const { indices, targets } = groupByTarget(items.map((item) => item.target))
    let buriedUntil: ReadonlyArray<number> = []
    let epoch = 0
    const leave = this.runner.run(Scripts.leave, () => {
      epoch = this.epoch()
      buriedUntil = items.map(({ token }) => this.unanswered.buriedUntil(token))
      return {
        locks: targets.map(this.keysOf),
        items: items.map(({ keepMillis = 0, token }, i) => ({
          lock: indices[i] ?? 0,
          token,
          time: keepMillis > 0 ? -Math.ceil(keepMillis) : buriedUntil[i] ?? 0
        }))
      }
    }, ([, unsettled, answers]) => {
      // The connection was lost meanwhile and the driver has sent the leave again: now it needs its tombstone.
      if (items.some(({ token }, i) => this.unanswered.buriedUntil(token) !== buriedUntil[i])) {
        return this.leave(items)
      }
      // R45: on another connection than the one it was sent on, it is the answer to a copy.
      const isSure = this.epoch() === epoch
      return Effect.succeed(
        Replies.settled(answers.map((words) => Replies.leaveAnswer(words, isSure)), unsettled, targets)
      )
    })
    // R47: at once, and not when it is sent: what waits for a connection, as this may, is not sent at all then.
    return Effect.suspend(() => {
      for (const { token } of items) this.asking.delete(token)
      return leave
    })
  }

  readonly revoke: Store["revoke"] = (target, fence, asks) =>
    this.runner.run(
      Operations.revoke,
      () => ({ lock: this.keysOf(target), fence, asks }),
      ([, unsettled, revoked]) => Effect.succeed(Replies.settled(revoked, unsettled, [target]))
    )

  readonly lower: Store["lower"] = (target, token, permits) =>
    this.runner.run(
      Operations.lower,
      () => ({ lock: this.keysOf(target), token, permits }),
      ([, unsettled, answer]) => Effect.succeed(Replies.settled(Replies.refreshAnswer(answer), unsettled, [target]))
    )

  readonly inspect: Store["inspect"] = (target) =>
    this.runner.run(
      Operations.inspect,
      () => ({ lock: this.keysOf(target) }),
      (reply) => Effect.succeed(Replies.inspection(reply))
    )
}

/** All keys of one lock share its hash tag (see internal/key.ts), and none is made inside Lua. */
const keysFor = (prefix: string, { key, kind }: Target): LockKeys => {
  const name = Key.redisName(prefix, kind, key)
  return [`${name}:fence`, `${name}:state`, `${name}:held`, `${name}:queue`, `${name}:alive`]
}

/** Each target once, and where each of the given ones went. */
const groupByTarget = (all: ReadonlyArray<Target>) => {
  if (all.length === 1) return { targets: all, indices: [0] }
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
