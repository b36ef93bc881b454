/** Looking at what is held, and taking it away. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { BackendError, InvalidKeyError } from "../DlockError.js"
import type * as Operations from "../Operations.js"
import type { Engine } from "./engine/engine.js"
import * as Key from "./key.js"
import type { Inspection, Store } from "./store.js"

export const inspect = <K extends Key.LeaseKind>(
  store: Store,
  key: string,
  given: K | undefined
): Effect.Effect<Operations.Inspection<K>, BackendError | InvalidKeyError> =>
  Effect.flatMap(Effect.fromResult(Key.validate(key)), (key) => {
    const kind: Key.LeaseKind = given ?? "lock"
    return Effect.map(store.inspect({ kind, key }), (found) => {
      const holders = [...found.holders].sort((a, b) => a.fence - b.fence)
      const shown: Operations.Inspection = kind === "readWriteLock"
        ? {
          key,
          kind,
          // Whoever writes has all permits, and whoever reads has one.
          writer: holders.filter(({ permits }) => permits > 1).map(toHolder)[0],
          readers: holders.filter(({ permits }) => permits === 1).map(toHolder),
          waiting: found.waiting,
          lastFencingToken: found.lastFence
        }
        : {
          key,
          kind: kind === "lock" ? "lock" : "semaphore",
          permits: found.limit,
          used: found.used,
          holders: holders.map((holder) => ({ ...toHolder(holder), permits: holder.permits, of: holder.limit })),
          waiting: found.waiting,
          lastFencingToken: found.lastFence
        }
      // SAFETY: what is shown has the kind that was asked for; when none was, K is the default of its type, a lock.
      return shown as Operations.Inspection<K>
    })
  })

const toHolder = ({ fence, metadata, remainingMillis }: Inspection["holders"][number]): Operations.Holder => ({
  fencingToken: fence,
  remaining: Duration.millis(remainingMillis),
  metadata
})

/** What is granted after it looked is not touched (R17). */
export const revoke = (
  { keeper, store }: Engine,
  key: string,
  kind: Key.LeaseKind,
  asks: boolean
): Effect.Effect<number, BackendError | InvalidKeyError> =>
  Effect.flatMap(
    Effect.fromResult(Key.validate(key)),
    (key) =>
      Effect.flatMap(store.inspect({ kind, key }), ({ holders }) => {
        const fence = Math.max(0, ...holders.map((holder) => holder.fence))
        return Effect.map(store.revoke({ kind, key }, fence, asks), ({ answer, unsettled }) => {
          keeper.options.settle(unsettled)
          return answer
        })
      })
  )
