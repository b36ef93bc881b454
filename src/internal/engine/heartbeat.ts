/**
 * What the alarm of a keeper does: ends what is over, refreshes what is due, and says when to come again. What is due at
 * one time goes to the store in batches of up to 256.
 *
 * Invariants:
 * - What is over ends in the turn in which the alarm rings, however much is to be refreshed.
 * - A token that is not kept any more is not refreshed (R16).
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { maxBatch } from "../store.js"
import * as Errors from "./errors.js"
import type { Keeper } from "./keeper.js"
import type { Lease } from "./lease.js"
import * as L from "./lease.js"
import * as Timing from "./timing.js"

/** The answer is when to ring next. */
export const ring = (keeper: Keeper): number => {
  const { heap, options } = keeper
  const now = keeper.now()
  const due: Array<Lease> = []
  for (let lease = heap.peek(); lease && lease.wakeAt <= now; lease = heap.peek()) {
    if (!keeper.endIfDue(lease, now)) take(keeper, lease, due)
  }
  // A batch that goes anyway is filled with what is due next, so that all come to be due together.
  let room = -due.reduce((sum, lease) => sum + lease.claims.length, 0) % maxBatch
  if (room < 0) room += maxBatch
  for (let next = heap.peek(); next && L.worthRefreshing(next, now); next = heap.peek()) {
    room -= next.claims.length
    if (room < 0) break
    take(keeper, next, due)
  }
  const batches = L.batches(due, maxBatch)
  // A full batch has a turn of the event loop to itself; what is less is not held up.
  const small = room > 0 ? batches.pop() : undefined
  if (small) options.fork(refresh(keeper, small))
  if (batches.length > 0) options.fork(refreshInTurn(keeper, batches))
  return Math.min(heap.peek()?.wakeAt ?? Infinity, keeper.prober.ring(now))
}

const take = ({ heap }: Keeper, lease: Lease, due: Array<Lease>): void => {
  due.push(lease)
  lease.refreshing = true
  heap.schedule(lease, L.nextLook(lease))
}

/** One after the other: thousands of leases must hold up neither this process nor Redis. */
const refreshInTurn = (keeper: Keeper, batches: ReadonlyArray<ReadonlyArray<Lease>>): Effect.Effect<void> =>
  Effect.forEach(batches, (batch) =>
    Effect.map(
      Effect.sleep(Duration.millis(Timing.batchPauseMillis)),
      () => keeper.options.fork(refresh(keeper, batch))
    ), { discard: true })

const refresh = (keeper: Keeper, due: ReadonlyArray<Lease>): Effect.Effect<void> => {
  // Who was woken since may have ended others.
  const leases = due.filter(({ state }) => state._tag !== "Ended")
  if (leases.length === 0) return Effect.void
  const sentAt = keeper.now()
  const { settle, store } = keeper.options
  return Effect.matchCause(
    store.refresh({
      items: leases.flatMap((lease) => L.toRefreshItems(lease, lease.terms.ttlMillis)),
      subscribed: keeper.subscribed
    }),
    {
      onFailure: (cause) => {
        const error = Option.getOrElse(Cause.findErrorOption(cause), Errors.silent)
        for (const lease of leases) keeper.onAnswer(lease, sentAt, 0, { _tag: "Failed", error })
      },
      onSuccess: ({ answer, unsettled }) => {
        let at = 0
        for (const lease of leases) {
          const end = at + lease.claims.length
          keeper.onAnswer(lease, sentAt, lease.terms.ttlMillis, L.worst(lease, answer.slice(at, end)))
          at = end
        }
        settle(unsettled)
      }
    }
  )
}
