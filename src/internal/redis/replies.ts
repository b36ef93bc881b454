/** From what a script replied to what the store port answers. */
import { BackendError } from "../../DlockError.js"
import type { AcquireAnswer, Answer, Inspection, Settled, Target, Waiting } from "../store.js"
import { classify } from "./link.js"
import type * as Operations from "./operations.js"
import type { Script } from "./script.js"
import type * as Scripts from "./scripts.js"

type ReplyOf<S> = S extends Script<infer _In, infer Reply> ? Reply : never

export const settled = <A>(
  answer: A,
  unsettled: ReadonlyArray<number>,
  targets: ReadonlyArray<Target>
): Settled<A> => ({ answer, unsettled: unsettled.flatMap((index) => targets[index - 1] ?? []) })

const present = (millis: number): number | undefined => millis < 0 ? undefined : millis

const waiting = (remainingMillis: number, lastFence: number, rank: number, endsMillis: number): Waiting => ({
  _tag: "Waiting",
  remainingMillis,
  lastFence,
  rank,
  holderEndsMillis: present(endsMillis)
})

/** The server refused one item of a batch: its words, as it would have said them to a single command. */
export const refusal = (operation: string, words: string): BackendError =>
  new BackendError({ operation, ...classify(Object.assign(new Error(words), { name: "ReplyError" })) })

export const acquireAnswer = (
  reply: Exclude<ReplyOf<typeof Scripts.acquire>, readonly [number, "late", ...ReadonlyArray<unknown>]>,
  targets: ReadonlyArray<Target>
): AcquireAnswer => {
  switch (reply[1]) {
    case "granted":
      return { _tag: "Granted", remainingMillis: reply[3], fences: reply[4] }
    case "waiting":
      return waiting(reply[3], reply[4], reply[5], reply[6])
    case "refused":
      return {
        _tag: "Refused",
        blockers: reply[3].map(([index, endsMillis, metadata]) => ({
          key: targets[index - 1]?.key ?? "",
          metadata,
          endsMillis: present(endsMillis)
        }))
      }
    case "gone":
      return { _tag: "Gone" }
  }
}

export const refreshAnswer = (item: ReplyOf<typeof Scripts.refresh>[2][number]): Answer => {
  switch (item[0]) {
    case "held":
      return { _tag: "Held", remainingMillis: item[1], fence: item[2] }
    case "waiting":
      return waiting(item[1], item[2], item[3], item[4])
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
  holders: holders.map(([fence, permits, remainingMillis, metadata]) => ({ fence, permits, remainingMillis, metadata }))
})
