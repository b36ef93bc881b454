/**
 * A client with a deadline. Every call settles: with the reply, or with a `BackendError` after `commandTimeout`. A
 * connection that let a command, or its own handshake, wait that long is half-open, and is destroyed so that the driver
 * opens a new one; unless it is the caller's own, which is never touched.
 *
 * The driver gets a call only while the connection is open. Until then the call waits here: what was never sent was not
 * applied, and is not sent after its deadline. One alarm watches all calls. They share one timeout, so the oldest is
 * always the first to run out.
 */
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { BackendError } from "../../DlockError.js"
import * as Alarm from "../alarm.js"
import type { Client } from "./driver.js"
import type { Failure } from "./failure.js"
import * as Failures from "./failure.js"
import type { Connection } from "./gate.js"
import { Gate } from "./gate.js"

/** One command and what to make of its reply. Made anew each time that the effect runs. */
export interface Exchange<Reply, A> {
  readonly send: (client: Client) => Promise<Reply>
  /** What to send instead when the server refused it so, if anything. */
  readonly instead?: (client: Client, error: unknown) => Promise<Reply> | undefined
  /** Called when the reply comes in time, even when the caller has gone meanwhile. */
  readonly receive: (reply: Reply, sentAt: number) => Effect.Effect<A, BackendError>
}

export interface CallOptions {
  /** Whether to wait for a connection that is known to be away. What is not patient fails at once. Defaults to true. */
  readonly patient?: boolean
  /** Asked before each step but the first (R47): what was given up meanwhile is not sent. Defaults to always. */
  readonly isWanted?: () => boolean
}

export interface Link {
  /** Grows each time the connection closes. Commands of one epoch reach the server in the order they were sent. */
  readonly epoch: () => number
  readonly run: <A>(operation: string, send: (client: Client) => Promise<A>) => Effect.Effect<A, BackendError>
  readonly exchange: <Reply, A>(
    operation: string,
    make: () => Exchange<Reply, A>,
    options?: CallOptions
  ) => Effect.Effect<A, BackendError>
}

/** An alarm that rings that late says more about this process than about the server. */
const oversleptMillis = 50

const always = (): boolean => true

const usual: CallOptions = {}

/** Long enough for the event loop to read its sockets. */
const readMillis = 5

interface Call {
  readonly askedAt: number
  /** Whether the driver has it. */
  isSent: boolean
  readonly patient: boolean
  readonly isWanted: () => boolean
  readonly send: (now: number) => void
  readonly settle: (failure: Failure) => void
}

export const make = (
  connection: Connection,
  commandTimeout: Duration.Duration,
  /** Where the commands must run. Undefined for messages, which belong to no database. */
  database?: number
): Effect.Effect<Link, never, Scope.Scope> =>
  Effect.gen(function*() {
    const link = new LinkImpl(connection, commandTimeout, database, yield* Effect.clockWith(Effect.succeed))
    link.alarm = yield* Alarm.make(() => link.ring())
    yield* link.gate.follow
    yield* Effect.addFinalizer(() => Effect.sync(() => link.close()))
    return link
  })

class LinkImpl implements Link {
  readonly calls = new Set<Call>()
  readonly timeoutMillis: number
  readonly gate: Gate
  alarm: Alarm.Alarm = { notLaterThan: () => {} }
  overslept = false
  sentInTurn = 0
  corked: Client["stream"] | undefined
  closed = false

  constructor(
    readonly connection: Connection,
    readonly commandTimeout: Duration.Duration,
    database: number | undefined,
    readonly clock: Clock.Clock
  ) {
    this.timeoutMillis = Duration.toMillis(commandTimeout)
    this.gate = new Gate({
      connection,
      commandTimeout,
      database,
      clock,
      onConnect: (at) => this.alarm.notLaterThan(at + this.timeoutMillis),
      onOpen: () => this.sendAll(),
      // What was sent may have been carried out, and the driver sends it again: that is worth waiting for to the patient.
      onAway: (failure) => this.failIf((call) => call.isSent ? !call.patient : this.mayNotWait(call, failure), failure),
      onMisled: (failure) => this.failIf(() => true, failure)
    })
  }

  readonly epoch = (): number => this.gate.epoch

  sendAll(): void {
    const now = Alarm.monotonic(this.clock)
    for (const call of this.calls) {
      if (call.isSent) continue
      if (call.isWanted()) call.send(now)
      else this.fail(call, Failures.givenUp)
    }
  }

  /** Until the connection is open. */
  wait(call: Call): void {
    const { client, state } = this.gate
    // As the driver does for the first command of a client that is lazy.
    if (client.status === "wait") client.connect().catch(() => {})
    else if (this.gate.isUp) this.gate.enter()
    else if (state._tag === "Away" && this.mayNotWait(call, state.failure)) this.fail(call, state.failure)
  }

  /** A connection that is refused, or that nobody opens again, is no use to wait for. */
  mayNotWait({ patient }: Call, { reason }: Failure): boolean {
    return !patient || reason === "Refused" || this.gate.client.status === "end"
  }

  failIf(isMeant: (call: Call) => boolean, failure: Failure): void {
    // Whoever is told may call again at once: not the business of this failure.
    for (const call of [...this.calls].filter(isMeant)) this.fail(call, failure)
  }

  fail(call: Call, failure: Failure): void {
    if (this.calls.delete(call)) call.settle(call.isSent ? { ...failure, outcome: "Unknown" } : failure)
  }

  readonly run = <A>(operation: string, send: (client: Client) => Promise<A>): Effect.Effect<A, BackendError> =>
    this.exchange<A, A>(operation, () => ({ send, receive: (reply) => Effect.succeed(reply) }))

  // One operation of the runtime, with the replies read in the driver's callback: this is the hot path of everything.
  readonly exchange: Link["exchange"] = (operation, make, { isWanted = always, patient = true } = usual) =>
    Effect.callback((resume) => {
      const { gate } = this
      const { client } = gate
      const send = (sentAt: number): void => {
        call.isSent = true
        const exchange = make()
        const onReply = (reply: Parameters<typeof exchange.receive>[0]): void => {
          if (gate.held) gate.held.push(() => onReply(reply))
          else if (this.calls.delete(call)) resume(exchange.receive(reply, sentAt))
        }
        const onError = (error: unknown): void => {
          if (gate.held) return void gate.held.push(() => onError(error))
          const instead = this.calls.has(call) && isWanted() ? exchange.instead?.(client, error) : undefined
          if (instead !== undefined) instead.then(onReply, onError)
          else if (Failures.isUnsent(error)) call.isSent = false
          else if (this.calls.delete(call)) call.settle(Failures.classify(error))
        }
        this.cork()
        exchange.send(client).then(onReply, onError)
      }
      const call: Call = {
        askedAt: Alarm.monotonic(this.clock),
        isSent: false,
        patient,
        isWanted,
        send,
        settle: (failure) => resume(Effect.fail(new BackendError({ operation, ...failure })))
      }
      if (this.closed) return call.settle(Failures.layerClosed)
      // An interrupted call stays in `calls`: a caller that gave up must not hide a dead connection.
      this.calls.add(call)
      this.alarm.notLaterThan(call.askedAt + this.timeoutMillis)
      if (gate.state._tag === "Open") call.send(call.askedAt)
      else this.wait(call)
    })

  /**
   * What is sent until the event loop has gone round goes out in one write, but for the first: alone it is faster so. Fibers
   * that go on one after the other send one command each, and each would be a write.
   */
  cork(): void {
    if (++this.sentInTurn === 1) {
      setImmediate(() => {
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
    for (const call of this.calls) this.fail(call, Failures.layerClosed)
  }

  /** Settles what waited for too long, and says when the next one would have. */
  ring(): number {
    const now = Alarm.monotonic(this.clock)
    const due = this.dueAt()
    // This process was paused, or blocked its event loop. The answers may lie in the socket: they are read first.
    this.overslept = !this.overslept && now > due + oversleptMillis
    if (this.overslept) return now + readMillis
    for (const call of this.calls) {
      if (now < call.askedAt + this.timeoutMillis) break
      const failure = this.late(call)
      this.gate.destroyIfDead(now - this.timeoutMillis)
      this.fail(call, failure)
    }
    if (this.gate.shakesSince() < Infinity) this.gate.destroyIfDead(now - this.timeoutMillis)
    return this.dueAt()
  }

  /** When the oldest call, or the handshake, will have waited for too long. */
  dueAt(): number {
    const [oldest] = this.calls
    return this.timeoutMillis + Math.min(oldest?.askedAt ?? Infinity, this.gate.shakesSince())
  }

  late({ isSent }: Call): Failure {
    const { client, state } = this.gate
    if (isSent && this.gate.isUp) return Failures.timedOut(client, this.commandTimeout)
    if (state._tag === "Away") return state.failure
    const lost = isSent && state._tag === "Opening" ? state.lost : undefined
    return lost ?? Failures.notReady(client, this.commandTimeout)
  }
}
