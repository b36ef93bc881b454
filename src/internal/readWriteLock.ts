/** Read-write locks: a semaphore of very many permits. A reader takes one, a writer takes all. */
import * as Effect from "effect/Effect"
import type { InvalidKeyError } from "../DlockError.js"
import type * as Lock from "../Lock.js"
import type * as ReadWriteLock from "../ReadWriteLock.js"
import * as Key from "./key.js"
import { LockImpl, WriteLockImpl } from "./lock.js"
import type { Env } from "./locks.js"
import { goOnInside, guarded, requestOf, scoped, span } from "./locks.js"
import { permitsMax } from "./options.js"

export const make = (
  env: Env,
  key: string,
  options: Lock.Options | undefined
): Effect.Effect<ReadWriteLock.ReadWriteLock, InvalidKeyError> =>
  Effect.map(Key.validate(key), (key) => {
    const request = (permits: number) =>
      // The key has just been looked at.
      Effect.catchTag(
        requestOf(env, { kind: "readWriteLock", key, permits, limit: permitsMax }, options, true),
        "InvalidKeyError",
        Effect.die
      )
    const read = request(1)
    const write = request(permitsMax)
    return {
      key,
      read: Effect.flatMap(read, (read) => scoped(env, read, LockImpl))
        .pipe(
          span("readWriteLock.read", key),
          goOnInside(env)
        ),
      write: Effect.flatMap(write, (write) => scoped(env, write, WriteLockImpl))
        .pipe(span("readWriteLock.write", key), goOnInside(env)),
      withRead: (body) =>
        Effect.flatMap(read, (read) => guarded(env, read, body, LockImpl)).pipe(span("readWriteLock.withRead", key)),
      withWrite: (body) =>
        Effect.flatMap(write, (write) => guarded(env, write, body, WriteLockImpl)).pipe(
          span("readWriteLock.withWrite", key)
        )
    }
  })
