/**
 * What a fiber holds, and the fibers that it comes from: waiting for one of these again would wait for itself.
 *
 * A list, so that taking a lock costs the same however many are held. Leases that have ended are ignored, so nothing
 * depends on a fiber hearing of its release; they are taken out when the list has doubled.
 */
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import { globalValue } from "effect/GlobalValue"
import type { Engine } from "./engine/engine.js"
import type { Lease } from "./engine/lease.js"
import type { Claim } from "./store.js"

interface Holding {
  readonly lease: Lease
  readonly rest: Holding | undefined
  readonly length: number
  /** The length at which to take out what has ended. */
  readonly pruneAt: number
}

const pruneAtMin = 32

const isInForce = ({ state }: Lease): boolean => state._tag !== "Ended"

const toArray = (holding: Holding | undefined): Array<Lease> => {
  const all: Array<Lease> = []
  for (let at = holding; at !== undefined; at = at.rest) all.push(at.lease)
  return all
}

/** In the order in which they were taken. */
const fromArray = (leases: ReadonlyArray<Lease>): Holding | undefined => {
  const pruneAt = Math.max(pruneAtMin, 2 * leases.length)
  return leases.reduce<Holding | undefined>(
    (rest, lease) => ({ lease, rest, length: (rest?.length ?? 0) + 1, pruneAt }),
    undefined
  )
}

const pruned = (holding: Holding | undefined): Holding | undefined =>
  fromArray(toArray(holding).filter(isInForce).reverse())

/** Whoever takes one lock after the other keeps only the last of them. */
const push = (all: Holding | undefined, lease: Lease): Holding => {
  let rest = all
  while (rest !== undefined && !isInForce(rest.lease)) rest = rest.rest
  const { length, pruneAt } = rest ?? { length: 0, pruneAt: pruneAtMin }
  return length >= pruneAt ? push(pruned(rest), lease) : { lease, rest, length: length + 1, pruneAt }
}

const holdings = globalValue(
  Symbol.for("effect-dlock/holdings"),
  () =>
    FiberRef.unsafeMake<Holding | undefined>(undefined, {
      // A fiber that is joined hands over what it still holds.
      join: (mine, joined) => {
        if (joined === mine || joined === undefined) return mine
        return fromArray(
          Array.from(new Set([...toArray(mine).reverse(), ...toArray(joined).reverse()])).filter(isInForce)
        )
      }
    })
)

/** To be run by the fiber that got the lease. */
export const note = (lease: Lease): Effect.Effect<void> => FiberRef.update(holdings, (rest) => push(rest, lease))

/** To be run by that fiber after it gave the lease back: the last that it took, most often. */
export const forget = (lease: Lease): Effect.Effect<void> =>
  FiberRef.update(holdings, (holding) => holding?.lease === lease ? holding.rest : pruned(holding))

/** For a job that is not its caller's alone: what that one holds is not held by the job. */
export const holdingNothing = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.locally(effect, holdings, undefined)

/** The first of the claims that this fiber holds already. */
export const conflict = (
  fiber: Fiber.RuntimeFiber<unknown, unknown>,
  engine: Engine,
  claims: ReadonlyArray<Claim>
): Claim | undefined => {
  for (let at = fiber.getFiberRef(holdings); at !== undefined; at = at.rest) {
    const { lease } = at
    // Of this service, and in force.
    if (engine.keeper.leases.get(lease.token) !== lease) continue
    const found = claims.find(({ key, kind }) => lease.claims.some((held) => held.kind === kind && held.key === key))
    if (found !== undefined) return found
  }
  return undefined
}
