/** From what a script replied to what the store port answers. */
import * as Arr from "effect/Array"
import { BackendError } from "../../DlockError.js"
import { said } from "../said.js"
import type {
  AcquireAnswer,
  Acquired,
  Answer,
  Claim,
  Failed,
  Holder,
  Inspection,
  Left,
  Settled,
  Target,
  Waiting
} from "../store.js"
import type * as Acquire from "./acquire.js"
import { classify } from "./failure.js"
import type * as Operations from "./operations.js"
import type { Script } from "./script.js"
import type * as Scripts from "./scripts.js"

type ReplyOf<S> = S extends Script<infer _In, infer Reply> ? Reply : never

type AcquireReply = Exclude<ReplyOf<typeof Acquire.acquire>, readonly [number, "late", ...ReadonlyArray<unknown>]>

export const settled = <A>(
  answer: A,
  unsettled: ReadonlyArray<number>,
  targets: ReadonlyArray<Target>
): Settled<A> => ({ answer, unsettled: unsettled.flatMap((index) => targets[index - 1] ?? []) })

const holder = (endsMillis: number, fence: number, metadata: string): Holder | undefined =>
  endsMillis < 0 ? undefined : { endsMillis, fence, metadata }

const waiting = (
  [remainingMillis, lastFence, rank, ...first]: readonly [number, number, number, number, number, string]
): Waiting => ({ _tag: "Waiting", remainingMillis, lastFence, rank, holder: holder(...first) })

/** The server refused one item of a batch: its words, as it would have said them to a single command. */
export const refusal = (operation: string, words: string): BackendError =>
  new BackendError({ operation, ...classify(Object.assign(said(words), { name: "ReplyError" })) })

/** What could create something came too late twice, by a clock that was read in between (R3). */
export const tooLate = (operation: string): BackendError =>
  new BackendError({
    operation,
    reason: "Timeout",
    outcome: "NotApplied",
    cause: said("the server's clock is ahead of what it showed before")
  })

const left = { holder: "Holder", waiter: "Waiter", unknown: "Unknown" } as const

/** `isSure` unless the command may have run twice. */
export const leaveAnswer = (words: string, isSure: boolean): Left | Failed => {
  if (words === "holder" || words === "waiter" || words === "unknown") {
    return { _tag: "Left", was: isSure ? left[words] : "Unsure" }
  }
  return { _tag: "Failed", error: refusal("leave", words.replace(/^failed /, "")) }
}

const acquireAnswer = (reply: AcquireReply, claims: ReadonlyArray<Claim>): AcquireAnswer => {
  switch (reply[1]) {
    case "granted":
      return { _tag: "Granted", remainingMillis: reply[3], fences: reply[4] }
    case "waiting":
      return waiting([reply[3], reply[4], reply[5], reply[6], reply[7], reply[8]])
    case "refused":
      return {
        _tag: "Refused",
        blockers: Arr.map(
          reply[3],
          ([index, ...first]) => ({ key: claims[index - 1]?.key ?? "", holder: holder(...first) })
        )
      }
    case "gone":
      return { _tag: "Gone" }
  }
}

const formerLimits = (reply: AcquireReply) => {
  switch (reply[1]) {
    case "granted":
      return reply[5]
    case "waiting":
      return reply[9]
    case "refused":
      return reply[4]
    case "gone":
      return undefined
  }
}

const noFormerLimits: Acquired["formerLimits"] = []

export const acquired = (reply: AcquireReply, claims: ReadonlyArray<Claim>): Acquired => ({
  answer: acquireAnswer(reply, claims),
  unsettled: reply[2].flatMap((index) => claims[index - 1] ?? []),
  formerLimits: formerLimits(reply)?.flatMap(([index, limit]) => {
    const claim = claims[index - 1]
    return claim ? [{ claim, limit }] : []
  }) ?? noFormerLimits
})

export const refreshAnswer = (item: ReplyOf<typeof Scripts.refresh>[2][number]): Answer => {
  switch (item[0]) {
    case "held":
      return { _tag: "Held", remainingMillis: item[1], fence: item[2] }
    case "waiting":
      return waiting([item[1], item[2], item[3], item[4], item[5], item[6]])
    case "gone":
      return { _tag: "Gone" }
    case "failed":
      return { _tag: "Failed", error: refusal("refresh", item[1]) }
  }
}

export const inspection = (
  [, [limit, used, waiting, lastFence], holders]: ReplyOf<typeof Operations.inspect>
): Inspection => ({
  limit,
  used,
  waiting,
  lastFence,
  holders: holders.map(([fence, permits, limit, remainingMillis, metadata]) => ({
    fence,
    permits,
    limit,
    remainingMillis,
    metadata
  }))
})
