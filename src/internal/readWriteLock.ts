/** Read-write locks: a semaphore of very many permits. A reader takes one, a writer takes all. */
import * as Effect from "effect/Effect"
import * as Inspectable from "effect/Inspectable"
import type { InvalidKeyError, LockAcquisitionError } from "../DlockError.js"
import type * as Lock from "../Lock.js"
import type * as ReadWriteLock from "../ReadWriteLock.js"
import * as CallSite from "./callSite.js"
import * as Key from "./key.js"
import { LockImpl, WriteLockImpl } from "./lock.js"
import type { Asked, Env } from "./locks.js"
import { goOnInside, guarded, requestOf, scoped, span } from "./locks.js"
import { permitsMax } from "./options.js"

export const make = (
  env: Env,
  key: string,
  options: Lock.Options | undefined
): Effect.Effect<ReadWriteLock.ReadWriteLock, InvalidKeyError> =>
  Effect.map(Effect.fromResult(Key.validate(key)), (key) => new ReadWriteLockImpl(env, key, options))

// Getters, because that is when it is known who calls.
class ReadWriteLockImpl extends Inspectable.Class implements ReadWriteLock.ReadWriteLock {
  // Private at run time too: what is printed must not show the service, with the tokens of others in it (R19).
  readonly #env: Env
  readonly #toRead: Effect.Effect<Asked<LockAcquisitionError>>
  readonly #toWrite: Effect.Effect<Asked<LockAcquisitionError>>

  constructor(env: Env, readonly key: string, options: Lock.Options | undefined) {
    super()
    const asked = (permits: number) =>
      // The key has just been looked at.
      Effect.orDie(requestOf(env, { kind: "readWriteLock", key, permits, limit: permitsMax }, options, true))
    this.#env = env
    this.#toRead = asked(1)
    this.#toWrite = asked(permitsMax)
  }

  toJSON(): unknown {
    return { _id: "effect-dlock/ReadWriteLock", key: this.key }
  }

  get read(): ReadWriteLock.ReadWriteLock["read"] {
    return Effect.flatMap(this.#toRead, (asked) => scoped(this.#env, asked, LockImpl)).pipe(
      span("readWriteLock.read", this.key),
      goOnInside(this.#env),
      CallSite.at("readWriteLock.read", CallSite.here())
    )
  }

  get write(): ReadWriteLock.ReadWriteLock["write"] {
    return Effect.flatMap(this.#toWrite, (asked) => scoped(this.#env, asked, WriteLockImpl)).pipe(
      span("readWriteLock.write", this.key),
      goOnInside(this.#env),
      CallSite.at("readWriteLock.write", CallSite.here())
    )
  }

  get withRead(): ReadWriteLock.ReadWriteLock["withRead"] {
    const site = CallSite.here()
    return (body) =>
      Effect.flatMap(this.#toRead, (asked) => guarded(this.#env, asked, body, LockImpl)).pipe(
        span("readWriteLock.withRead", this.key),
        CallSite.at("readWriteLock.withRead", site)
      )
  }

  get withWrite(): ReadWriteLock.ReadWriteLock["withWrite"] {
    const site = CallSite.here()
    return (body) =>
      Effect.flatMap(this.#toWrite, (asked) => guarded(this.#env, asked, body, WriteLockImpl)).pipe(
        span("readWriteLock.withWrite", this.key),
        CallSite.at("readWriteLock.withWrite", site)
      )
  }
}
