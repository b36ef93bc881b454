/** What a person is told: by an error that is printed or logged, and by a handle that is. */
import * as TestEdition from "#test-edition"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as fs from "node:fs"
import { inspect } from "node:util"
import { Dlock, DlockError } from "../../src/index.js"
import * as CallSite from "../../src/internal/callSite.js"

const thisFile = "errors.test.ts"
const lines = fs.readFileSync(new URL(import.meta.url), "utf8").split("\n")

const causeOf = <E, R>(effect: Effect.Effect<unknown, E, R>): Effect.Effect<Cause.Cause<E>, never, R> =>
  Effect.map(Effect.exit(effect), (exit) => Exit.isFailure(exit) ? exit.cause : Cause.empty)

const framesOf = (text: string): ReadonlyArray<string> => text.split("\n").filter((line) => /^ +at /.test(line))

const semaphore = Dlock.semaphore("s", { permits: 1 })
const both = Dlock.readWriteLock("held", { wait: 10 })
const released = Effect.tap(Dlock.once("free"), (lock) => lock.release)

const calls: Record<string, Effect.Effect<unknown, unknown, Dlock.Dlock | Scope.Scope>> = {
  "Dlock.once": Dlock.once("held"),
  "Dlock.lock": Dlock.lock("held", { wait: 10 }),
  "Dlock.multi": Dlock.multi("held", "other"),
  "Dlock.withLock": Effect.void.pipe(Dlock.withLock("held", { wait: 10 })),
  "Dlock.withLockIfAvailable": Dlock.withLockIfAvailable(Effect.void, ""),
  "Dlock.withMulti": Dlock.withMulti(Effect.void, ["held"], { wait: 0 }),
  "Dlock.singleton": Effect.void.pipe(Dlock.singleton("held", { wait: 0 })),
  "Dlock.semaphore": Dlock.semaphore(""),
  "Dlock.readWriteLock": Dlock.readWriteLock(""),
  "Dlock.inspect": Dlock.inspect(""),
  "Dlock.askRelease": Dlock.askRelease(""),
  "Dlock.forceRelease": Dlock.forceRelease(""),
  "Dlock.fanout": Dlock.fanout("", Effect.void),
  "semaphore.take": Effect.flatMap(semaphore, (semaphore) => semaphore.take(2)),
  "semaphore.tryTake": Effect.flatMap(semaphore, (semaphore) => semaphore.tryTake(2)),
  "semaphore.withPermits": Effect.flatMap(semaphore, (semaphore) => Effect.void.pipe(semaphore.withPermits(2))),
  "semaphore.withPermitsIfAvailable": Effect.flatMap(semaphore, (s) => s.withPermitsIfAvailable(2)(Effect.void)),
  "readWriteLock.read": Effect.flatMap(both, (both) => both.read),
  "readWriteLock.write": Effect.flatMap(both, (both) => both.write),
  "readWriteLock.withRead": Effect.flatMap(both, (both) => Effect.void.pipe(both.withRead)),
  "readWriteLock.withWrite": Effect.flatMap(both, (both) => Effect.void.pipe(both.withWrite)),
  "lock.check": Effect.flatMap(released, (lock) => lock.check),
  "lock.lost": Effect.flatMap(released, (lock) => lock.lost),
  "lock.extend": Effect.flatMap(released, (lock) => lock.extend()),
  "lock.guard": Effect.flatMap(released, (lock) => Effect.void.pipe(lock.guard))
}

/** Somebody else has it, in every way. */
const heldElsewhere = Effect.gen(function*() {
  const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
  yield* Scope.provide(Dlock.once("held", { metadata: "host-1" }), scope)
  yield* Scope.provide(Effect.flatMap(Dlock.readWriteLock("held"), (both) => both.write), scope)
})

const run = <A, E>(effect: Effect.Effect<A, E, Dlock.Dlock | Scope.Scope>): Effect.Effect<A, unknown> =>
  Effect.andThen(heldElsewhere, effect).pipe(Effect.scoped, Effect.provide(Dlock.layerMemory))

describe("an error shows the line of the call that it comes from, and no line of this library", () => {
  for (const [name, call] of Object.entries(calls)) {
    it.live(name, () =>
      Effect.gen(function*() {
        CallSite.refill({ now: () => Infinity })
        const cause = yield* causeOf(call)
        const error = Cause.squash(cause)
        assert.instanceOf(error, Error)
        for (const printed of [Cause.pretty(cause), inspect(error), `${(error as Error).stack}`]) {
          const [frame = "", ...others] = framesOf(printed)
          assert.deepStrictEqual(others, [], printed)
          const [, file = "", line = ""] = new RegExp(`at ${name} \\(.*?([^/]+):(\\d+):\\d+\\)`).exec(frame) ?? []
          assert.strictEqual(file, thisFile, printed)
          const word = name.slice(name.indexOf(".") + 1)
          assert.include(lines[Number(line) - 1], word)
        }
      }).pipe(run))
  }
})

describe("what an error shows", () => {
  it.live("is the call that failed, when that is inside of another", () =>
    Effect.gen(function*() {
      const cause = yield* causeOf(Dlock.withLock(Dlock.withLock(Effect.scoped(Dlock.once("held")), "a"), "b"))
      assert.deepStrictEqual(framesOf(Cause.pretty(cause)).map((frame) => frame.split(" (")[0]), ["    at Dlock.once"])
    }).pipe(run))

  it.live("is the line of an option that is a mistake", () =>
    Effect.gen(function*() {
      const cause = yield* causeOf(Dlock.withLock(Effect.void, "a", { ttl: 1 }))
      assert.match(
        Cause.pretty(cause),
        /^TypeError: effect-dlock: option `ttl`.*\n {4}at Dlock\.withLock \(.*errors\.test\.ts/
      )
    }).pipe(run))

  it.live("is the caller's own spans, too, whatever error it is", () =>
    Effect.gen(function*() {
      const charge = Effect.fn("charge")(function*() {
        yield* Effect.scoped(Dlock.once("held"))
      })
      assert.match(Cause.pretty(yield* causeOf(charge())), /at Dlock\.once \(.*\n {4}at charge \(.*errors\.test\.ts/)
      const down = Dlock.layerRedis({ url: "redis://127.0.0.1:1", commandTimeout: 50 })
      const cause = yield* causeOf(charge().pipe(Effect.provide(down), TestEdition.silent))
      assert.match(Cause.pretty(cause), /^BackendError.*\n {4}at Dlock\.once \(.*\n {4}at charge \(.*errors\.test\.ts/)
      assert.lengthOf(framesOf(inspect(Cause.squash(cause))), 1, "nor have the causes frames of this library")
    }).pipe(run))

  it.live("is nothing of one caller to another that shares it", () =>
    Effect.gen(function*() {
      const job = Effect.delay(Effect.succeed(NaN), 20)
      const ask = Dlock.fanout("shared", job)
      const [one, two] = yield* Effect.all([causeOf(ask), causeOf(Dlock.fanout("shared", job))], { concurrency: 2 })
      for (const cause of [one, two]) {
        assert.instanceOf(Cause.squash(cause), DlockError.FanoutError)
        assert.deepStrictEqual(framesOf(Cause.pretty(cause)), [])
      }
    }).pipe(run))

  it.live("is looked for by all calls of a program that is not busy, and by few of one that is", () =>
    Effect.gen(function*() {
      const { captureStackTrace } = Error
      let looked = 0
      Error.captureStackTrace = (target, from) => {
        looked++
        captureStackTrace(target, from)
      }
      const call = Effect.suspend(() => Effect.scoped(Dlock.once("busy")))
      const started = performance.now()
      yield* Effect.repeat(call, { times: 5_000 })
      const millis = performance.now() - started
      const busy = looked
      yield* Effect.sleep(20)
      yield* call
      looked = 0
      for (let i = 0; i < 10; i++) yield* Effect.andThen(call, Effect.sleep(2))
      Error.captureStackTrace = captureStackTrace
      // What was left, what has come since it was last filled, and one for each millisecond.
      assert.isAtMost(busy, 200 + millis)
      assert.strictEqual(looked, 10)
    }).pipe(run))
})

describe("logged as a value, an error tells its message first", () => {
  const holder = new DlockError.LockAcquisitionError({
    key: "k",
    reason: "Held",
    waited: Duration.zero,
    holder: "host-1"
  })
  const errors = [
    holder,
    new DlockError.MultiLockError({ keys: ["k", "l"], failed: [holder] }),
    new DlockError.LockLostError({ keys: ["k"], reason: "MaxHold", fencingToken: 1 }),
    new DlockError.BackendError({
      operation: "once",
      reason: "Refused",
      outcome: "NotApplied",
      cause: new Error("NOPERM")
    }),
    new DlockError.InvalidKeyError({ key: "", reason: "Empty" }),
    new DlockError.FanoutError({ id: "k", reason: "TooLarge", cause: new RangeError("5 bytes") })
  ]
  for (const error of errors) {
    it.effect(error._tag, () =>
      Effect.gen(function*() {
        const { message, ...fields } = JSON.parse(JSON.stringify(error)) as Record<string, unknown>
        assert.strictEqual(Object.keys(JSON.parse(JSON.stringify(error)) as object)[0], "message")
        assert.strictEqual(message, error.message)
        assert.strictEqual(fields["_tag"], error._tag)
        if ("cause" in error) {
          const { message, name } = error.cause as Error
          assert.deepStrictEqual(fields["cause"], { name, message })
        }
        const written: Array<string> = []
        yield* Effect.logError("it failed", { error }).pipe(TestEdition.loggedAsJson((line) => void written.push(line)))
        assert.include(written[0], JSON.stringify(error.message))
      }))
  }
})

describe("a message", () => {
  it.live("gives no advice that does not fit the call", () =>
    Effect.forEach(
      [calls["Dlock.withMulti"]!, calls["Dlock.singleton"]!, calls["Dlock.once"]!],
      (call) =>
        Effect.map(causeOf(call), (cause) => {
          const { message } = Cause.squash(cause) as Error
          assert.match(message, /"held" is held by host-1, for at most .* if not renewed\. Try again later\.$/)
        })
    ).pipe(run))

  it.live("of several keys names each that stood in the way, and says once what to do", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      yield* Scope.provide(Dlock.once("too"), scope)
      const { message } = Cause.squash(yield* causeOf(Dlock.multi("free", "held", "too"))) as Error
      assert.match(
        message,
        /^None of 3 keys was acquired\. "held" is held by host-1, [^.]*\. "too" is held, [^.]*\. Try again later\.$/
      )
      yield* Scope.close(scope, Exit.void)
    }).pipe(run))
})

describe("a printed handle", () => {
  it.live("shows its key, and no token", () =>
    Effect.gen(function*() {
      const [semaphore, both] = yield* Effect.all([Dlock.semaphore("printed"), Dlock.readWriteLock("printed")])
      const locks = [
        yield* Dlock.once("printed"),
        yield* semaphore.take(),
        yield* both.write
      ]
      const multi = yield* Dlock.multi("printed too")
      const tokens = locks.map((lock) => lock.token)
      for (const handle of [...locks, multi, semaphore, both]) {
        for (const printed of [inspect(handle, { depth: 9 }), String(handle), JSON.stringify(handle), `${handle}`]) {
          assert.include(printed, "printed")
          for (const token of tokens) assert.notInclude(printed, token)
        }
      }
      for (const lock of locks) assert.include(String(lock), String(lock.fencingToken))
    }).pipe(run))

  it.live("nor does a context that was captured under a lock", () =>
    Dlock.withLock(
      (lock) =>
        Effect.map(Effect.context<never>(), (context) => {
          for (const printed of [inspect(context, { depth: 9, showHidden: true }), JSON.stringify(context)]) {
            assert.notInclude(printed, lock.token)
          }
        }),
      "k"
    ).pipe(run))
})
