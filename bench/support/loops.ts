/** The work of a contender made of the one thing that it does: taking a lock and giving it back. */
import type * as EffectModule from "effect/Effect"
import type * as Scope from "effect/Scope"
import { setTimeout as sleep } from "node:timers/promises"
import { monotonicMicros } from "../../test/support/workers.js"
import type { Contention, Cycles, Multi, Session } from "../contender.js"

const indices = (count: number): ReadonlyArray<number> => Array.from({ length: count }, (_, i) => i)

/** Resolves with what gives it back. */
export type Take = (key: string, waiter: number) => Promise<() => unknown>

export const cycles = (take: Take) => ({ body, keys, times }: Cycles): Promise<unknown> =>
  Promise.all(keys.map(async (key, waiter) => {
    for (let i = 0; i < times; i++) {
      const release = await take(key, waiter)
      body()
      await release()
    }
  }))

export const multis =
  (take: (keys: ReadonlyArray<string>) => Promise<() => unknown>) =>
  async ({ body, keys, times }: Multi): Promise<void> => {
    for (let i = 0; i < times; i++) {
      const release = await take(keys)
      body()
      await release()
    }
  }

export const contentions =
  (take: Take) => ({ again, holdMillis, key, record, waiters }: Contention): Promise<unknown> =>
    Promise.all(
      indices(waiters).map(async (waiter) => {
        do {
          const askedAt = monotonicMicros()
          const release = await take(key, waiter)
          const enteredAt = monotonicMicros()
          if (holdMillis > 0) await sleep(holdMillis)
          record({ waiter, fence: undefined, askedAt, enteredAt, leftAt: monotonicMicros() })
          await release()
        } while (again())
      })
    )

/** Of the copy of Effect that a contender uses: there are two. */
export type Effects = typeof EffectModule
type Effect<A, R = never> = EffectModule.Effect<A, unknown, R>

export const effectCycles =
  <R>(E: Effects, take: (key: string) => Effect<unknown, R | Scope.Scope>) =>
  ({ body, keys, times }: Cycles): Effect<unknown, Exclude<R, Scope.Scope>> =>
    E.forEach(keys, (key) => E.repeat(E.scoped(E.map(take(key), body)), { times: times - 1 }), {
      concurrency: "unbounded",
      discard: true
    })

export const effectContentions = <R>(
  E: Effects,
  take: (key: string) => Effect<{ readonly fence: number | undefined }, R | Scope.Scope>
) =>
({ again, holdMillis, key, record, waiters }: Contention): Effect<unknown, Exclude<R, Scope.Scope>> => {
  const hold = holdMillis > 0 ? E.sleep(holdMillis) : E.void
  const turn = (waiter: number) =>
    E.suspend(() => {
      const askedAt = monotonicMicros()
      return E.scoped(E.flatMap(take(key), ({ fence }) => {
        const enteredAt = monotonicMicros()
        return E.map(hold, () => record({ waiter, fence, askedAt, enteredAt, leftAt: monotonicMicros() }))
      }))
    })
  return E.forEach(indices(waiters), (waiter) => E.repeat(turn(waiter), { while: again }), {
    concurrency: "unbounded",
    discard: true
  })
}

/**
 * Each caller is a fiber of its own, as each request is that comes to a server. `Effect.forEach` would fork them as children
 * that it watches over, which costs more than ten times what a fiber costs, and all that a fanout does is lost beside it.
 */
export const fiberEach = <R>(
  fork: (effect: EffectModule.Effect<void, never, R>) => { readonly addObserver: (onEnd: () => void) => void },
  effects: ReadonlyArray<EffectModule.Effect<void, never, R>>
): Promise<void> =>
  new Promise((resolve) => {
    let running = effects.length
    for (const effect of effects) {
      fork(effect).addObserver(() => {
        if (--running === 0) resolve()
      })
    }
  })

/** Resolves with what the flight of the id came to. */
export type Ask = (id: string, job: () => Promise<string>) => Promise<string>

/** Those who ask while a flight of the id is under way share its promise. */
export const sharing = (fly: Ask): Ask => {
  const flights = new Map<string, Promise<string>>()
  return (id, job) => {
    const flight = flights.get(id) ?? fly(id, job).finally(() => flights.delete(id))
    flights.set(id, flight)
    return flight
  }
}

/** Each caller is a promise. */
export const flown = (ask: Ask): NonNullable<Session["fanout"]> => ({ callers, ids, job, landed }) =>
  Promise.all(ids.flatMap((id) => Array.from({ length: callers }, () => ask(id, () => job(id)).then(landed))))

/** Each caller is a fiber. */
export const effectFlown = (E: Effects, ask: Ask): NonNullable<Session["fanout"]> => ({ callers, ids, job, landed }) =>
  fiberEach(
    E.runFork,
    ids.flatMap((id) => Array.from({ length: callers }, () => E.map(E.promise(() => ask(id, () => job(id))), landed)))
  )
