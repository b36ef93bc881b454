/** One round: processes contend, the nemesis does what it can, then all is well again, all end, and all is judged. */
import * as Effect from "effect/Effect"
import * as Random from "../simulation/random.js"
import { allKeys, waitFor } from "../support/redisSpy.js"
import { monotonicMicros } from "../support/workers.js"
import type { Verdict } from "./judge.js"
import { judge } from "./judge.js"
import { injectFaults } from "./nemesis.js"
import type { Fault } from "./record.js"
import { hasAll } from "./record.js"
import type { World } from "./world.js"
import { asAdmin, commandTimeout, heard, make, permits, stop, ttl } from "./world.js"

export interface RoundOptions {
  readonly seed: number
  readonly millis: number
  readonly processes: number
}

export interface Round extends RoundOptions, Verdict {
  readonly faults: ReadonlyArray<Fault>
  /** Keys in Redis in the end, and those among them that are not fences. */
  readonly keys: { readonly all: number; readonly left: ReadonlyArray<string> }
}

/** How long it may take until everybody has had everything again. */
const recoveryMillis = 10_000

const untilAllHaveAll = ({ processes }: World, since: number) =>
  Effect.promise(() => {
    const living = processes.filter(({ diedAt }) => diedAt === undefined)
    // What is missing then is for the judge to say.
    return waitFor(() => living.every((process) => hasAll(heard(process), since)), recoveryMillis).catch(() => false)
  })

const isFence = (key: string): boolean => key.endsWith(":fence")

/** What is left when the outcomes of flights have gone, too; and for how long it stays. */
const keysInTheEnd = ({ primary }: World) =>
  Effect.gen(function*() {
    const keys = yield* Effect.promise(async () => {
      await waitFor(async () => (await allKeys(primary.url)).every(isFence), 2 * ttl + commandTimeout).catch(() => {})
      return allKeys(primary.url)
    })
    const left = keys.filter((key) => !isFence(key))
    const describe = (key: string) =>
      asAdmin(primary, async (client) => `${key}, for ${await client.pttl(key)} ms more`)
    return { all: keys.length, left: yield* Effect.forEach(left, describe) }
  })

export const runRound = (options: RoundOptions): Effect.Effect<Round> =>
  Effect.scoped(Effect.gen(function*() {
    const world = yield* make(Random.make(options.seed), options.processes)
    yield* injectFaults(world, options.millis)
    const healedAt = monotonicMicros()
    yield* untilAllHaveAll(world, healedAt)
    yield* stop(world)
    const keys = yield* keysInTheEnd(world)
    const { faults, losses, processes } = world
    const record = { processes: processes.map(heard), faults, losses, healedAt, permits, ttl, commandTimeout }
    return { ...options, ...judge({ ...record, left: keys.left }), faults, keys }
  }))
