/**
 * Says when a connection may be used.
 *
 *   Opening --ready, in its database--> Open --closed--> Opening
 *   Opening --closed, or refused--> Away --ready, in its database--> Open
 *
 * Only `become` assigns a state.
 */
import type * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Alarm from "../alarm.js"
import type { Client } from "./driver.js"
import * as Driver from "./driver.js"
import type { Failure } from "./failure.js"
import * as Failures from "./failure.js"
import * as Listeners from "./listeners.js"

export interface Connection {
  readonly client: Client
  /** Whether this library opened it, and so may destroy it. */
  readonly owned: boolean
}

/** `lost`: why the last connection is no more. `Away`: the last attempt to connect has failed. */
export type State =
  | { readonly _tag: "Opening"; readonly lost: Failure | undefined }
  | { readonly _tag: "Open" }
  | { readonly _tag: "Away"; readonly failure: Failure }

export interface Options {
  readonly connection: Connection
  readonly commandTimeout: Duration.Duration
  /** Where the commands must run. Undefined for messages, which belong to no database. */
  readonly database: number | undefined
  readonly clock: Clock.Clock
  /** A handshake begins. It must not take for ever. */
  readonly onConnect: (at: number) => void
  readonly onOpen: () => void
  /** What waits for the connection may wait on. */
  readonly onAway: (failure: Failure) => void
  /** What the driver has sent again by itself may have run in another database. */
  readonly onMisled: (failure: Failure) => void
}

export class Gate {
  state: State = { _tag: "Opening", lost: undefined }
  /** Grows each time the connection closes. */
  epoch = 0
  /** A connection that opened only now has let nobody wait yet, however long a call was in the queue for it. */
  openedAt = Infinity
  lastError: Error | undefined
  /** Whether the driver has done all that it does with a new connection, and sends a command at once. */
  isUp = false
  /** The socket that was destroyed, until the driver has heard of it. */
  dead: Client["stream"] | undefined
  /** Replies that came while it is not certain in which database the commands ran. */
  held: Array<() => void> | undefined
  readonly client: Client

  constructor(readonly options: Options) {
    this.client = options.connection.client
  }

  /** Finds the connection in whatever state it is, and follows it from there. */
  readonly follow: Effect.Effect<void, never, Scope.Scope> = Effect.suspend(() => {
    const { client, enter, onClose, onConnect, onEnd, onError, onReady } = this
    const events = { connect: onConnect, ready: onReady, close: onClose, end: onEnd, error: onError, select: enter }
    return Effect.andThen(
      Listeners.listen(client, events),
      Effect.sync(() => {
        // At "connect" the event has been, and the handshake is under way.
        if (client.status === "connect") onConnect()
        if (client.status === "end") onEnd()
        if (client.status !== "ready") return
        this.openedAt = -Infinity
        onReady()
      })
    )
  })

  become(state: State): void {
    this.state = state
  }

  readonly onConnect = (): void => {
    this.openedAt = Alarm.monotonic(this.options.clock)
    this.options.onConnect(this.openedAt)
  }

  readonly onReady = (): void => {
    // It may have become ready in the very moment in which it was given up.
    this.isUp = this.dead === undefined || this.client.stream !== this.dead
    this.enter()
  }

  /**
   * Opens once the connection is in its database, and only while it is: the driver goes on in database 0 when SELECT is
   * refused, and whoever shares a client may change its database.
   */
  readonly enter = (): void => {
    const { database } = this.options
    if (!this.isUp || this.held !== undefined || this.state._tag === "Open" && !this.isElsewhere()) return
    if (database === undefined || database === 0 || this.isElsewhere()) this.arrive()
    else this.select(database)
  }

  isElsewhere(): boolean {
    const { database } = this.options
    return database !== undefined && database !== Driver.databaseOf(this.client)
  }

  arrive(): void {
    const { database, onOpen } = this.options
    if (database !== undefined && this.isElsewhere()) {
      return this.turnAway(Failures.elsewhere(database, Driver.databaseOf(this.client)))
    }
    this.become({ _tag: "Open" })
    onOpen()
  }

  select(database: number): void {
    const held: Array<() => void> = []
    this.held = held
    const settle = (then: () => void): void => {
      if (this.held !== held) return
      this.held = undefined
      then()
      for (const read of held) read()
    }
    const refuse = (why: Failure): void => {
      const failure = Failures.cannotSelect(database, why)
      this.become({ _tag: "Away", failure })
      this.options.onMisled(failure)
    }
    this.client.select(database).then(
      (reply) => settle(() => reply === "OK" ? this.arrive() : refuse(Failures.unreadable("SELECT", reply))),
      (error: unknown) => settle(() => refuse(Failures.classify(error)))
    )
  }

  turnAway(failure: Failure): void {
    this.become({ _tag: "Away", failure })
    this.options.onAway(failure)
  }

  readonly onClose = (): void => {
    const { dead } = this
    this.dead = undefined
    // Else this was known when it was destroyed.
    if (dead === undefined || dead !== this.client.stream) this.close()
  }

  close(why?: Failure): void {
    const { client, lastError, openedAt } = this
    this.epoch++
    this.openedAt = Infinity
    this.isUp = false
    this.lastError = undefined
    this.held = undefined
    if (this.state._tag === "Open") this.become({ _tag: "Opening", lost: Failures.lost(client, lastError) })
    else this.turnAway(why ?? Failures.cannotConnect(client, lastError, openedAt < Infinity))
  }

  readonly onEnd = (): void => {
    const { client, lastError, state } = this
    if (state._tag === "Away") return this.turnAway(state.failure)
    this.turnAway(lastError === undefined ? Failures.ended(client) : Failures.cannotConnect(client, lastError, false))
  }

  readonly onError = (error: Error): void => {
    this.lastError = error
  }

  /** When the handshake has begun that is under way, if nobody else watches over it. */
  shakesSince(): number {
    return this.options.connection.owned && !this.isUp ? this.openedAt : Infinity
  }

  /** Opens a new connection in the place of one that has let somebody wait for too long. */
  destroyIfDead(openedBefore: number): void {
    const { client, options } = this
    if (!options.connection.owned || this.openedAt > openedBefore) return
    const failure = Failures.notReady(client, options.commandTimeout)
    const { stream } = client
    this.dead = stream
    // Now, not when the driver hears of it: what is sent from here on goes by another connection.
    this.close(failure)
    stream?.destroy()
  }
}
