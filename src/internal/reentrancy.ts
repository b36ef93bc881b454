/**
 * What a fiber holds, and the fibers that it comes from: waiting for one of these again would wait for itself. Leases that
 * have ended are ignored, so nothing depends on a fiber hearing of its release.
 */
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import { globalValue } from "effect/GlobalValue"
import type { Engine } from "./engine/engine.js"
import type { Lease } from "./engine/lease.js"
import type { Claim } from "./store.js"

interface Holding {
  readonly engine: Engine
  readonly lease: Lease
}

const isInForce = ({ lease }: Holding): boolean => lease.state._tag !== "Ended"

const holdings = globalValue(
  Symbol.for("effect-dlock/holdings"),
  () =>
    FiberRef.unsafeMake<ReadonlyArray<Holding>>([], {
      // A fiber that is joined hands over what it still holds.
      join: (mine, joined) => [...mine, ...joined.filter((holding) => !mine.includes(holding))].filter(isInForce)
    })
)

/** To be run by the fiber that got the lease. */
export const note = (engine: Engine, lease: Lease): Effect.Effect<void> =>
  FiberRef.update(holdings, (all) => [...all.filter(isInForce), { engine, lease }])

/** To be run by that fiber after it gave the lease back. */
export const forget: Effect.Effect<void> = FiberRef.update(holdings, (all) => all.filter(isInForce))

/** The first of the claims that this fiber holds already. */
export const conflict = (engine: Engine, claims: ReadonlyArray<Claim>): Effect.Effect<Claim | undefined> =>
  Effect.map(FiberRef.get(holdings), (all) => {
    const mine = all.filter((holding) => holding.engine === engine && isInForce(holding))
    return claims.find(({ key, kind }) =>
      mine.some(({ lease }) => lease.terms.claims.some((held) => held.kind === kind && held.key === key))
    )
  })
