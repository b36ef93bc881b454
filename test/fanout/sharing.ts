/** Who gets which outcome: one run for many, in all processes. */
import * as TestEdition from "#test-edition"
import { assert, describe } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { runInNewContext } from "node:vm"
import { Dlock } from "../../src/index.js"
import type { Process, World } from "../dlock/world.js"
import { newKey } from "../dlock/world.js"

/** A job that a test holds in its hands. */
export const makeJob = <A, E = never>() => {
  const started = Effect.runSync(Deferred.make<void>())
  const outcome = Effect.runSync(Deferred.make<A, E>())
  let runs = 0
  let running = 0
  let most = 0
  let interrupted = 0
  const effect: Effect.Effect<A, E> = Effect.suspend(() => {
    runs++
    most = Math.max(most, ++running)
    return Effect.andThen(Deferred.succeed(started, undefined), Deferred.await(outcome))
  }).pipe(
    Effect.onInterrupt(() => Effect.sync(() => interrupted++)),
    Effect.ensuring(Effect.sync(() => running--))
  )
  return {
    effect,
    outcome,
    started: Deferred.await(started),
    runs: () => runs,
    /** How many ran at one time at most. */
    most: () => most,
    interrupted: () => interrupted
  }
}

/** Lets every fiber of this process and of a real server get as far as it can without time. */
export const settle = (world: World): Effect.Effect<unknown> =>
  world.name === "Redis" ? Effect.sleep(60) : Effect.repeat(Effect.yieldNow, { times: 200 })

class Sold extends Schema.TaggedError<Sold>()("Sold", { left: Schema.Number, at: Schema.Date }) {
  get words() {
    return `${this.left} left`
  }
}

const TypeId: unique symbol = Symbol.for("test/TypeId")
class Refused extends Data.TaggedError("Refused")<{ by: string; photo?: Uint8Array; cause?: Error }> {
  readonly [TypeId] = "test/TypeId"
}

class Missing extends Data.TaggedError("Missing")<{ readonly message: string }> {}

class Point {
  constructor(readonly x: number, readonly y: number) {}
}

class Square extends Point {
  get area() {
    return this.x * this.y
  }
}

/** As database drivers give them. */
class Rows extends Array<{ readonly id: number }> {
  declare readonly command: string
  constructor(...rows: ReadonlyArray<{ readonly id: number }>) {
    super(...rows)
    Object.defineProperty(this, "command", { value: "SELECT", enumerable: false })
  }
}

type Search = Data.TaggedEnum<{ Found: { readonly name: string } }>
const { Found } = Data.taggedEnum<Search>()

class User extends Schema.Class<User>("User")({ name: Schema.String }) {}

const changedByJson = (): ReadonlyArray<readonly [words: string, value: unknown]> => {
  const circular: { self?: unknown } = {}
  circular.self = { list: [circular] }
  const deep = Array.from({ length: 100_000 }).reduce<unknown>((inner) => [inner], 1)
  const match = /b/.exec("abc")
  return [
    ["$ is a bigint", 1n],
    ["$ is NaN", NaN],
    ["$.a[1] is Infinity", { a: [0, Infinity] }],
    ["$ is a function", () => 1],
    ["$[\"the word\"] is a symbol", { "the word": Symbol.iterator }],
    ["$.self.list[0] is an object that contains it", circular],
    ["$[1] is undefined in an array", [1, undefined]],
    ["$[0] is undefined in an array", Array(1)],
    ["$ has properties beside its elements", match],
    ["$ has properties that are symbols", { [Symbol.iterator]: 1 }],
    ["$ has properties that are symbols or not enumerable", Object.defineProperty({}, "hidden", { value: 1 })],
    ["$.at is an instance of Date", { at: new Date(0) }],
    ["$ is an instance of Map", new Map([[1, 2]])],
    ["$.tags is an instance of Set", { tags: new Set("a") }],
    ["$.user.photo is an instance of Uint8Array", { user: { photo: new Uint8Array([1]) } }],
    ["$[0] is an instance of Buffer", [Buffer.from("a")]],
    ["$.found is an object with properties that are not its own", { found: Option.some(1) }],
    ["$ is an object with properties that are not its own", Option.none()],
    ["$ is an object with properties that are not its own", Object.assign(Object.create({ inherited: 1 }), { own: 1 })],
    ["$ is an instance of Error", new Error("no")],
    ["$ is an instance of RegExp", /a/],
    ["$ is an instance of URL", new URL("http://a.example")],
    ["$ is an instance of Square", new Square(1, 2)],
    ["$ is an instance of User", new User({ name: "a" })],
    ["$ is an instance of String", Object("boxed")],
    ["$.toJSON is a function", { toJSON: () => 1 }],
    ["$ is an object with properties that are not its own", Object.create({ inherited: 1 })],
    ["Maximum call stack size exceeded", deep]
  ]
}

const keptByJson = (): ReadonlyArray<unknown> => [
  null,
  true,
  "\ud800 \u2028 \0 \"",
  Number.MIN_VALUE,
  Number.MAX_SAFE_INTEGER,
  [],
  {},
  [[], [{}], null],
  { "": { "\udfff": 1 }, constructor: "x", hasOwnProperty: 1, length: 3 },
  JSON.parse(`{ "__proto__": { "a": 1 } }`),
  {
    get twice() {
      return 2
    }
  },
  Array.from({ length: 2 }).fill(Object.freeze({ shared: 1 }))
]

const Ticket = Schema.Struct({ seat: Schema.Number, at: Schema.Date, tags: Schema.ReadonlySet(Schema.String) })
const schema = { success: Ticket, error: Sold }

export const sharing = (world: World) => {
  const { test } = world
  const two = Effect.gen(function*() {
    const start = yield* world.makeServer
    return [yield* start, yield* start] as const
  })
  const ask = <A, E>(process: Process, id: string, effect: Effect.Effect<A, E>, options?: any) =>
    Effect.forkChild(process.dlock.fanout(id, effect, options))

  describe(`fanout shares outcomes: ${world.name}`, () => {
    test("a job runs once for callers of two processes, and all get its value", () =>
      Effect.gen(function*() {
        const [a, b] = yield* two
        const id = yield* newKey
        const job = makeJob<{ n: number }>()
        const fibers = [
          yield* ask(a, id, job.effect),
          yield* ask(a, id, job.effect),
          ...yield* Effect.tap(Effect.succeed([]), job.started),
          yield* ask(b, id, job.effect),
          yield* ask(b, id, job.effect)
        ]
        yield* settle(world)
        yield* Deferred.succeed(job.outcome, { n: 1 })
        const values = yield* Effect.forEach(fibers, Fiber.join)
        assert.deepStrictEqual(values, Array.from({ length: 4 }, () => ({ n: 1 })))
        assert.strictEqual(job.runs(), 1)
      }))

    test("a call after the end starts a new flight: back to back, nobody gets the previous result", () =>
      Effect.gen(function*() {
        const processes = yield* two
        const id = yield* newKey
        let n = 0
        const job = Effect.sync(() => ++n)
        for (let i = 1; i <= 6; i++) {
          assert.strictEqual(yield* processes[i % 2]!.dlock.fanout(id, job), i)
        }
      }))

    test("a typed failure reaches everybody, as a plain object with its tag when there is no schema", () =>
      Effect.gen(function*() {
        const [a, b] = yield* two
        const id = yield* newKey
        const job = makeJob<number, Sold>()
        const first = yield* ask(a, id, job.effect)
        yield* job.started
        const second = yield* ask(b, id, job.effect)
        yield* settle(world)
        yield* Deferred.fail(job.outcome, new Sold({ left: 0, at: new Date(0) }))
          .pipe(Effect.ignore)
        for (const fiber of [first, second]) {
          const error: any = yield* Effect.flip(Fiber.join(fiber))
          // A Date is no JSON. Types would have said so; here it is told at run time.
          assert.strictEqual(error._tag, "FanoutError")
          assert.strictEqual(error.reason, "Encode")
        }
        const plain = yield* Effect.flip(a.dlock.fanout(id, Effect.fail(new Missing({ message: "none" }))))
        assert.deepStrictEqual({ ...plain as object }, {
          _tag: "Missing",
          name: "Missing",
          message: "none"
        } as never)
        assert.notInstanceOf(plain, Error)
      }))

    test("with a schema values are equal and errors are instances, on leader and followers", () =>
      Effect.gen(function*() {
        const [a, b] = yield* two
        const id = yield* newKey
        const value = { seat: 7, at: new Date(5), tags: new Set(["x"]) }
        const job = makeJob<typeof value, Sold>()
        const first = yield* ask(a, id, job.effect, { schema })
        yield* job.started
        const second = yield* ask(b, id, job.effect, { schema })
        yield* settle(world)
        yield* Deferred.succeed(job.outcome, value)
        assert.deepStrictEqual(yield* Fiber.join(first), value)
        assert.deepStrictEqual(yield* Fiber.join(second), value)

        const failing = makeJob<typeof value, Sold>()
        const third = yield* ask(a, id, failing.effect, { schema })
        yield* failing.started
        const fourth = yield* ask(b, id, failing.effect, { schema })
        yield* settle(world)
        yield* Deferred.fail(failing.outcome, new Sold({ left: 3, at: new Date(9) }))
        for (const fiber of [third, fourth]) {
          const error = yield* Effect.flip(Fiber.join(fiber))
          assert.instanceOf(error, Sold)
          assert.strictEqual((error as Sold).words, "3 left")
          assert.deepStrictEqual((error as Sold).at, new Date(9))
        }
      }))

    for (
      const [name, exit] of [
        ["undefined", Exit.succeed(undefined)],
        ["null", Exit.succeed(null)],
        ["an empty string", Exit.succeed("")],
        ["the failure undefined", Exit.fail(undefined)],
        ["the failure null", Exit.fail(null)],
        ["the failure 0", Exit.fail(0)],
        ["the failure false", Exit.fail(false)]
      ] as ReadonlyArray<readonly [string, Exit.Exit<unknown, unknown>]>
    ) {
      test(`${name} arrives as it is`, () =>
        Effect.gen(function*() {
          const [a, b] = yield* two
          const id = yield* newKey
          const job = makeJob<unknown, unknown>()
          const first = yield* ask(a, id, job.effect)
          yield* job.started
          const second = yield* ask(b, id, job.effect)
          yield* settle(world)
          yield* Deferred.done(job.outcome, exit)
          assert.deepStrictEqual(yield* Fiber.await(first), exit)
          assert.deepStrictEqual(yield* Fiber.await(second), exit)
        }))
    }

    test("a defect arrives as a defect with its name and message, and no stack of another process", () =>
      Effect.gen(function*() {
        const [a, b] = yield* two
        const id = yield* newKey
        const job = makeJob<number>()
        const first = yield* ask(a, id, job.effect)
        yield* job.started
        const second = yield* ask(b, id, job.effect)
        yield* settle(world)
        const thrown = new RangeError("out of seats")
        thrown.stack = "RangeError: out of seats\n    at secret.ts:1"
        yield* Deferred.die(job.outcome, thrown)
        for (const fiber of [first, second]) {
          const exit = yield* Fiber.await(fiber)
          assert(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
          const defect = Cause.squash(exit.cause) as Error
          assert.strictEqual(defect.name, "RangeError")
          assert.strictEqual(defect.message, "out of seats")
          assert.notInclude(String(defect.stack), "secret.ts")
        }
      }))

    test("a job that throws at once is a defect for everybody, and the next call runs anew", () =>
      Effect.gen(function*() {
        const [a, b] = yield* two
        const id = yield* newKey
        const thrown = yield* Effect.exit(a.dlock.fanout(
          id,
          Effect.sync(() => {
            throw new Error("at once")
          })
        ))
        assert(Exit.isFailure(thrown))
        assert.include(Cause.pretty(thrown.cause), "at once")
        assert.strictEqual(yield* b.dlock.fanout(id, Effect.succeed(1)), 1)
      }))

    test("a job that interrupts itself fails everybody with FanoutError", () =>
      Effect.gen(function*() {
        const [a] = yield* two
        const id = yield* newKey
        const error = yield* Effect.flip(a.dlock.fanout(id, Effect.interrupt))
        assert.strictEqual(error._tag, "FanoutError")
        assert(error instanceof Dlock.FanoutError)
        assert.strictEqual(error.reason, "Interrupted")
      }))

    test("what JSON would change fails everybody with FanoutError, which says where and what, in time for none to wait", () =>
      Effect.gen(function*() {
        const [a, b] = yield* two
        for (const [words, value] of changedByJson()) {
          const id = yield* newKey
          const job = makeJob<unknown>()
          const first = yield* ask(a, id, job.effect)
          yield* job.started
          const second = yield* ask(b, id, job.effect)
          yield* settle(world)
          yield* Deferred.succeed(job.outcome, value)
          for (const fiber of [first, second]) {
            const error: unknown = yield* Effect.flip(Fiber.join(fiber))
            assert(error instanceof Dlock.FanoutError, words)
            assert.strictEqual(error.reason, "Encode")
            assert.include(error.message, `: ${words}`)
          }
        }
      }))

    test("what JSON keeps arrives as it is: equal, whatever it is made of", () =>
      Effect.gen(function*() {
        const [a] = yield* two
        for (const value of keptByJson()) {
          assert.deepStrictEqual(yield* a.dlock.fanout(yield* newKey, Effect.succeed(value)), value)
        }
        const changed: ReadonlyArray<readonly [unknown, unknown]> = [
          [-0, 0],
          [{ a: undefined, b: 1 }, { b: 1 }],
          [Object.assign(Object.create(null), { a: 1 }), { a: 1 }],
          // What `fetch` gives to a test that runs in a realm of its own.
          [runInNewContext(`({ a: [{}] })`), { a: [{}] }],
          [new Point(1, 2), { x: 1, y: 2 }],
          [new Rows({ id: 1 }, { id: 2 }), [{ id: 1 }, { id: 2 }]],
          [Found({ name: "x" }), { _tag: "Found", name: "x" }]
        ]
        for (const [value, arrives] of changed) {
          assert.deepStrictEqual(yield* a.dlock.fanout(yield* newKey, Effect.succeed(value)), arrives)
        }
      }))

    test("what a schema encodes to must be JSON as well", () =>
      Effect.gen(function*() {
        const [a] = yield* two
        const schema = { success: Schema.Struct({ photo: Schema.Any }), error: Schema.String }
        const photo = Effect.succeed({ photo: new Uint8Array([1, 2]) })
        const error = yield* Effect.flip(a.dlock.fanout(yield* newKey, photo, { schema }))
        assert(error instanceof Dlock.FanoutError)
        assert.strictEqual(error.reason, "Encode")
        assert.include(error.message, "$.photo is an instance of Uint8Array, which is not JSON. The schema must")
      }))

    test("a failure counts by its own fields, and one of these that JSON would change fails everybody", () =>
      Effect.gen(function*() {
        const [a] = yield* two
        const failing = <E>(error: E) =>
          Effect.flatMap(newKey, (id) => Effect.flip<unknown, unknown, never>(a.dlock.fanout(id, Effect.fail(error))))
        const refused = yield* failing(new Refused({ by: "door", photo: new Uint8Array([1]) }))
        assert(refused instanceof Dlock.FanoutError)
        assert.strictEqual(refused.reason, "Encode")
        assert.include(
          refused.message,
          "$.photo is an instance of Uint8Array, which is not JSON. Give the option `schema`."
        )
        assert.deepStrictEqual(yield* failing(new Refused({ by: "door", cause: new Error("inside") })), {
          _tag: "Refused",
          by: "door",
          name: "Refused",
          message: ""
        })
        assert.deepStrictEqual(yield* failing(Found({ name: "x" })), { _tag: "Found", name: "x" })
      }))

    test("a value that does not decode fails with FanoutError, the leader's callers too", () =>
      Effect.gen(function*() {
        const [a, b] = yield* two
        const id = yield* newKey
        const job = makeJob<{ readonly seat: number }>()
        const strict = { success: Schema.Struct({ seat: Schema.String }), error: Schema.Never }
        const first = yield* ask(a, id, job.effect)
        yield* job.started
        const second = yield* ask(b, id, job.effect, { schema: strict })
        const third = yield* ask(a, id, job.effect, { schema: strict })
        yield* settle(world)
        yield* Deferred.succeed(job.outcome, { seat: 1 })
        assert.deepStrictEqual(yield* Fiber.join(first), { seat: 1 })
        for (const fiber of [second, third]) {
          const error = yield* Effect.flip(Fiber.join(fiber))
          assert(error instanceof Dlock.FanoutError)
          assert.strictEqual(error.reason, "Decode")
        }
      }))

    test("a result over 64 KB arrives whole; one over the cap fails everybody at once", () =>
      Effect.gen(function*() {
        const [a, b] = yield* two
        for (
          const [length, fails] of [[65_000, false], [70_000, false], [500_000, false], [1_100_000, true]] as const
        ) {
          const id = yield* newKey
          const job = makeJob<string>()
          const first = yield* ask(a, id, job.effect)
          yield* job.started
          const second = yield* ask(b, id, job.effect)
          yield* settle(world)
          const value = "é\"/\u007f".repeat(length / 4)
          const bytes = new TextEncoder().encode(JSON.stringify(value)).length
          yield* Deferred.succeed(job.outcome, value)
          for (const fiber of [first, second]) {
            const exit = yield* Fiber.await(fiber)
            if (!fails) {
              assert(Exit.isSuccess(exit) && exit.value === value, `${bytes} bytes`)
            } else {
              assert(Exit.isFailure(exit) && !Cause.hasDies(exit.cause))
              assert.strictEqual((Cause.squash(exit.cause) as any).reason, "TooLarge")
            }
          }
        }
      }))

    test("10,000 callers of one process cost one run, and a caller that goes leaves alone", () =>
      Effect.gen(function*() {
        const [a] = yield* two
        const id = yield* newKey
        const job = makeJob<number>()
        // A busy machine may take as long as a lease of this suite to start so many.
        const options = { ttl: "1 minute" }
        const fibers = yield* Effect.forEach(Array.from({ length: 10_000 }), () => ask(a, id, job.effect, options))
        yield* job.started
        for (const fiber of fibers.slice(0, 5_000)) yield* TestEdition.interruptFork(fiber)
        yield* settle(world)
        yield* Deferred.succeed(job.outcome, 1)
        const exits = yield* Effect.forEach(fibers, Fiber.await)
        assert.strictEqual(exits.filter(Exit.isSuccess).length, 5_000)
        assert.strictEqual(job.runs(), 1)
        assert.strictEqual(job.interrupted(), 0)
      }))

    test("keep makes it a cache for that long, for those who say so", () =>
      Effect.gen(function*() {
        const [a, b] = yield* two
        const id = yield* newKey
        let n = 0
        const job = Effect.sync(() => ++n)
        const keep = { keep: world.ttlMillis * 2 }
        assert.strictEqual(yield* a.dlock.fanout(id, job, keep), 1)
        assert.strictEqual(yield* b.dlock.fanout(id, job, keep), 1)
        assert.strictEqual(yield* a.dlock.fanout(id, job), 2)
        assert.strictEqual(yield* b.dlock.fanout(id, job, keep), 1)
        yield* world.elapse(2.1)
        assert.strictEqual(yield* b.dlock.fanout(id, job, keep), 3)
        // Failures are not kept.
        const other = yield* newKey
        let tries = 0
        const failing = Effect.suspend(() => ++tries === 1 ? Effect.fail("no") : Effect.succeed(tries))
        assert.strictEqual(yield* Effect.flip(a.dlock.fanout(other, failing, keep)), "no")
        assert.strictEqual(yield* a.dlock.fanout(other, failing, keep), 2)
        // What cannot be shared neither.
        const third = yield* newKey
        assert.strictEqual((yield* Effect.flip(a.dlock.fanout(third, Effect.succeed(1n), keep)))._tag, "FanoutError")
        assert.strictEqual(yield* b.dlock.fanout(third, Effect.succeed(1), keep), 1)
      }))

    test("a job that is piped into fanout is the same as one that is its argument, with options and without", () =>
      Effect.gen(function*() {
        const [a, b] = yield* two
        const id = yield* newKey
        let runs = 0
        const job = Effect.sync(() => new Date(++runs))
        const options = { schema: { success: Schema.Date, error: Schema.Never }, keep: "1 minute" } as const
        const values = [
          yield* Dlock.fanout(id, job, options).pipe(Effect.provideService(Dlock.Dlock, a.dlock)),
          yield* job.pipe(Dlock.fanout(id, options), Effect.provideService(Dlock.Dlock, b.dlock))
        ]
        assert.deepStrictEqual(values, [new Date(1), new Date(1)])
        const plain = Effect.sync(() => ++runs).pipe(Dlock.fanout(id), Effect.provideService(Dlock.Dlock, a.dlock))
        assert.deepStrictEqual([yield* plain, yield* plain], [2, 3])
      }))

    test("ids, prefixes and kinds do not mix, and an illegal id is refused", () =>
      Effect.gen(function*() {
        const [a] = yield* two
        const id = yield* newKey
        const inside = Effect.flatMap(Effect.scoped(a.dlock.once(id)), () => Effect.succeed(1))
        assert.strictEqual(yield* a.dlock.fanout(id, inside), 1)
        assert.strictEqual((yield* Effect.flip(a.dlock.fanout("", Effect.succeed(1))))._tag, "InvalidKeyError")
      }))
  })
}
