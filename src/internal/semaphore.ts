/** Semaphores: leases on some of the permits of a key. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Inspectable from "effect/Inspectable"
import * as Result from "effect/Result"
import type { InvalidKeyError, LockAcquisitionError } from "../DlockError.js"
import type * as Semaphore from "../Semaphore.js"
import * as CallSite from "./callSite.js"
import * as Errors from "./engine/errors.js"
import * as Key from "./key.js"
import { LockImpl } from "./lock.js"
import type { Asked, Env } from "./locks.js"
import { goOnInside, guarded, guardedIfAvailable, orDie, requestOf, scoped, span } from "./locks.js"
import { permits as decodePermits } from "./options.js"
import type { Claim } from "./store.js"

export const make = (
  env: Env,
  key: string,
  options: Semaphore.Options | undefined
): Effect.Effect<Semaphore.Semaphore, InvalidKeyError> =>
  Effect.zipWith(
    orDie(decodePermits(options?.permits ?? 1)),
    Effect.fromResult(Key.validate(key)),
    (permits, key) => new SemaphoreImpl(env, key, permits, options)
  )

class SemaphoreImpl extends Inspectable.Class implements Semaphore.Semaphore {
  // Private at run time too: what is printed must not show the service, with the tokens of others in it (R19).
  readonly #env: Env
  readonly #options: Semaphore.Options | undefined

  constructor(env: Env, readonly key: string, readonly permits: number, options: Semaphore.Options | undefined) {
    super()
    this.#env = env
    this.#options = options
  }

  toJSON(): unknown {
    return { _id: "effect-dlock/Semaphore", key: this.key, permits: this.permits }
  }

  #asked(permits: number, waits: boolean): Effect.Effect<Asked<LockAcquisitionError>, LockAcquisitionError> {
    const decoded = decodePermits(permits)
    if (Result.isFailure(decoded)) return Effect.die(decoded.failure)
    if (permits > this.permits) {
      return Effect.fail(Errors.overLimit(this.key, this.permits, permits, Duration.zero))
    }
    const claim: Claim = { kind: "semaphore", key: this.key, permits, limit: this.permits }
    // The key was looked at when the semaphore was made.
    return Effect.catchTag(requestOf(this.#env, claim, this.#options, waits), "InvalidKeyError", Effect.die)
  }

  #take(permits: number, waits: boolean) {
    return Effect.flatMap(
      this.#asked(permits, waits),
      (asked) => scoped(this.#env, asked, LockImpl)
    )
  }

  get take(): Semaphore.Semaphore["take"] {
    return (permits = 1) =>
      this.#take(permits, true).pipe(
        span("semaphore.take", this.key),
        goOnInside(this.#env),
        CallSite.at("semaphore.take", CallSite.here())
      )
  }

  get tryTake(): Semaphore.Semaphore["tryTake"] {
    return (permits = 1) =>
      Effect.asSome(this.#take(permits, false).pipe(goOnInside(this.#env))).pipe(
        // Taken by others is no failure of what only tries.
        Effect.catchIf(
          (error) => error._tag === "LockAcquisitionError" && error.reason === "Held",
          () => Effect.succeedNone
        ),
        span("semaphore.tryTake", this.key),
        CallSite.at("semaphore.tryTake", CallSite.here())
      )
  }

  get withPermits(): Semaphore.Semaphore["withPermits"] {
    return (permits) => {
      const site = CallSite.here()
      return (body) =>
        Effect.flatMap(this.#asked(permits, true), (asked) => guarded(this.#env, asked, body, LockImpl)).pipe(
          span("semaphore.withPermits", this.key),
          CallSite.at("semaphore.withPermits", site)
        )
    }
  }

  get withPermitsIfAvailable(): Semaphore.Semaphore["withPermitsIfAvailable"] {
    return (permits) => {
      const site = CallSite.here()
      return (body) =>
        Effect.flatMap(
          this.#asked(permits, false),
          (asked) => guardedIfAvailable(this.#env, asked, body, LockImpl)
        ).pipe(
          span("semaphore.withPermitsIfAvailable", this.key),
          CallSite.at("semaphore.withPermitsIfAvailable", site)
        )
    }
  }

  get available(): Semaphore.Semaphore["available"] {
    return Effect.map(
      this.#env.engine.store.inspect({ kind: "semaphore", key: this.key }),
      ({ limit, used, waiting }) =>
        used === 0 && waiting === 0 ? this.permits : waiting > 0 ? 0 : Math.max(0, limit - used)
    ).pipe(span("semaphore.available", this.key), CallSite.at("semaphore.available", CallSite.here()))
  }
}
