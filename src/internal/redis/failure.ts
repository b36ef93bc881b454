/** What an error of the driver, or a refusal in Redis's own words, means to the caller. */
import type { BackendError } from "../../DlockError.js"

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

/**
 * Only the words of the driver's error go on: its `command` property carries the arguments, tokens and passwords among
 * them. Redis refuses before a script writes anything (R8), but for a command that an ACL forbids inside one.
 */
export const classify = (cause: unknown): Failure => {
  const { message, name } = cause instanceof Error ? cause : { message: String(cause), name: "Error" }
  const words = new Error(message)
  const code = codeOf(message)
  if (name !== "ReplyError" && code === "") {
    return { reason: message === "Command timed out" ? "Timeout" : "Unreachable", outcome: "Unknown", cause: words }
  }
  if (passing.has(code) || passingWords.test(message)) {
    return { reason: "RefusedForNow", outcome: "NotApplied", cause: words }
  }
  const halfDone = /script/i.test(message) && code !== "WRONGTYPE"
  return { reason: "Refused", outcome: halfDone ? "Unknown" : "NotApplied", cause: words }
}
