/** One process of the demo. It comes for the lock when it is told to, and tells what happens to it. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import { Dlock } from "../../src/index.js"
import { contend, lockKey } from "./contender.js"
import type { Message, Order } from "./protocol.js"

const [name = "", url = "", prefix = "", serverPid] = process.argv.slice(2)

type OrderOf<Type extends Order["type"]> = Extract<Order, { readonly type: Type }>

const send = (message: Message) =>
  Effect.sync(() => {
    process.send?.(message)
  })

const main = Effect.gen(function*() {
  const orders = yield* Queue.unbounded<OrderOf<"come">>()
  const written = yield* Queue.unbounded<OrderOf<"written">>()
  process.on("message", (order: Order) => {
    if (order.type === "come") Queue.offerUnsafe(orders, order)
    else if (order.type === "written") Queue.offerUnsafe(written, order)
    else peers = order.pids
  })

  yield* Dlock.inspect(lockKey) // connected, before anybody counts on it
  yield* send({ type: "ready" })
  yield* Queue.take(orders).pipe(
    Effect.flatMap(({ holdMillis }) =>
      contend(name, holdMillis, {
        tell: (event) => send({ type: "event", event }),
        write: (fence) =>
          send({ type: "write", fence }).pipe(
            Effect.andThen(Effect.repeat(Queue.take(written), { until: (order) => order.fence === fence }))
          )
      })
    ),
    Effect.forever
  )
})

let peers: ReadonlyArray<number> = []

const signal = (pid: number, name: NodeJS.Signals) => {
  try {
    process.kill(pid, name)
  } catch {
    // it is gone already
  }
}

/** The demo died without a chance to clean up: nothing of it may stay behind. */
const onOrphaned = () => {
  for (const pid of peers) signal(pid, "SIGCONT")
  if (serverPid !== undefined) signal(Number(serverPid), "SIGTERM")
  process.exit()
}
process.on("disconnect", onOrphaned)
if (!process.connected) onOrphaned()

// Ctrl-C in a terminal goes to all processes. This one ends when the demo has ended it.
process.on("SIGINT", () => {})

Effect.runFork(
  main.pipe(
    Effect.provide(Dlock.layerRedis({ url, prefix })),
    Effect.catchCause((cause) => send({ type: "failed", message: Cause.pretty(cause) }))
  )
)
