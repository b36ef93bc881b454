/**
 * What is held around a call: a call that waits for one of these would wait for itself.
 *
 * Two carriers tell. The context has what is held around the code that it is given to: the body of a `with…` form or of
 * `guard`, and what a fiber goes on to do after it took something for its scope; whatever is forked there inherits it.
 * The scope has what was taken for it, also by fibers that have ended since (`Effect.all`), whose context nobody sees.
 */
import * as Edition from "#edition"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import type { Lease } from "./engine/lease.js"
import type { Claim } from "./store.js"

/** Where leases are kept. Two services with the same realm wait for each other. */
export type Realm = string | object

const pruneAtMin = 32

/**
 * A list, so that taking a lock costs the same however many are held. Leases that have ended are ignored, so nothing
 * depends on anybody hearing of a release; they are taken out when the list has doubled.
 */
class Holds {
  // Private at run time too: a printed context must not show the tokens of what is held (R19).
  readonly #lease: Lease
  readonly #realm: Realm
  /** Who took it for a scope. */
  readonly #by: Edition.AnyFiber | undefined
  readonly #rest: Holds | undefined
  readonly #length: number
  /** The length at which to take out what has ended. */
  readonly #pruneAt: number

  private constructor(
    lease: Lease,
    realm: Realm,
    by: Edition.AnyFiber | undefined,
    rest: Holds | undefined,
    pruneAt = rest === undefined ? pruneAtMin : rest.#pruneAt
  ) {
    this.#lease = lease
    this.#realm = realm
    this.#by = by
    this.#rest = rest
    this.#length = rest === undefined ? 1 : rest.#length + 1
    this.#pruneAt = pruneAt
  }

  get #isInForce(): boolean {
    return this.#lease.state._tag !== "Ended"
  }

  static push(all: Holds | undefined, lease: Lease, realm: Realm, by?: Edition.AnyFiber): Holds {
    let rest = all
    // Whoever takes one lock after the other keeps only the last of them.
    while (rest !== undefined && !rest.#isInForce) rest = rest.#rest
    return new Holds(lease, realm, by, rest !== undefined && rest.#length >= rest.#pruneAt ? Holds.#prune(rest) : rest)
  }

  static #prune(all: Holds): Holds | undefined {
    const left: Array<Holds> = []
    for (let at: Holds | undefined = all; at !== undefined; at = at.#rest) if (at.#isInForce) left.push(at)
    const pruneAt = Math.max(pruneAtMin, 2 * left.length)
    return left.reduceRight<Holds | undefined>(
      (rest, hold) => new Holds(hold.#lease, hold.#realm, hold.#by, rest, pruneAt),
      undefined
    )
  }

  /** The first of the claims that is held by one that counts. */
  static find(
    all: Holds | undefined,
    realm: Realm,
    claims: ReadonlyArray<Claim>,
    counts: (by: Edition.AnyFiber | undefined) => boolean
  ): Claim | undefined {
    for (let at = all; at !== undefined; at = at.#rest) {
      if (at.#realm !== realm || !at.#isInForce || !counts(at.#by)) continue
      const held = at.#lease.claims
      const found = claims.find(({ key, kind }) => held.some((one) => one.kind === kind && one.key === key))
      if (found !== undefined) return found
    }
    return undefined
  }
}

/** Of this copy of the library: a program may have loaded another as well, whose holds are not for this one to read. */
const Around = Context.Reference<unknown>("effect-dlock/Around", { defaultValue: () => undefined })

const around = (context: Context.Context<never>): Holds | undefined => {
  const holds = Context.get(context, Around)
  return holds instanceof Holds ? holds : undefined
}

const takenFor = new WeakMap<Scope.Scope, Holds>()

/** What the effect forks is inside the hold. */
export const forkInside = <A, E, R>(
  fork: Effect.Effect<A, E, R>,
  realm: Realm,
  lease: Lease
): Effect.Effect<A, E, R> =>
  Effect.withFiber((fiber) =>
    Effect.provideService(fork, Around, Holds.push(around(Edition.contextOf(fiber)), lease, realm))
  )

/** The rest of what the fiber does is inside the hold, until the end of what has provided its scope. */
export const goOnInside = (realm: Realm, lease: Lease): Effect.Effect<void> =>
  Effect.withFiber((fiber) => {
    const context = Edition.contextOf(fiber)
    return Edition.goOnWith(fiber, Context.add(context, Around, Holds.push(around(context), lease, realm)))
  })

/** The fiber has taken it for the scope. */
export const note = (scope: Scope.Scope, fiber: Edition.AnyFiber, realm: Realm, lease: Lease): void =>
  void takenFor.set(scope, Holds.push(takenFor.get(scope), lease, realm, fiber))

/** For what others share: it is inside nothing that its first caller holds. */
export const holdingNothing = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.provideService(effect, Around, undefined)

/** The first of the claims that is held around what the fiber does. */
export const conflict = (
  fiber: Edition.AnyFiber,
  realm: Realm,
  claims: ReadonlyArray<Claim>
): Claim | undefined => {
  const context = Edition.contextOf(fiber)
  const found = Holds.find(around(context), realm, claims, () => true)
  if (found !== undefined) return found
  const scope = Context.getOption(context, Scope.Scope)
  return Option.isNone(scope) ? undefined : Holds.find(
    takenFor.get(scope.value),
    realm,
    claims,
    // What another fiber took there that still runs, it may give back by itself.
    (by) => by === fiber || by === undefined || Edition.hasEnded(by)
  )
}
