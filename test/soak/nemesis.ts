/** Deals faults from two decks, in an order that follows from the seed: one for Redis, one for processes and networks. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import * as Random from "../simulation/random.js"
import { monotonicMicros } from "../support/workers.js"
import { processFaults } from "./processFaults.js"
import { serverFaults } from "./serverFaults.js"
import type { World } from "./world.js"
import { during, ttl } from "./world.js"

export const kinds = [...Object.keys(serverFaults), ...Object.keys(processFaults)]

/** Each card once, then all of them again. */
const deck = (cards: ReadonlyArray<string>, seed: number): () => string => {
  const random = Random.make(seed)
  let left: Array<string> = []
  return () => {
    if (left.length === 0) left = [...cards]
    return left.splice(random.index(left.length), 1)[0]!
  }
}

/** Until the time is over. Ends when all is well again. */
export const injectFaults = (world: World, millis: number): Effect.Effect<void, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { random } = world
    const endsAt = monotonicMicros() + 1_000 * millis
    const isOver = () => monotonicMicros() > endsAt
    const nextServer = deck(Object.keys(serverFaults), random.index(2 ** 31))
    const nextProcess = deck(Object.keys(processFaults), random.index(2 ** 31))
    const running: Array<Fiber.Fiber<void>> = []

    const onServer = Effect.suspend(() => {
      const kind = nextServer()
      return Effect.andThen(
        during(world, kind, serverFaults[kind]!(world)),
        Effect.sleep(random.between(0.2, 1.2) * ttl)
      )
    })
    const onProcess = Effect.gen(function*() {
      const well = world.processes.filter(({ hasExited, isWell }) => isWell && !hasExited)
      // Somebody is to get something done.
      if (well.length >= 2) {
        const kind = nextProcess()
        const process = random.pick(well)
        process.isWell = false
        const fault = Effect.ensuring(
          during(world, kind, processFaults[kind]!(world, process), process.name),
          Effect.sync(() => {
            process.isWell = process.diedAt === undefined
          })
        )
        running.push(yield* Effect.forkScoped(fault))
      }
      yield* Effect.sleep(random.between(0.2, 1) * ttl)
    })
    yield* Effect.all([Effect.repeat(onServer, { until: isOver }), Effect.repeat(onProcess, { until: isOver })], {
      concurrency: 2
    })
    yield* Fiber.joinAll(running)
  })
