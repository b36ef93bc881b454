/**
 * A client with a deadline. Every call settles: with the reply, or with a `BackendError` after `commandTimeout`. A
 * connection that let a command wait that long is half-open, and is destroyed so that the driver opens a new one;
 * unless it is the caller's own, which is never touched.
 *
 * One alarm watches all calls. They share one timeout, so the oldest is always the first to run out.
 */
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { BackendError } from "../../DlockError.js"
import * as Alarm from "../alarm.js"
import type { Client } from "./driver.js"
import type { Failure } from "./failure.js"
import { classify } from "./failure.js"

export interface Connection {
  readonly client: Client
  /** Whether this library opened it, and so may destroy it. */
  readonly owned: boolean
}

/** One command and what to make of its reply. Made anew each time that the effect runs. */
export interface Exchange<Reply, A> {
  readonly send: (client: Client) => Promise<Reply>
  /** What to send instead when the server refused it so, if anything. */
  readonly instead?: (client: Client, error: unknown) => Promise<Reply> | undefined
  /** Called when the reply comes in time, even when the caller has gone meanwhile. */
  readonly receive: (reply: Reply, sentAt: number) => Effect.Effect<A, BackendError>
}

export interface Link {
  /** Grows each time the connection closes. Commands of one epoch reach the server in the order they were sent. */
  readonly epoch: () => number
  readonly run: <A>(operation: string, send: (client: Client) => Promise<A>) => Effect.Effect<A, BackendError>
  readonly exchange: <Reply, A>(operation: string, make: () => Exchange<Reply, A>) => Effect.Effect<A, BackendError>
}

/** An alarm that rings that late says more about this process than about the server. */
const oversleptMillis = 50

/** Long enough for the event loop to read its sockets. */
const readMillis = 5

interface Call {
  readonly sentAt: number
  readonly settle: (failure: Failure) => void
}

export const make = (
  connection: Connection,
  commandTimeout: Duration.Duration
): Effect.Effect<Link, never, Scope.Scope> =>
  Effect.gen(function*() {
    const link = new LinkImpl(connection, commandTimeout, yield* Effect.clock)
    const { onClose, onConnect, onError } = link
    yield* Effect.acquireRelease(
      Effect.sync(() => connection.client.on("connect", onConnect).on("close", onClose).on("error", onError)),
      (client) => Effect.sync(() => client.off("connect", onConnect).off("close", onClose).off("error", onError))
    )
    link.alarm = yield* Alarm.make(() => link.ring())
    yield* Effect.addFinalizer(() => Effect.sync(() => link.close()))
    return link
  })

class LinkImpl implements Link {
  readonly calls = new Set<Call>()
  readonly timeoutMillis: number
  alarm: Alarm.Alarm = { notLaterThan: () => {} }
  epochs = 0
  /** A connection that opened only now has let nobody wait yet, however long a call was in the queue for it. */
  openedAt: number
  lastError: Error | undefined
  overslept = false
  sentInTurn = 0
  corked: Client["stream"] | undefined
  closed = false

  constructor(
    readonly connection: Connection,
    readonly commandTimeout: Duration.Duration,
    readonly clock: Clock.Clock
  ) {
    this.timeoutMillis = Duration.toMillis(commandTimeout)
    const { status } = connection.client
    // At "connect" the event has been, and the handshake is under way.
    this.openedAt = status === "ready" ? -Infinity : status === "connect" ? Alarm.monotonic(clock) : Infinity
  }

  readonly epoch = (): number => this.epochs

  readonly onConnect = (): void => {
    this.openedAt = Alarm.monotonic(this.clock)
  }

  readonly onClose = (): void => {
    this.epochs++
    this.openedAt = Infinity
  }

  readonly onError = (error: Error): void => {
    this.lastError = error
  }

  readonly run = <A>(operation: string, send: (client: Client) => Promise<A>): Effect.Effect<A, BackendError> =>
    this.exchange<A, A>(operation, () => ({ send, receive: (reply) => Effect.succeed(reply) }))

  // One operation of the runtime, with the replies read in the driver's callback: this is the hot path of everything.
  readonly exchange: Link["exchange"] = (operation, make) =>
    Effect.async((resume) => {
      const call: Call = {
        sentAt: Alarm.monotonic(this.clock),
        settle: (failure) => resume(Effect.fail(new BackendError({ operation, ...failure })))
      }
      if (this.closed) return call.settle(closed("NotApplied"))
      // An interrupted call stays in `calls`: a caller that gave up must not hide a dead connection.
      this.calls.add(call)
      this.alarm.notLaterThan(call.sentAt + this.timeoutMillis)
      const { client } = this.connection
      const exchange = make()
      const onReply = (reply: Parameters<typeof exchange.receive>[0]): void => {
        if (this.calls.delete(call)) resume(exchange.receive(reply, call.sentAt))
      }
      const onError = (error: unknown): void => {
        const instead = this.calls.has(call) ? exchange.instead?.(client, error) : undefined
        if (instead !== undefined) instead.then(onReply, onError)
        else if (this.calls.delete(call)) call.settle(classify(error))
      }
      this.cork()
      exchange.send(client).then(onReply, onError)
    })

  /** What is sent in one turn of the event loop goes out in one write, but for the first: alone it is faster so. */
  cork(): void {
    if (++this.sentInTurn === 1) {
      queueMicrotask(() => {
        this.corked?.uncork()
        this.corked = undefined
        this.sentInTurn = 0
      })
    } else if (this.sentInTurn === 2) {
      this.corked = this.connection.client.stream
      this.corked?.cork()
    }
  }

  /** Nothing tells later calls that they are late, and the driver may never settle those under way. */
  close(): void {
    this.closed = true
    for (const call of this.calls) call.settle(closed("Unknown"))
    this.calls.clear()
  }

  /** Settles what waited for too long, and says when the next one would have. */
  ring(): number {
    const now = Alarm.monotonic(this.clock)
    const [oldest] = this.calls
    // This process was paused, or blocked its event loop. The answers may lie in the socket: they are read first.
    this.overslept = !this.overslept && oldest !== undefined &&
      now > oldest.sentAt + this.timeoutMillis + oversleptMillis
    if (this.overslept) return now + readMillis
    for (const call of this.calls) {
      if (now < call.sentAt + this.timeoutMillis) return call.sentAt + this.timeoutMillis
      this.calls.delete(call)
      call.settle(this.late())
      this.destroyIfDead(now)
    }
    return Infinity
  }

  destroyIfDead(now: number): void {
    if (!this.connection.owned || now < this.openedAt + this.timeoutMillis) return
    // Now, not when the driver hears of it: what is sent from here on goes by another connection.
    this.onClose()
    this.connection.client.stream?.destroy()
  }

  late(): Failure {
    const { client } = this.connection
    return client.status === "ready" ? timedOut(this.commandTimeout) : unreachable(client, this.lastError)
  }
}

const closed = (outcome: Failure["outcome"]): Failure => ({
  reason: "Unreachable",
  outcome,
  cause: new Error("the Dlock layer is closed")
})

const timedOut = (commandTimeout: Duration.Duration): Failure => ({
  reason: "Timeout",
  outcome: "Unknown",
  cause: new Error(`no answer within commandTimeout (${Duration.format(commandTimeout)})`)
})

/** It may lie in the driver's queue and be sent when the connection is back, so nobody knows what becomes of it. */
const unreachable = ({ status }: Client, lastError: Error | undefined): Failure => ({
  reason: "Unreachable",
  outcome: "Unknown",
  cause: new Error(lastError?.message ?? `the connection is ${status}`)
})
