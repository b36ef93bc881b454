/**
 * A client with a deadline. Every call settles: with the reply, or with a `BackendError` after `commandTimeout`. A
 * connection that let a command wait that long is half-open, and is destroyed so that the driver opens a new one;
 * unless it is the caller's own, which is never touched.
 *
 * One alarm watches all calls. They share one timeout, so the oldest is always the first to run out.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { BackendError } from "../../DlockError.js"
import * as Alarm from "../alarm.js"
import type { Client } from "./driver.js"

export interface Connection {
  readonly client: Client
  /** Whether this library opened it, and so may destroy it. */
  readonly owned: boolean
}

export interface Link {
  /** Grows each time the connection closes. Commands of one epoch reach the server in the order they were sent. */
  readonly epoch: () => number
  /** `isAwaited` says whether the caller is still there: what is sent in a second step must not come after its end. */
  readonly run: <A>(
    operation: string,
    send: (client: Client, isAwaited: () => boolean) => Promise<A>
  ) => Effect.Effect<A, BackendError>
}

/** An alarm that rings that late says more about this process than about the server. */
const oversleptMillis = 50

/** Long enough for the event loop to read its sockets. */
const readMillis = 5

interface Call {
  readonly sentAt: number
  readonly settle: (failure: Failure) => void
}

type Failure = Pick<BackendError, "reason" | "outcome" | "cause">

export const make = (
  { client, owned }: Connection,
  commandTimeout: Duration.Duration
): Effect.Effect<Link, never, Scope.Scope> =>
  Effect.gen(function*() {
    const clock = yield* Effect.clock
    const timeoutMillis = Duration.toMillis(commandTimeout)
    const calls = new Set<Call>()
    let epoch = 0
    let lastError: Error | undefined
    // A connection that opened only now has not let anybody wait yet, however long a call has been in the queue for it.
    let openedAt = client.status === "ready" ? -Infinity : Infinity

    const onConnect = () => {
      openedAt = Alarm.monotonic(clock)
    }
    const onClose = () => {
      epoch++
      openedAt = Infinity
    }
    const onError = (error: Error) => {
      lastError = error
    }
    yield* Effect.acquireRelease(
      Effect.sync(() => client.on("connect", onConnect).on("close", onClose).on("error", onError)),
      () => Effect.sync(() => client.off("connect", onConnect).off("close", onClose).off("error", onError))
    )
    const late = (): Failure => client.status === "ready" ? timedOut(commandTimeout) : unreachable(client, lastError)

    let overslept = false
    const alarm = yield* Alarm.make(Effect.sync(() => {
      const now = Alarm.monotonic(clock)
      const [oldest] = calls
      // This process was paused, or blocked its event loop. The answers may lie in the socket: they are read first.
      overslept = !overslept && oldest !== undefined && now > oldest.sentAt + timeoutMillis + oversleptMillis
      if (overslept) return now + readMillis
      let isDead = false
      let next = Infinity
      for (const call of calls) {
        if (now < call.sentAt + timeoutMillis) {
          next = call.sentAt + timeoutMillis
          break
        }
        isDead ||= now >= openedAt + timeoutMillis
        calls.delete(call)
        call.settle(late())
      }
      if (isDead && owned) {
        // Now, not when the driver hears of it: what is sent from here on goes by another connection.
        epoch++
        client.stream?.destroy()
      }
      return next
    }))

    const run: Link["run"] = (operation, send) =>
      Effect.async((resume) => {
        let interrupted = false
        const call: Call = {
          sentAt: Alarm.monotonic(clock),
          settle: (failure) => resume(Effect.fail(new BackendError({ operation, ...failure })))
        }
        calls.add(call)
        alarm.notLaterThan(call.sentAt + timeoutMillis)
        send(client, () => !interrupted && calls.has(call)).then(
          (reply) => {
            if (calls.delete(call)) resume(Effect.succeed(reply))
          },
          (cause: unknown) => {
            if (calls.delete(call)) call.settle(classify(cause))
          }
        )
        // An interrupted call stays in `calls`: a caller that gave up must not hide a dead connection.
        return Effect.sync(() => {
          interrupted = true
        })
      })

    return { epoch: () => epoch, run }
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

/**
 * Only the words of the driver's error go on: its `command` property carries the arguments, tokens and passwords among
 * them. Redis refuses before a script writes anything (R8), but for a command that an ACL forbids inside one.
 */
export const classify = (cause: unknown): Failure => {
  const { message, name } = cause instanceof Error ? cause : { message: String(cause), name: "Error" }
  const words = new Error(message)
  if (name === "ReplyError" || /^[A-Z]+ /.test(message)) {
    const halfDone = /script/i.test(message) && !/\b(OOM|READONLY|NOREPLICAS|MISCONF|WRONGTYPE)\b/.test(message)
    return { reason: "Refused", outcome: halfDone ? "Unknown" : "NotApplied", cause: words }
  }
  return { reason: message === "Command timed out" ? "Timeout" : "Unreachable", outcome: "Unknown", cause: words }
}
