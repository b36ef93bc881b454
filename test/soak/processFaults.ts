/** What befalls one process, or the network between it and Redis. Over when its effect is. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Faults } from "../support/proxy.js"
import { monotonicMicros } from "../support/workers.js"
import type { Process, World } from "./world.js"
import { start, ttl } from "./world.js"

type Faulty = (world: World, process: Process) => Effect.Effect<void, never, Scope.Scope>

const aWhile = ({ random }: World) =>
  Effect.sleep(random.chance(0.5) ? random.between(50, 400) : random.between(400, 2 * ttl))

const killed: Faulty = (world, process) =>
  Effect.gen(function*() {
    process.diedAt = monotonicMicros()
    yield* Effect.promise(() => process.worker.kill())
    yield* start(world, `${process.name}'`)
  })

const stopped: Faulty = (world, process) =>
  Effect.gen(function*() {
    process.worker.freeze()
    const from = monotonicMicros()
    yield* Effect.sleep(ttl * world.random.between(0.3, 2))
    process.stops.push({ from, to: monotonicMicros() })
    process.worker.thaw()
  })

const stalled =
  (how: "stall" | "stallUp" | "stallDown", of: (process: Process) => Faults): Faulty => (world, process) =>
    Effect.gen(function*() {
      const faults = of(process)
      faults[how]()
      yield* aWhile(world)
      faults.heal(world.random.pick([{ deliver: true }, { leaveDead: true }, {}]))
    })

const delayed = (of: (process: Process) => Faults, most: number): Faulty => (world, process) =>
  Effect.gen(function*() {
    of(process).delay(world.random.between(40, most))
    yield* Effect.sleep(2 * ttl)
    of(process).delay(0)
  })

const cut = (when: "request-forwarded" | "mid-reply"): Faulty => (_, { proxy }) =>
  Effect.promise(async () => {
    // A cut that found nothing to cut is not to come later.
    let isOn = true
    const done = proxy.cutAfter((chunk) => isOn && chunk.includes("evalsha"), when).catch(() => {})
    await Promise.race([done, new Promise((resolve) => setTimeout(resolve, ttl))])
    isOn = false
  }).pipe(Effect.andThen(Effect.sleep(100)), Effect.repeat({ times: 3 }))

const all = ({ proxy }: Process): Faults => proxy
const messages = ({ proxy }: Process): Faults => proxy.onlySubscribers()

export const processFaults: { readonly [kind: string]: Faulty } = {
  "process: killed (SIGKILL)": killed,
  "process: stopped (SIGSTOP)": stopped,
  "network: silent both ways": stalled("stall", all),
  "network: silent to Redis": stalled("stallUp", all),
  "network: silent from Redis": stalled("stallDown", all),
  "network: 40 to 120 ms each way": delayed(all, 120),
  "network: cut after a request": cut("request-forwarded"),
  "network: cut inside a reply": cut("mid-reply"),
  "network: reset": (_, { proxy }) => Effect.sync(() => proxy.killAll()),
  "network: ended (FIN) and refused": (world, { proxy }) =>
    Effect.gen(function*() {
      proxy.refuse()
      proxy.killAll({ fin: true })
      yield* aWhile(world)
      proxy.accept()
    }),
  "messages: reset": (_, process) => Effect.sync(() => messages(process).killAll()),
  "messages: silent": stalled("stallDown", messages),
  "messages: late": delayed(messages, 500)
}
