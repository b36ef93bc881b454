/** What those who push do: one of them produces the outcome outside, the others have their callbacks called with it. */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as Dlock from "../../../src/Dlock.js"
import type { Flights } from "../../../src/internal/engine/flights.js"
import type { Process } from "../process.js"
import type { World } from "../world.js"
import type { FlightHabits } from "./workload.js"

type Said = { readonly run: string }

const id = "p0"

/** Asks, and waits until its own part is over: the callback may come later. */
export const push = (
  world: World,
  process: Process,
  flights: Flights,
  service: Pick<Dlock.Service, "push">,
  habits: FlightHabits
): Effect.Effect<void> => {
  const { random } = world
  const judge = world.flights
  const ttl = random.pick(habits.ttls)
  const asker = judge.onAsk(process, id, 0)
  const told = (exit: Exit.Exit<Said, unknown>) =>
    Effect.sync(() => {
      judge.onSettled(asker)
      if (Exit.isSuccess(exit)) return judge.onTold(asker, exit.value.run, 0)
      const error: any = Option.getOrUndefined(Cause.findErrorOption(exit.cause))
      world.count(`pushes told ${error?._tag} ${error?.reason}`)
      const isFine = error?._tag === "BackendError" ||
        (error?._tag === "FanoutError" && ["Abandoned", "Refused"].includes(error.reason))
      if (!isFine) world.violate("no defect", `${process.name}: ${String(exit.cause)}`)
    })
  const work = Effect.suspend(() => Effect.sleep(Duration.millis(random.between(0, 1.5 * ttl))))
  const lead = Effect.flatMap(service.push<Said, never, never>(id, told, { ttl }), ({ complete }) => {
    world.count("pushes led")
    // Its scope closes without an outcome.
    if (random.chance(0.2)) return work
    return Effect.flatMap(work, () => {
      const run = judge.onPushed(process, id)
      return complete(Exit.succeed({ run: `run ${run.name}` }))
    })
  })
  const attempt = Effect.scoped(lead).pipe(
    Effect.catch(({ _tag, reason }) =>
      Effect.sync(() => {
        world.count(`pushes that listen, or not: ${_tag} ${reason}`)
        // Nothing was registered.
        if (_tag === "BackendError") judge.onSettled(asker)
        else if (reason !== "Held") world.violate("a push leads, listens or fails", `${process.name}: ${reason}`)
      })
    ),
    Effect.asVoid
  )
  return Effect.suspend(() => flights.closed ? Effect.void : attempt)
}
