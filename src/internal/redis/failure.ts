/** What went wrong with a connection, a command or a reply, and what to do about it, in words without secrets. */
import * as Duration from "effect/Duration"
import type { BackendError } from "../../DlockError.js"
import { said } from "../said.js"
import type { Client } from "./driver.js"
import { addressOf } from "./driver.js"

export type Failure = Pick<BackendError, "reason" | "outcome" | "cause">

/** Redis answers with these for as long as a state of the server lasts, and before it has changed anything. */
const passing = new Set([
  ...["BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MISCONF", "NOREPLICAS", "OOM", "READONLY"],
  ...["TRYAGAIN", "UNBLOCKED"]
])

/** The same without a code. A script that has written cannot be killed. */
const passingWords = /^ERR max number of clients|\bScript killed by user\b/

/** The code of a refusal, also of one inside a script: Redis 6 says there where it was, and some of ours begin with ERR. */
const codeOf = (message: string): string =>
  /^(?:ERR )?(?:Error running script \([^)]*\): )?(?:@?user_script: ?\d+: )*-?([A-Z]+) /.exec(message)?.[1] ?? ""

/** What is said better than Redis says it. */
const better: Readonly<Record<string, string>> = {
  NOAUTH: "NOAUTH: it asks for a password. Give one: redis://user:password@host, or the option `password`",
  WRONGPASS: "WRONGPASS: the user or the password is wrong"
}

/**
 * Only the words of the driver's error go on: its `command` property carries the arguments, tokens and passwords among
 * them. So do the words of Redis about a command that it does not know.
 */
const wordsOf = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).replace(/,? with args beginning with:.*$/s, "")
    .replace(/\.\s*$/, "")

/** The driver's words, or better ones. */
export const explained = (error: unknown): string => {
  const words = wordsOf(error)
  return better[codeOf(words)] ?? words
}

/** With the driver's words as its own cause, where there is more to say than they do. */
const because = (words: string, error?: unknown): Error => {
  if (error === undefined || words === wordsOf(error)) return said(words)
  return said(words, said(wordsOf(error)))
}

/** Whether the server said it, and not the driver. */
const isRefusal = (error: unknown): boolean =>
  error instanceof Error && (error.name === "ReplyError" || codeOf(error.message) !== "")

/** Whether the driver, which has no queue, would not take the command. */
export const isUnsent = (error: unknown): boolean => wordsOf(error).startsWith("Stream isn't writeable")

/** Redis refuses before a script writes anything (R8), but for a command that an ACL forbids inside one. */
export const classify = (error: unknown): Failure => {
  const words = wordsOf(error)
  const cause = because(explained(error), error)
  if (!isRefusal(error)) {
    return { reason: words === "Command timed out" ? "Timeout" : "Unreachable", outcome: "Unknown", cause }
  }
  const code = codeOf(words)
  if (passing.has(code) || passingWords.test(words)) return { reason: "RefusedForNow", outcome: "NotApplied", cause }
  const halfDone = /script/i.test(words) && code !== "WRONGTYPE"
  return { reason: "Refused", outcome: halfDone ? "Unknown" : "NotApplied", cause }
}

const unreachable = (words: string, error?: unknown): Failure => ({
  reason: "Unreachable",
  outcome: "NotApplied",
  cause: because(words, error)
})

const after = (error: Error | undefined): string => error === undefined ? "" : `: ${explained(error)}`

const tlsHint = ({ options }: Client): string =>
  options.tls ? ". It is to use TLS (rediss://), which that port may not speak" : ""

/** An attempt to connect has failed. */
export const cannotConnect = (client: Client, error: Error | undefined, wasConnected: boolean): Failure => {
  const address = addressOf(client)
  if (isRefusal(error)) {
    const { reason } = classify(error)
    return { reason, outcome: "NotApplied", cause: because(`on connecting to ${address}, ${explained(error)}`, error) }
  }
  return unreachable(
    wasConnected
      ? `Redis at ${address} closed the connection before it was ready${after(error)}. It may have reached ` +
        "`maxclients`, or speak TLS only (rediss://)"
      : `cannot connect to Redis at ${address}${after(error)}${tlsHint(client)}`,
    error
  )
}

/** An attempt to connect has come to nothing yet. */
export const notReady = (client: Client, waited: Duration.Duration): Failure => {
  const [address, within] = [addressOf(client), `within ${Duration.format(waited)}`]
  return unreachable(
    client.status === "connect"
      ? `Redis at ${address} accepts connections and was not ready ${within}: it is loading its data, or frozen`
      : `cannot connect to Redis at ${address} ${within}${tlsHint(client)}`
  )
}

/** A connection that worked was closed. */
export const lost = (client: Client, error: Error | undefined): Failure =>
  unreachable(`lost the connection to Redis at ${addressOf(client)}${after(error)}`, error)

/** The driver has stopped trying. */
export const ended = (client: Client): Failure =>
  unreachable(`the client of Redis at ${addressOf(client)} has been closed`)

export const givenUp: Failure = unreachable("it was given up before there was a connection")

export const layerClosed: Failure = unreachable("the Dlock layer is closed")

export const timedOut = (client: Client, commandTimeout: Duration.Duration): Failure => ({
  reason: "Timeout",
  outcome: "Unknown",
  cause: said(
    `Redis at ${addressOf(client)} gave no answer within commandTimeout (${Duration.format(commandTimeout)})`
  )
})

/** The driver goes on in database 0 when SELECT is refused. */
export const cannotSelect = (database: number, { cause, reason }: Failure): Failure => ({
  reason,
  outcome: "NotApplied",
  cause: because(`cannot use database ${database}: ${wordsOf(cause)}. Grant \`select\`, or use another`, cause)
})

/** Somebody else uses the client, too, and has changed its database. */
export const elsewhere = (database: number, present: number): Failure => ({
  reason: "RefusedForNow",
  outcome: "NotApplied",
  cause: said(
    `the client has left database ${database} for ${present}. Give the library a client of its own: client.duplicate()`
  )
})

/** What came back is not what the command answers. Whatever it was, it may hold a secret. */
export const unreadable = (command: string, reply: unknown): Failure =>
  reply === "QUEUED"
    ? {
      reason: "RefusedForNow",
      outcome: "Unknown",
      cause: said(
        "a transaction is open on the client (client.multi({ pipeline: false })), so the reply was QUEUED. Give the " +
          "library a client of its own: client.duplicate()"
      )
    }
    : {
      reason: "Refused",
      outcome: "Unknown",
      cause: said(
        `the reply to ${command} was ${shapeOf(reply)}. A reply transformer or a proxy may have changed it`
      )
    }

const shapeOf = (reply: unknown): string => {
  if (typeof reply === "string") return `a string of ${reply.length} characters`
  if (Array.isArray(reply)) return `a list of ${reply.length}`
  return reply === null ? "null" : `of type ${typeof reply}`
}
