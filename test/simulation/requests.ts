/** What callers ask for: locks, permits, reading and writing, and several of these at once. */
import type { LockAcquisitionError } from "../../src/DlockError.js"
import type { Request } from "../../src/internal/engine/engine.js"
import * as Key from "../../src/internal/key.js"
import { permitsMax } from "../../src/internal/options.js"
import type { Claim, Target } from "../../src/internal/store.js"
import * as Singletons from "./singletons.js"
import type { Habits } from "./workload.js"
import type { World } from "./world.js"

const lock = (key: string): Claim => ({ kind: "lock", key, permits: 1, limit: 1 })

const semaphore = ({ limits }: Habits, { random }: World): Claim => {
  const limit = random.pick(limits)
  return { kind: "semaphore", key: "permits", permits: random.chance(0.3) ? limit : 1 + random.index(limit), limit }
}

/** As src/internal/readWriteLock.ts has it. */
const readWrite = ({ random }: World): Claim => ({
  kind: "readWriteLock",
  key: "rw",
  permits: random.chance(0.7) ? 1 : permitsMax,
  limit: permitsMax
})

/** Two or three, in the one order of all. */
const several = (habits: Habits, world: World): ReadonlyArray<Claim> => {
  const { random } = world
  const pool = [
    ...Array.from({ length: habits.keys }, (_, i) => lock(`k${i}`)),
    lock("other"),
    semaphore(habits, world),
    readWrite(world)
  ]
  const count = random.pick([2, 2, 3])
  while (pool.length > count) pool.splice(random.index(pool.length), 1)
  const order = Key.inOrder(pool.map(({ key }) => key))
  return pool.sort((a, b) => order.indexOf(a.key) - order.indexOf(b.key))
}

const claimsOf = (habits: Habits, world: World): ReadonlyArray<Claim> => {
  const { random } = world
  const roll = random.next()
  if (roll < 0.4) return [lock(`k${random.index(habits.keys)}`)]
  if (roll < 0.6) return [semaphore(habits, world)]
  return roll < 0.75 ? [readWrite(world)] : several(habits, world)
}

export const make = (habits: Habits, world: World, processName: string): Request<LockAcquisitionError> => {
  const { random } = world
  const claims = claimsOf(habits, world)
  const waits = random.chance(0.75)
  return {
    claims,
    terms: {
      // Nobody can hold one thing for as long as it takes to ask for two more, if that is longer than a lease.
      ttlMillis: Math.max(random.pick(habits.ttls), claims.length > 1 ? 5 * world.latencyMillisMax : 0),
      renew: !random.chance(0.15),
      maxHoldMillis: random.chance(0.15) ? random.between(50, 1_500) : Infinity,
      metadata: `${processName} call ${world.nextNumber()}`,
      onHolder: undefined
    },
    waits,
    waitMillis: !waits || random.chance(0.5) ? Infinity : random.between(1, 3_000),
    refuse: ([first]) => first
  }
}

/** Of what somebody may be asked to let go. */
export const anyTarget = ({ keys }: Habits, { random }: World): Target =>
  random.pick<Target>([
    lock(`k${random.index(keys)}`),
    lock("other"),
    lock(Singletons.key),
    { kind: "semaphore", key: "permits" },
    { kind: "readWriteLock", key: "rw" }
  ])
