/** One process of the demo's second part: many callers that ask for one answer when they are told to. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import { Dlock } from "../../src/index.js"
import { monotonicMicros } from "../../test/support/workers.js"

export interface Ask {
  readonly id: string
  readonly callers: number
  readonly jobMillis: number
}

export type Said =
  | { readonly type: "ready" }
  /** The job has begun here. */
  | { readonly type: "runs"; readonly at: number }
  /** All callers of this process have an answer: each different one, and how many got it. */
  | { readonly type: "answered"; readonly at: number; readonly answers: Readonly<Record<string, number>> }
  | { readonly type: "failed"; readonly message: string }

const [name = "", url = "", prefix = "", ttlMillis = ""] = process.argv.slice(2)

const say = (said: Said) =>
  Effect.sync(() => {
    process.send?.(said)
  })

const answer = ({ callers, id, jobMillis }: Ask) => {
  const job = say({ type: "runs", at: monotonicMicros() }).pipe(
    Effect.andThen(Effect.sleep(jobMillis)),
    Effect.as(`the answer of ${name}`)
  )
  return Effect.replicateEffect(Dlock.fanout(id, job), callers, { concurrency: "unbounded" }).pipe(
    Effect.flatMap((all) => {
      const answers: Record<string, number> = {}
      for (const one of all) answers[one] = (answers[one] ?? 0) + 1
      return say({ type: "answered", at: monotonicMicros(), answers })
    })
  )
}

const main = Effect.gen(function*() {
  const asked = yield* Queue.unbounded<Ask>()
  process.on("message", (ask: Ask) => Queue.offerUnsafe(asked, ask))
  // The first flight opens the connections, before anybody counts on them.
  yield* Dlock.fanout(`${name} is here`, Effect.void)
  yield* say({ type: "ready" })
  yield* Effect.forever(Effect.flatMap(Queue.take(asked), answer))
})

// The demo has ended, however it did.
process.on("disconnect", () => process.exit())
process.on("SIGINT", () => {})

Effect.runFork(
  main.pipe(
    Effect.provide(Dlock.layerRedis({ url, prefix, ttl: Number(ttlMillis) })),
    Effect.catchCause((cause) => say({ type: "failed", message: Cause.pretty(cause) }))
  )
)
