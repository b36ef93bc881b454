/** The `Lock` handle: a lease seen through its engine. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { BackendError, LockLostError } from "../DlockError.js"
import type * as Lock from "../Lock.js"
import type { Engine } from "./engine/engine.js"
import type { Lease } from "./engine/lease.js"
import { positiveMillis } from "./options.js"

export class LockImpl implements Lock.Lock {
  constructor(readonly engine: Engine, readonly lease: Lease, readonly fencingToken: number) {}

  get key(): string {
    return this.lease.terms.claims[0]?.key ?? ""
  }

  get token(): string {
    return this.lease.token
  }

  get remaining(): Effect.Effect<Duration.Duration> {
    return Effect.match(this.engine.remaining(this.lease), {
      onFailure: () => Duration.zero,
      onSuccess: Duration.millis
    })
  }

  get release(): Effect.Effect<void, BackendError> {
    return this.engine.release(this.lease)
  }

  get check(): Effect.Effect<void, LockLostError> {
    return Effect.asVoid(this.engine.remaining(this.lease))
  }

  get lost(): Effect.Effect<never, LockLostError> {
    return this.engine.lost(this.lease)
  }

  extend = (ttl?: Duration.DurationInput): Effect.Effect<void, LockLostError | BackendError> =>
    Effect.flatMap(
      ttl === undefined ? Effect.succeed(this.lease.terms.ttlMillis) : positiveMillis("ttl", ttl),
      (ttlMillis) => this.engine.extend(this.lease, ttlMillis)
    )

  guard = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | LockLostError, R> =>
    guard(this.engine, this.lease, effect)
}

/** The check comes last: an effect that blocked the event loop past the deadline ends before any timer can fire. */
export const guard = <A, E, R>(
  engine: Engine,
  lease: Lease,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E | LockLostError, R> =>
  Effect.zipLeft(Effect.raceFirst(effect, engine.lost(lease)), engine.remaining(lease))
